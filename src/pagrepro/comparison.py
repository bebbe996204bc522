"""Two result folders side by side: what is equal, what differs and by how much. Torch-free.

Compared are numbers and verdicts, not pictures. With tolerances of zero equal means bit for bit; nan equals
nan. Timings differ between any two runs: what was measured with a clock is listed and does not count.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pagrepro import compared_files
from pagrepro.compared_files import Json

PARTS = ("runs", "weights", "fields", "results", "tables", "figures", "claims")
OTHER = "another specification"
OTHER_CODE = "another revision"

# Numbers of a claim; its other columns are text made of them.
CLAIM_NUMBERS = ("n_seeds", "effect", "low", "high")

# Rows of a table that hold wall times, by their labels: sidecars say how long fits took.
CLOCK = r"\b(?:hours|seconds)\b"


@dataclass(frozen=True)
class Tolerance:
    """Numbers are equal within atol + rtol * (the larger of both)."""

    rtol: float = 0.0
    atol: float = 0.0

    def within(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Element by element; nan equals nan, and infinity itself only."""
        with np.errstate(invalid="ignore"):
            close = np.abs(a - b) <= self.atol + self.rtol * np.maximum(np.abs(a), np.abs(b))
        finite = np.isfinite(a) & np.isfinite(b)
        return (a == b) | (np.isnan(a) & np.isnan(b)) | (close & finite)


EXACT = Tolerance()


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same bits. how: "value", "only in A", "only in B", "another specification"
    (not comparable) or "another revision" (of the code, which alone is no difference); relative: of numbers,
    else nan; within: inside the tolerances; timing: expected to differ."""

    part: str
    name: str
    quantity: str
    how: str
    a: Any = None
    b: Any = None
    relative: float = math.nan
    within: bool = False
    timing: bool = False

    @property
    def counts(self) -> bool:
        """Whether the folders differ because of this."""
        return not (self.within or self.timing or self.how == OTHER_CODE)


@dataclass
class Comparison:
    """compared: part -> how many things both folders have; places: what was recorded of code and machines,
    fact -> (what A says, what B says)."""

    compared: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    differences: list[Difference] = field(default_factory=list)
    places: dict[str, tuple[set[str], set[str]]] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether no difference counts."""
        return not any(d.counts for d in self.differences)

    def frame(self) -> pd.DataFrame:
        """All differences, one per row."""
        columns = [*Difference.__dataclass_fields__, "counts"]
        rows = [{**vars(d), "counts": d.counts} for d in self.differences]
        return pd.DataFrame(rows, columns=columns)


def compare(a: Path, b: Path, tolerance: Tolerance = EXACT, weights: bool = False) -> Comparison:
    """Compare `results/<tier>` of two machines or commits. weights: also weights, by the checksums in their
    sidecars (the files need not be there), and the tensors of fields. DataError: a sidecar is damaged."""
    found = _Comparer((a, b), tolerance)
    found.runs(weights)
    if weights:
        found.fields()
    found.results()
    for part in ("tables", "figures"):
        found.artifacts(part)
    found.claims()
    return found.out


