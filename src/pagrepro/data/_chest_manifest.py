"""The manifest of chest X-rays: which rows are used, and what is wrong with those that cannot be.

Bigolin Lanfredi et al. (2020), section 4: posterior-anterior (PA) images only; nobody with a lung transplant;
no study with several PA images; image and lung function test less than 30 days apart, of several tests the
closest. Patients, not images, are divided among the parts.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pagrepro.data._archive import damaged
from pagrepro.errors import DataError
from pagrepro.splits import fraction

REVISION = 1

SHOWN = 20

# Shares of the patients where the manifest has no column `split`: those of the paper's images, 3,711, 596 and
# 950. Part of what this data set is; they do not follow the seed of a run.
PARTS = ("train", "val", "test")
SHARES = (("train", 0.70), ("val", 0.82), ("test", 1.0))
SPLIT_SEED = "chest_xray/split"


@dataclass(frozen=True)
class Row:
    """A pair of an image and a lung function test. number: of the row in the file, the header being 1."""

    number: int
    image_path: str
    patient_id: str
    study_id: str
    view: str
    fev1_fvc: float
    days_cxr_pft: float
    lung_transplant: bool
    split: str


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong with a row, for the person who made the manifest."""

    row: int
    column: str
    value: str
    expected: str


# --- values ----------------------------------------------------------------------------------


def _text(value: str) -> str:
    if not value:
        raise ValueError
    return value


def _path(value: str) -> str:
    path = PurePosixPath(_text(value))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError
    return path.as_posix()


def _ratio(value: str) -> float:
    if not 0 <= float(value) <= 1:
        raise ValueError
    return float(value)


def _days(value: str) -> float:
    if not abs(float(value)) < float("inf"):
        raise ValueError
    return float(value)


def _flag(value: str) -> bool:
    return {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}[value.lower()]


def _part(value: str) -> str:
    if value not in PARTS:
        raise ValueError
    return value


# column -> how its text is read (an error: not as it should be), and how it should be.
COLUMNS: dict[str, tuple[Callable[[str], Any], str]] = {
    "image_path": (_path, "a path inside the folder of images"),
    "patient_id": (_text, "a text that is not empty"),
    "study_id": (_text, "a text that is not empty"),
    "view": (lambda value: _text(value).upper(), "PA or the name of another view"),
    "fev1_fvc": (_ratio, "a number from 0 to 1"),
    "days_cxr_pft": (_days, "a number of days"),
    "lung_transplant": (_flag, "0, 1, false, true, no or yes"),
}
SPLIT = (_part, ", ".join(PARTS))


# --- the file --------------------------------------------------------------------------------


def read_manifest(path: Path) -> tuple[list[Row], list[Finding]]:
    """Rows that are as they should be, and what is wrong with the others.

    Without a column `split`, patients are divided by a hash of their names: 70, 12 and 18 %. Raises
    DataError for a file that is no table with the columns it should have.
    """
    with damaged(path), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        table = list(reader)
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}\n  found:    {', '.join(header)}\n"
            f"  expected: {', '.join([*COLUMNS, 'split (optional)'])}"
        )
    columns = {**COLUMNS, "split": SPLIT} if "split" in header else COLUMNS
    rows: list[Row] = []
    findings: list[Finding] = []
    for number, raw in enumerate(table, start=2):
        values, wrong = _values(number, raw, columns)
        findings += wrong
        if not wrong:
            values.setdefault("split", split_of(values["patient_id"]))
            rows.append(Row(number, **values))
    return rows, findings + _contradictions(rows)


def _values(
    number: int, raw: dict[str | None, Any], columns: dict[str, tuple[Callable[[str], Any], str]]
) -> tuple[dict[str, Any], list[Finding]]:
    values: dict[str, Any] = {}
    findings: list[Finding] = []
    if raw.get(None):
        findings.append(Finding(number, "-", ",".join(raw[None]), "no more values than the header has"))
    for column, (read, expected) in columns.items():
        text = (raw[column] or "").strip()
        try:
            values[column] = read(text)
        except (ValueError, KeyError):
            findings.append(Finding(number, column, text, expected))
    return values, findings


def split_of(patient: str) -> str:
    """Part of a patient, by the name alone: others may come or go."""
    place = fraction(patient, SPLIT_SEED)
    return next(name for name, bound in SHARES if place < bound)


def _contradictions(rows: list[Row]) -> list[Finding]:
    """Rows whose patient is in another part elsewhere, or whose image belongs to another study."""
    patients: dict[str, Row] = {}
    images: dict[str, Row] = {}
    findings = []
    for row in rows:
        before = patients.setdefault(row.patient_id, row)
        if row.split != before.split:
            expected = f"{before.split}, where patient {row.patient_id} is in row {before.number}"
            findings.append(Finding(row.number, "split", row.split, expected))
        owner = images.setdefault(row.image_path, row)
        if (row.patient_id, row.study_id) != (owner.patient_id, owner.study_id):
            expected = f"an image of one study of one patient; it is in row {owner.number} too"
            findings.append(Finding(row.number, "image_path", row.image_path, expected))
    return findings


def select(rows: list[Row], max_days: float) -> list[Row]:
    """The rows that are used, one per study, in their order; of equally close tests the first one."""
    transplanted = {row.patient_id for row in rows if row.lung_transplant}
    frontal = [row for row in rows if row.view == "PA" and row.patient_id not in transplanted]
    images = defaultdict(set)
    for row in frontal:
        images[row.patient_id, row.study_id].add(row.image_path)
    closest: dict[tuple[str, str], Row] = {}
    for row in frontal:
        key = (row.patient_id, row.study_id)
        if len(images[key]) > 1 or abs(row.days_cxr_pft) >= max_days:
            continue
        if key not in closest or abs(row.days_cxr_pft) < abs(closest[key].days_cxr_pft):
            closest[key] = row
    return sorted(closest.values(), key=lambda row: row.number)


def refuse(path: Path, findings: Iterable[Finding]) -> None:
    """Raise one DataError that lists the findings, if there are any: the first 20, and how many there are."""
    found = sorted(set(findings))
    if not found:
        return
    lines = [f"  row {f.row}, {f.column}: found {f.value!r}, expected {f.expected}" for f in found[:SHOWN]]
    if len(found) > SHOWN:
        lines.append(f"  and {len(found) - SHOWN} more")
    raise DataError(
        f"{path} cannot be used: {len(found)} values are not as they should be (row 1 is the header)\n"
        + "\n".join(lines)
    )
