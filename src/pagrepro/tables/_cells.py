"""Cells of tables: measured over the runs of a group, beside the published number. Torch-free."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pagrepro.artifact import TABLE_COLUMNS, heading, used_on
from pagrepro.errors import DataError
from pagrepro.results import Context, Result

REVISION = 1

Published = float | list[float] | None


@dataclass(frozen=True)
class Cell:
    """mean, sd (ddof 1, NaN below two seeds) over n runs, in the table's unit; reason: why it is empty."""

    mean: float
    sd: float
    n: int
    note: str
    reason: str | None = None
    per_seed: tuple[tuple[int, float], ...] = ()

    def text(self, digits: int) -> str:
        """`12.3 ± 0.4 (n=3)`, or why there is nothing."""
        if self.reason:
            return f"not testable: {self.reason}"
        return number(self.mean, self.sd, digits) + (f" (n={self.n})" if self.n else "")


def chosen(results: Sequence[Result], where: dict[str, Any]) -> list[Result]:
    """The results whose runs have all of these labels."""
    return [r for r in results if all(r.labels.get(key) == value for key, value in where.items())]


def measure(
    context: Context,
    group: str,
    evaluation: str,
    value: str,
    scale: float,
    where: dict[str, Any] | None = None,
) -> Cell:
    """Mean over the group's runs (those with the labels `where`), diverged ones included and noted."""
    reason = context.reason(group, evaluation)
    if reason:
        return Cell(math.nan, math.nan, 0, f"not testable: {reason}", reason)
    results = chosen(context.results(group, evaluation), where or {})
    if not results:
        missing = context.incomplete or f"no run of {group} has the labels {where}"
        return Cell(math.nan, math.nan, 0, missing)
    values = np.array([r.value(value) * scale for r in results])
    finite = values[np.isfinite(values)]
    per_seed = tuple((r.seed, float(v)) for r, v in zip(results, values, strict=True))
    return Cell(_mean(finite), _sd(finite), len(finite), "; ".join(_notes(results, values)), None, per_seed)


def _notes(results: Sequence[Result], values: np.ndarray) -> list[str]:
    diverged = np.array([r.diverged for r in results])
    finite = np.isfinite(values)
    notes = []
    if diverged.any():
        kept = values[~diverged & finite]
        without = f"{_mean(kept):.4g} without" if len(kept) else "nothing left without"
        notes.append(f"{diverged.sum()} of {len(results)} diverged ({without})")
    if not finite.all():
        notes.append(f"{(~finite).sum()} of {len(results)} not finite, left out")
    notes += dict.fromkeys(
        f"substitute: {r.labels['substitute']}" for r in results if r.labels.get("substitute")
    )
    notes += dict.fromkeys(flag for r in results for flag in r.flags)
    return notes


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def split(published: Published) -> tuple[float, float]:
    """(mean, sd) of a published number; NaN for what is not given."""
    if published is None:
        return math.nan, math.nan
    if isinstance(published, list):
        return float(published[0]), float(published[1])
    return float(published), math.nan


def setting(key: str, names: Sequence[str], context: Context) -> tuple[Cell, list[Any]]:
    """(cell, sorted values of the label `key` that the runs of these groups used).

    One number is the cell's mean; several, or text, go into its note. Raises DataError when a run lacks the
    label. Groups that are not testable are left out unless all are.
    """
    groups = [context.group(name) for name in names]
    members = [member for group in groups for member in group.runs]
    if not members:
        reason = next((group.not_testable for group in groups if group.not_testable), "no runs")
        return Cell(math.nan, math.nan, 0, f"not testable: {reason}", reason), []
    for member in members:
        if key not in member.labels:
            there = ", ".join(member.labels) or "none"
            name = context.content["name"]
            raise DataError(f"{name}: {member.run} has no label {key!r}; it has: {there}")
    found = {member.labels[key] for member in members}
    values = sorted(found, key=lambda value: (isinstance(value, str), value))
    one = len(values) == 1 and not isinstance(values[0], str)
    note = "" if one else "used: " + ", ".join(map(plain, values))
    seeds = len({member.seed for member in members})
    return Cell(float(values[0]) if one else math.nan, math.nan, seeds, note), values


def plain(value: Any) -> str:
    """A setting as text: whole numbers in full, others as short as they are."""
    if isinstance(value, str):
        return value
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


def check_labels(
    published: dict[str, dict[str, Any]], rows: Sequence[str], columns: Sequence[str], context: Context
) -> None:
    """A published number whose row or column does not exist would silently not be shown: DataError."""
    for row, numbers in published.items():
        for label, known in ((row, rows), *((column, columns) for column in numbers)):
            if label not in known:
                name = context.content["name"]
                raise DataError(f"{name}: published names {label!r}; there are: {', '.join(known)}")


def number(mean: float, sd: float, digits: int) -> str:
    """`75.50 ± 1.20`, or a dash where there is no number."""
    if not math.isfinite(mean):
        return "–"
    return f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if math.isfinite(sd) else "")


def long_row(row: str, column: str, published: Published, cell: Cell, tier: str) -> dict[str, Any]:
    """One line of the long form."""
    mean, sd = split(published)
    values = (row, column, mean, sd, cell.mean, cell.sd, cell.n, tier, cell.note)
    return dict(zip(TABLE_COLUMNS, values, strict=True))


def long_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The long form of a table from its lines."""
    return pd.DataFrame(rows, columns=list(TABLE_COLUMNS))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A pipe table; bars inside cells are escaped."""
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def used(context: Context, group: str) -> str:
    """Data and network really used for a row."""
    found = context.group(group)
    return f"{found.dataset}, {found.network}" if found.runs else "–"


def page(context: Context, published_on: str, place: str, table: str, notes: Sequence[str]) -> str:
    """The whole Markdown file."""
    source = ", ".join(part for part in (published_on, place) if part)
    lines = [
        f"# {heading(context)}", "", context.content["caption"], "",
        f"Published: {source or 'as in the paper'}. Measured here: {used_on(context)} (tier {context.tier}).",
        "", table, "", *(f"- {note}" for note in notes),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"