class _Comparer:
    def __init__(self, roots: tuple[Path, Path], tolerance: Tolerance):
        self.roots, self.tolerance, self.out = roots, tolerance, Comparison()
        # (part, name) of what was measured with a clock, or shows such a measurement.
        self.timings: set[tuple[str, str]] = set()

    # --- parts

    def runs(self, weights: bool) -> None:
        for name, a, b in self._sidecars("runs", "models/*/run.json"):
            self._same("runs", name, "status", a["status"], b["status"])
            self._numbers("runs", name, a.get("metrics", {}), b.get("metrics", {}))
            if weights:
                self.out.compared["weights"] += 1
                self._checksums("weights", name, *(compared_files.weights(content) for content in (a, b)))

    def fields(self) -> None:
        for name, a, b in self._sidecars("fields", "fields/*/field.json"):
            files = [
                {x: root / "fields" / name / x for x in c["shards"]} for root, c in zip(self.roots, (a, b))
            ]
            hashes = [{x: compared_files.tensors_hash(p) for x, p in f.items() if p.is_file()} for f in files]
            self._checksums("fields", name, *hashes)

    def results(self) -> None:
        for name, a, b in self._sidecars("results", "evaluations/*/*.json"):
            if any(compared_files.with_a_clock(content) for content in (a, b)):
                self.timings.add(("results", name))
            for key in ("status", "flags"):
                self._same("results", name, key, a.get(key), b.get(key))
            self._numbers("results", name, a["values"], b["values"])
            files = [root / f"evaluations/{name}.npz" for root in self.roots]
            there = [file.is_file() for file in files]
            if all(there):
                self._arrays(name, *files)
            elif any(there):
                self._lacks("results", name, "arrays", there[0])

    def artifacts(self, part: str) -> None:
        """Tables, and figures as far as they have their numbers beside them."""
        for name, *files in self._pairs(part, f"{part}/*/*.csv"):
            about = [compared_files.about_artifact(file) for file in files]
            if any(("results", source[0]) in self.timings for x in about for source in x["sources"]):
                self.timings |= {(part, name), ("claims of", f"{Path(name).parent} {about[0]['number']}")}
            if about[0]["sources"] != about[1]["sources"]:
                self._add(part, name, "made from", OTHER)
                continue
            a, b = (pd.read_csv(file, dtype=str, keep_default_na=False) for file in files)
            if list(a) != list(b) or len(a) != len(b):
                shapes = (f"{len(x)} rows: {', '.join(x)}" for x in (a, b))
                self._add(part, name, "rows and columns", "value", *shapes)
                continue
            clock = a["row"].str.contains(CLOCK) if "row" in a else a.index < 0
            self.timings.add((part, f"{name} (wall times)"))
            for column in a:
                self._column(part, name, column, a[~clock][column], b[~clock][column])
                self._column(part, f"{name} (wall times)", column, a[clock][column], b[clock][column])

    def claims(self) -> None:
        a, b = (compared_files.claims(root / "claims.csv") for root in self.roots)
        for name in sorted(a.keys() | b.keys()):
            if name not in a or name not in b:
                self._lacks("claims", name, "verdict", name in a)
                continue
            self.out.compared["claims"] += 1
            # A verdict counts even where it was found with a clock.
            self._same("claims", name, "verdict", a[name].get("verdict"), b[name].get("verdict"))
            if ("claims of", f"{name.split()[0]} {a[name].get('place')}") in self.timings:
                self.timings.add(("claims", name))
            numbers = ({key: float(x.get(key) or "nan") for key in CLAIM_NUMBERS} for x in (a[name], b[name]))
            self._numbers("claims", name, *numbers)

    # --- pieces

    def _pairs(self, part: str, pattern: str) -> Iterator[tuple[str, Path, Path]]:
        """(name, file in A, file in B) of what both have; what one has alone is noted."""
        found = [{compared_files.name_of(p, root): p for p in root.glob(pattern)} for root in self.roots]
        for name in sorted(found[0].keys() | found[1].keys()):
            if name in found[0] and name in found[1]:
                self.out.compared[part] += 1
                yield name, found[0][name], found[1][name]
            else:
                self._lacks(part, name, "", name in found[0])

    def _sidecars(self, part: str, pattern: str) -> Iterator[tuple[str, Json, Json]]:
        """The same with content, of those that are comparable; code and machines are noted."""
        for name, *files in self._pairs(part, pattern):
            a, b = map(compared_files.sidecar, files)
            for side, content in enumerate((a, b)):
                for fact, value in compared_files.place(content.get("provenance", {})):
                    self.out.places.setdefault(fact, (set(), set()))[side].add(value)
            if a.get("spec_hash") != b.get("spec_hash"):
                self._add(part, name, "", OTHER, a.get("spec_hash"), b.get("spec_hash"))
                continue
            old, new = a.get("revisions") or {}, b.get("revisions") or {}
            if changed := sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key)):
                self._add(part, name, ", ".join(changed), OTHER_CODE)
            yield name, a, b

    def _checksums(self, part: str, name: str, a: Json, b: Json) -> None:
        for file in sorted(a.keys() | b.keys()):
            self._same(part, name, file, a.get(file), b.get(file))

    def _arrays(self, name: str, one: Path, other: Path) -> None:
        with np.load(one, allow_pickle=False) as a, np.load(other, allow_pickle=False) as b:
            for key in sorted({*a.files, *b.files}):
                if key in a.files and key in b.files:
                    self._array("results", name, f"array {key}", a[key], b[key])
                else:
                    self._lacks("results", name, f"array {key}", key in a.files)

    def _column(self, part: str, name: str, column: str, a: pd.Series, b: pd.Series) -> None:
        """Cells that are numbers in both are compared as numbers, others as text."""
        numbers = [pd.to_numeric(x, errors="coerce").to_numpy(float) for x in (a, b)]
        text = np.isnan(numbers[0]) | np.isnan(numbers[1])
        self._array(part, name, column, *(np.where(text, math.nan, x) for x in numbers))
        for row in a.index[text & (a != b).to_numpy()]:
            self._add(part, name, f"{column}, row {row + 1}", "value", a[row], b[row])

    def _numbers(self, part: str, name: str, a: Json, b: Json) -> None:
        for key in sorted(a.keys() | b.keys()):
            if key in a and key in b:
                values = (np.array([math.nan if x[key] is None else x[key]], float) for x in (a, b))
                self._array(part, name, key, *values)
            else:
                self._lacks(part, name, key, key in a)

    def _array(self, part: str, name: str, quantity: str, a: np.ndarray, b: np.ndarray) -> None:
        if a.shape != b.shape:
            self._add(part, name, quantity, "value", f"shape {a.shape}", f"shape {b.shape}")
            return
        if any(x.dtype.kind not in "biuf" for x in (a, b)):
            self._same(part, name, quantity, a.tolist(), b.tolist())
            return
        a, b = (np.atleast_1d(x).astype(float).ravel() for x in (a, b))
        off = ~EXACT.within(a, b)
        if off.any():
            a, b = a[off], b[off]
            relative = _relative(a, b)
            worst = int(relative.argmax())
            within = bool(self.tolerance.within(a, b).all())
            self._add(part, name, quantity, "value", a[worst], b[worst], float(relative[worst]), within)

    def _same(self, part: str, name: str, quantity: str, a: Any, b: Any) -> None:
        if a != b:
            self._add(part, name, quantity, "value", a, b)

    def _lacks(self, part: str, name: str, quantity: str, in_a: bool) -> None:
        self._add(part, name, quantity, "only in A" if in_a else "only in B")

    def _add(self, part: str, name: str, quantity: str, how: str, *more: Any) -> None:
        timing = (part, name) in self.timings and how == "value" and quantity not in ("status", "verdict")
        a, b, relative, within = (*more, *(None, None, math.nan, False)[len(more) :])
        self.out.differences.append(Difference(part, name, quantity, how, a, b, relative, within, timing))


def _relative(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| over the larger of both; infinite where only one is finite."""
    with np.errstate(invalid="ignore"):
        found = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    return np.where(np.isfinite(a) & np.isfinite(b), found, math.inf)
