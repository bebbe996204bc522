"""Checks of theory: each a number that has to keep to a limit, with the worst of all runs beside it.

Not a table of a paper; for statements that hold exactly or up to a stated error, such as the theorems of
Srinivas et al. (2023), whose errors are too small to be shown with a fixed number of decimals.
"""

from collections.abc import Sequence

import numpy as np

from pagrepro.artifact import TableResult
from pagrepro.options import Number, Strict, needs_one
from pagrepro.results import Context
from pagrepro.tables import _cells as cells

REVISION = 1


class Row(Strict):
    """low, high: the range, both ends in it (at least one); place: where the statement is."""

    label: str
    group: str
    evaluation: str
    value: str
    low: Number | None = None
    high: Number | None = None
    place: str = ""

    _has_end = needs_one("an end of the range", "low", "high")


class Config(Strict):
    """published_on: where the checks are stated; place: likewise."""

    rows: tuple[Row, ...]
    published_on: str = ""
    place: str = ""


COLUMN = "value"


def draw(config: Config, context: Context) -> TableResult:
    """Long form (`published` is the limit, the upper one if there are two) and Markdown."""
    long, lines, notes = [], [], {}
    for row in config.rows:
        cell = cells.measure(context, row.group, row.evaluation, row.value, 1)
        values = [value for _, value in cell.per_seed]
        limit = row.low if row.high is None else row.high
        kept = _kept(row, values)
        note = "; ".join(part for part in (f"kept in {kept}" if values else "", cell.note) if part)
        shown = cells.Cell(cell.mean, cell.sd, cell.n, note, cell.reason)
        long.append(cells.long_row(row.label, COLUMN, limit, shown, context.tier))
        lines.append([row.label, row.place or "–", _limits(row), *_measured(row, cell, values), kept])
        if cell.note and not cell.reason:
            notes[f"{row.label}: {cell.note}"] = None
    header = ["", "place", "limit", "mean", "worst", "kept in"]
    page = cells.page(context, config.published_on, config.place, cells.markdown(header, lines), list(notes))
    return TableResult(cells.long_frame(long), page)


def _kept(row: Row, values: Sequence[float]) -> str:
    low = -np.inf if row.low is None else row.low
    high = np.inf if row.high is None else row.high
    return f"{sum(low <= value <= high for value in values)} of {len(values)} runs" if values else "–"


def _limits(row: Row) -> str:
    if row.low is not None and row.high is not None:
        return f"{row.low:g} to {row.high:g}"
    return f"at most {row.high:g}" if row.low is None else f"at least {row.low:g}"


def _measured(row: Row, cell: cells.Cell, values: Sequence[float]) -> list[str]:
    """Mean and worst value: the one farthest towards a limit, and beyond all others one that is not
    finite."""
    if cell.reason:
        return [f"not testable: {cell.reason}", "–"]
    finite = [value for value in values if np.isfinite(value)]
    if not finite:
        return ["–", "not finite" if values else "–"]
    low = -np.inf if row.low is None else row.low
    high = np.inf if row.high is None else row.high
    excess = [max(value - high, low - value) for value in finite]
    worst = f"{finite[int(np.argmax(excess))]:.2e}" if len(finite) == len(values) else "not finite"
    return [f"{cell.mean:.2e}", worst]
