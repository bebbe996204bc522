"""A table of settings: the published value of a hyper-parameter beside the one that the runs used.

Rows are methods, columns are what the paper's columns are (data sets, say), each cell a group of runs. The
value used is read from the labels that the runs carry from their grid.
"""

import math

import numpy as np

from pagrepro.artifact import TableResult
from pagrepro.errors import DataError
from pagrepro.options import Strict
from pagrepro.results import Context
from pagrepro.tables import _cells as cells

REVISION = 1


class Row(Strict):
    """groups: column label -> group of runs."""

    label: str
    groups: dict[str, str]


class Config(Strict):
    """key: the label of the runs; symbol: how the paper calls it; published: row -> column -> number."""

    key: str
    symbol: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    digits: int = 2
    published: dict[str, dict[str, float]] = {}
    published_on: str = ""
    place: str = ""


def draw(config: Config, context: Context) -> TableResult:
    """Long form and Markdown. Raises DataError when a run lacks the label."""
    cells.check_labels(config.published, [row.label for row in config.rows], config.columns, context)
    header = [""]
    for column in config.columns:
        header += [f"{column}: published {config.symbol}", f"{config.symbol} used here", "on"]
    long, lines = [], []
    for row in config.rows:
        line = [row.label]
        for column in config.columns:
            if column not in row.groups:
                line += ["", "", ""]
                continue
            group = row.groups[column]
            cell, values = _setting(config.key, group, context)
            published = config.published.get(row.label, {}).get(column)
            long.append(cells.long_row(row.label, column, published, cell, context.tier))
            text = cell.text(config.digits) if cell.reason else ", ".join(f"{value:g}" for value in values)
            line += [cells.number(*cells.split(published), config.digits), text, cells.used(context, group)]
        lines.append(line)
    page = cells.page(context, config.published_on, config.place, cells.markdown(header, lines), [])
    return TableResult(cells.long_frame(long), page)


def _setting(key: str, name: str, context: Context) -> tuple[cells.Cell, list[float]]:
    """(cell, values that the group's runs used): one value is the cell's mean, several go into its note."""
    group = context.group(name)
    if group.not_testable:
        reason = group.not_testable
        return cells.Cell(math.nan, math.nan, 0, f"not testable: {reason}", reason), []
    if any(key not in member.labels for member in group.runs):
        there = ", ".join(group.runs[0].labels) or "none"
        raise DataError(
            f"{context.content['name']}: runs of {name} have no label {key!r}; they have: {there}"
        )
    values = np.unique([float(member.labels[key]) for member in group.runs]).tolist()
    one = values[0] if len(values) == 1 else math.nan
    note = "" if len(values) == 1 else "used: " + ", ".join(f"{value:g}" for value in values)
    seeds = len({member.seed for member in group.runs})
    return cells.Cell(one, math.nan, seeds, note), values
