"""A table of set-ups: data sets in columns; settings and hours in rows, published beside ours.

Bigolin Lanfredi et al. (2020), Table S1. Settings are read from the labels that the runs carry; hours are
wall time, of fits from the last line of their histories and of measurements from the provenance of their
results.
"""

from typing import Literal

import numpy as np
from pydantic import model_validator

from pagrepro.artifact import TableResult
from pagrepro.options import Strict
from pagrepro.results import Context
from pagrepro.tables import _cells as cells

REVISION = 1


NOTHING = cells.Cell(np.nan, np.nan, 0, "")


class Row(Strict):
    """A setting (`key`: a label of the runs) or hours of one run: of its fit, or of a measurement of it.

    of: which of a column's groups; a column that has none of them has an empty cell.
    """

    label: str
    of: tuple[str, ...]
    key: str | None = None
    hours: Literal["fit", "evaluation"] | None = None
    evaluation: str | None = None
    digits: int = 2

    @model_validator(mode="after")
    def _is_one_thing(self) -> "Row":
        if (self.key is None) == (self.hours is None):
            raise ValueError("expected exactly one of `key` and `hours`")
        if (self.hours == "evaluation") != (self.evaluation is not None):
            raise ValueError("`evaluation` goes with `hours: evaluation`")
        return self


class Column(Strict):
    """groups: what the rows call it (`baseline`) -> group of runs."""

    label: str
    groups: dict[str, str]


class Config(Strict):
    """published: row label -> column label -> number, or text where the paper has more than a number."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    published: dict[str, dict[str, float | str]] = {}
    published_on: str = ""
    place: str = ""


def draw(config: Config, context: Context) -> TableResult:
    """Long form and Markdown; hours need `histories: true` and the evaluations. Raises DataError when a run
    lacks a label, and for a published row or column that is not there."""
    names = [column.label for column in config.columns]
    cells.check_labels(config.published, [row.label for row in config.rows], names, context)
    header = ["", *(f"{name}: {whose}" for name in names for whose in ("published", "here"))]
    long, lines, notes = [], [], {}
    for row in config.rows:
        line = [row.label]
        for column in config.columns:
            published = config.published.get(row.label, {}).get(column.label)
            groups = [column.groups[name] for name in row.of if name in column.groups]
            if not groups and published is None:
                line += ["", ""]
                continue
            cell, text = _cell(row, groups, context) if groups else (NOTHING, "")
            long.append(_long(row.label, column.label, published, cell, context.tier))
            line += ["–" if published is None else _published(published), text]
            if cell.note and not cell.reason and not cell.note.startswith("used: "):
                notes[f"{row.label}, {column.label}: {cell.note}"] = None
        lines.append(line)
    used = [f"{c.label} here: {', '.join(_used(c, context))}" for c in config.columns]
    table = cells.markdown(header, lines)
    page = cells.page(context, config.published_on, config.place, table, [*used, *notes])
    return TableResult(cells.long_frame(long), page)


def _published(value: float | str) -> str:
    return value if isinstance(value, str) else cells.plain(value)


def _used(column: Column, context: Context) -> list[str]:
    return list(dict.fromkeys(cells.used(context, group) for group in column.groups.values()))


def _long(row: str, column: str, published: float | str | None, cell: cells.Cell, tier: str) -> dict:
    """A line of the long form; published text goes into the note."""
    line = cells.long_row(row, column, None if isinstance(published, str) else published, cell, tier)
    if isinstance(published, str):
        line["note"] = "; ".join(part for part in (f"published: {published}", line["note"]) if part)
    return line


def _cell(row: Row, groups: list[str], context: Context) -> tuple[cells.Cell, str]:
    """(cell, its text in the Markdown)."""
    if row.key is not None:
        cell, values = cells.setting(row.key, groups, context)
        return cell, cell.text(row.digits) if cell.reason else ", ".join(map(cells.plain, values))
    cell = _hours(row, groups, context)
    return cell, cell.text(row.digits)


def _hours(row: Row, groups: list[str], context: Context) -> cells.Cell:
    """Mean over all runs of the groups; n counts runs."""
    reasons = [
        context.reason(g, row.evaluation) if row.evaluation else context.group(g).not_testable for g in groups
    ]
    if all(reasons):
        return cells.Cell(np.nan, np.nan, 0, f"not testable: {reasons[0]}", reasons[0])
    seconds = [s for group in groups for s in _seconds(row, group, context)]
    hours = np.array(seconds, float) / 3600
    known = hours[np.isfinite(hours)]
    lost = len(hours) - len(known)
    notes = [f"{lost} of {len(hours)} runs without a time"] if lost else []
    notes += [context.incomplete] if context.incomplete and not len(hours) else []
    mean = float(known.mean()) if len(known) else np.nan
    spread = float(known.std(ddof=1)) if len(known) > 1 else np.nan
    return cells.Cell(mean, spread, len(known), "; ".join(notes))


def _seconds(row: Row, group: str, context: Context) -> list[float]:
    """Wall time of every run of a group; NaN for one that was never fitted here."""
    if row.evaluation:
        return [result.seconds for result in context.results(group, row.evaluation)]
    return [lines[-1]["wall_s"] if lines else np.nan for _, lines in context.histories(group)]
