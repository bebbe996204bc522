"""A table of correlations over runs: one quantity against several others, data sets in rows.

Bigolin Lanfredi et al. (2020), Table 3 and section 3.3: Pearson's r between alignment and robustness, every
network of a group being one point, without averaging first. Ours besides: a bootstrap interval over runs, and
how far r moves when one training budget is left out, since the paper does not say which budgets it used.
"""

from dataclasses import dataclass

import numpy as np

from pagrepro import statistics
from pagrepro.artifact import TableResult
from pagrepro.options import Strict
from pagrepro.results import Context
from pagrepro.tables import _cells as cells

REVISION = 1

MIN_RUNS = 4


class Quantity(Strict):
    """A value of a measurement."""

    evaluation: str
    value: str


class Column(Strict):
    """What is correlated with `against`."""

    label: str
    evaluation: str
    value: str


class Row(Strict):
    """A group whose runs are the points, and how the table calls it."""

    label: str
    group: str


class Config(Strict):
    """against: the quantity that every column is correlated with; budget: label of the runs that is left out
    value by value; published: row label -> column label -> r."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    against: Quantity
    budget: str = "eps"
    digits: int = 3
    published: dict[str, dict[str, float]] = {}
    published_on: str = ""
    place: str = ""


@dataclass(frozen=True)
class _Correlation:
    """r with its interval and its range over left-out budgets (NaN: there is none); note: what to know."""

    r: float
    interval: statistics.Interval
    without: statistics.Interval
    runs: int
    seeds: int
    note: str


NOTHING = (np.nan, np.nan)


def draw(config: Config, context: Context) -> TableResult:
    """Long form (columns `<label>`, `<label>, low`, `<label>, high`, `<label>, without one budget: lowest`
    and `... highest`) and Markdown. Raises DataError for a published row or column that is not there."""
    names = [column.label for column in config.columns]
    cells.check_labels(config.published, [row.label for row in config.rows], names, context)
    header = ["", "data and network used here"]
    for name in names:
        header += [f"{name}: published", f"{name}: here", f"{name}: without one budget"]
    long, lines, notes = [], [], {}
    for row in config.rows:
        line = [row.label, cells.used(context, row.group)]
        for column in config.columns:
            found = _correlation(config, column, context, row.group)
            published = config.published.get(row.label, {}).get(column.label)
            for more, value, printed in _long(found, published):
                cell = cells.Cell(value, np.nan, found.seeds, found.note)
                long.append(cells.long_row(row.label, column.label + more, printed, cell, context.tier))
            line += [cells.number(*cells.split(published), config.digits), *_text(found, config.digits)]
            if found.note and np.isfinite(found.r):
                notes[f"{row.label}, {column.label}: {found.note}"] = None
        lines.append(line)
    page = cells.page(context, config.published_on, config.place, cells.markdown(header, lines), list(notes))
    return TableResult(cells.long_frame(long), page)


def _long(found: _Correlation, published: float | None) -> list[tuple[str, float, float | None]]:
    """(end of the column's name, value, published number) of every line that one cell makes."""
    return [
        ("", found.r, published),
        (", low", found.interval[0], None),
        (", high", found.interval[1], None),
        (", without one budget: lowest", found.without[0], None),
        (", without one budget: highest", found.without[1], None),
    ]


def _text(found: _Correlation, digits: int) -> tuple[str, str]:
    """(r with interval and number of runs, or why there is none; range without one budget)."""
    if not np.isfinite(found.r):
        return found.note, "–"
    low, high = (f"{end:.{digits}f}" for end in found.interval)
    without = "–"
    if np.isfinite(found.without).all():
        without = " to ".join(f"{end:.{digits}f}" for end in found.without)
    return f"{found.r:.{digits}f} [{low}, {high}] ({found.runs} runs)", without


def _correlation(config: Config, column: Column, context: Context, group: str) -> _Correlation:
    for evaluation in (column.evaluation, config.against.evaluation):
        reason = context.reason(group, evaluation)
        if reason:
            return _Correlation(np.nan, NOTHING, NOTHING, 0, 0, f"not testable: {reason}")
    ours = {r.run: r for r in context.results(group, column.evaluation)}
    theirs = {r.run: r for r in context.results(group, config.against.evaluation)}
    both = [run for run in ours if run in theirs]
    x = np.array([ours[run].value(column.value) for run in both], float)
    y = np.array([theirs[run].value(config.against.value) for run in both], float)
    kept = np.isfinite(x) & np.isfinite(y)
    budgets = np.array([str(ours[run].labels.get(config.budget)) for run in both])[kept]
    seeds = len({ours[run].seed for run, good in zip(both, kept) if good})
    diverged = sum(ours[run].diverged for run in both)
    notes = [f"{(~kept).sum()} of {len(both)} runs without a finite value, left out"] * (not kept.all())
    notes += [f"{diverged} of {len(both)} diverged"] * bool(diverged)
    reason = _too_little(x[kept], y[kept])
    if reason:
        return _Correlation(np.nan, NOTHING, NOTHING, kept.sum(), seeds, "; ".join([reason, *notes]))
    r, interval = _over_runs(x[kept], y[kept])
    without, few = _without_one(x[kept], y[kept], budgets, config.budget)
    return _Correlation(r, interval, without, kept.sum(), seeds, "; ".join([*notes, *few]))


def _too_little(x: np.ndarray, y: np.ndarray) -> str | None:
    """Why these points have no correlation worth a number; None when they have."""
    if len(x) < MIN_RUNS:
        return f"{len(x)} runs, {MIN_RUNS} are needed"
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return f"a quantity is the same in all {len(x)} runs"
    return None


def _over_runs(x: np.ndarray, y: np.ndarray) -> tuple[float, statistics.Interval]:
    samples = statistics.resample(len(x), lambda rows: statistics.correlation(x[rows], y[rows]))
    return float(statistics.correlation(x, y)), statistics.percentile_interval(samples)


def _without_one(
    x: np.ndarray, y: np.ndarray, budgets: np.ndarray, label: str
) -> tuple[statistics.Interval, list[str]]:
    """((lowest, highest) r when the runs of one budget are left out, notes)."""
    names = np.unique(budgets)
    if len(names) < 2:
        return NOTHING, [f"one value of {label!r} only: nothing to leave out"]
    parts = [(x[budgets != name], y[budgets != name]) for name in names]
    found = [float(statistics.correlation(a, b)) for a, b in parts if _too_little(a, b) is None]
    lost = len(names) - len(found)
    notes = [f"too little is left without one of {lost} values of {label!r}"] if lost else []
    return (min(found), max(found)) if found else NOTHING, notes
