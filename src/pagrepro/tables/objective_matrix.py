"""The cross-paper matrix: training objectives of several papers under measurements of all of them.

In none of the papers. One data set, one network and one schedule for all objectives, so that a column
compares objectives and nothing else.
"""

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from pagrepro import cross_paper, statistics
from pagrepro.artifact import TABLE_COLUMNS, TableResult
from pagrepro.cross_paper import Matrix
from pagrepro.matrix_options import Measure, Objective, check_matrix
from pagrepro.options import Strict
from pagrepro.results import Context
from pagrepro.tables import _cells as cells

REVISION = 1

MARK = "†"
COLUMNS = (*TABLE_COLUMNS, "low", "high", "better", "optimised")


class Config(Strict):
    """rows: objectives; columns: measures; notes: printed below the table, for readers."""

    rows: tuple[Objective, ...] = Field(min_length=1)
    columns: tuple[Measure, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _labels(self):
        check_matrix(self.rows, self.columns)
        return self


def draw(config: Config, context: Context) -> TableResult:
    """Long form with more columns than usual: low, high, the 95 % t interval of the mean over seeds (three or
    more of them; else empty); better, high or low; optimised, whether the objective works on the measure
    itself. And Markdown."""
    matrix = cross_paper.read(context, config.rows, config.columns)
    long, lines, notes = [], [], {}
    for o, row in enumerate(config.rows):
        line = [row.label, row.source]
        for m, column in enumerate(config.columns):
            cell = _cell(context, matrix, row, column)
            optimised = bool(matrix.optimised[o, m])
            low, high = _interval(cell)
            more = {"low": low, "high": high, "better": column.better, "optimised": optimised}
            long.append(cells.long_row(row.label, column.label, None, cell, context.tier) | more)
            line.append(_text(cell, column.digits) + (MARK if optimised and np.isfinite(cell.mean) else ""))
            if cell.note:
                notes.setdefault(f"{column.label}: {cell.note}", []).append(row.label)
        lines.append(line)
    header = ["objective", "paper", *(c.title for c in config.columns)]
    below = [*_reading(matrix, config), *config.notes]
    every = len(config.rows)
    below += [f"{'every row' if len(who) == every else '; '.join(who)}: {n}" for n, who in notes.items()]
    page = cells.page(context, "in none of the papers", "", cells.markdown(header, lines), below)
    return TableResult(pd.DataFrame(long, columns=list(COLUMNS)), page)


def _cell(context: Context, matrix: Matrix, row: Objective, column: Measure) -> cells.Cell:
    reason = matrix.reasons.get((row.label, column.label))
    if reason:
        return cells.Cell(np.nan, np.nan, 0, f"not testable: {reason}", reason)
    return cells.measure(context, row.group + column.suffix, column.evaluation, column.value, column.scale)


def _interval(cell: cells.Cell) -> statistics.Interval:
    values = [value for _, value in cell.per_seed if np.isfinite(value)]
    return statistics.t_interval(values)[1] if len(values) >= statistics.MIN_SEEDS else (np.nan, np.nan)


def _text(cell: cells.Cell, digits: int) -> str:
    """As short as can be: there are many columns."""
    return "not testable" if cell.reason else cells.number(cell.mean, cell.sd, digits)


def _reading(matrix: Matrix, config: Config) -> list[str]:
    """What a reader has to know before comparing two cells."""
    seeds = (~np.isnan(matrix.values)).any(2).sum(1)
    counts = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    marked = int((matrix.optimised & ~np.isnan(matrix.means)).sum())
    filled = int((~np.isnan(matrix.means)).sum())
    shape = f"{len(config.rows)} objectives, {len(config.columns)} measures, {counts} runs of each objective"
    return [
        f"{shape}; mean ± standard deviation over runs. An arrow says which direction the papers connect with"
        " robustness.",
        f"{MARK} ({marked} of {filled} cells): the objective works on this measure itself, or on what it is"
        " made of. Such a cell shows that training worked; it is no evidence that measure and robustness go"
        " together.",
    ]
