"""Regimes of robustness and their landmarks: quantities in rows, objectives in columns, published beside
ours.

Srinivas et al. (2023), section 5 and Figure 2. The paper shows them in figures only; the published
numbers are read off those. Ours are of the means over seeds, with the range over seeds that have the
landmark.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field

from pagrepro import regimes, sweeps
from pagrepro.artifact import TableResult
from pagrepro.options import Number, Strict
from pagrepro.results import Context
from pagrepro.sweeps import Sweep
from pagrepro.tables import _cells as cells

REVISION = 1


class Quantity(Strict):
    """A value of a measurement; label: how a note calls it."""

    evaluation: str
    value: str
    label: str = ""


class Row(Strict):
    """One objective."""

    label: str
    group: str


class Config(Strict):
    """rows: objectives; strength: numeric label of the runs; alignment: the first of these that a group
    has; drop: accuracy that an accurate network may lack of the best one; published: row label ->
    quantity -> number (strengths, fractions; `weak, first`, `weak, last`, `weak, strengths`, likewise
    `Bayes-aligned` and `excessive`; `crossing`, `accuracy at crossing`, `drop at crossing`, `peak`,
    `alignment at peak`, `accuracy at peak`)."""

    rows: tuple[Row, ...] = Field(min_length=1)
    strength: str = "strength"
    on: Quantity = Quantity(evaluation="sensitivity", value="on")
    off: Quantity = Quantity(evaluation="sensitivity", value="off")
    accuracy: Quantity = Quantity(evaluation="clean", value="accuracy")
    alignment: tuple[Quantity, ...] = Field(min_length=1)
    drop: Number = Field(0.10, gt=0)
    published: dict[str, dict[str, float]] = {}
    published_on: str = ""
    place: str = ""


LANDMARKS = (
    "crossing", "accuracy at crossing", "drop at crossing", "peak", "alignment at peak", "accuracy at peak",
)  # fmt: skip
QUANTITIES = (*(f"{name}, {what}" for name in regimes.REGIMES for what in ("first", "last", "strengths")),
              *LANDMARKS)  # fmt: skip


@dataclass(frozen=True)
class _Found:
    """values: quantity -> (of the means, of each seed (K,)), NaN where there is none; notes for the
    reader."""

    values: dict[str, tuple[float, np.ndarray]]
    seeds: int
    notes: tuple[str, ...]
    reason: str | None = None


def draw(config: Config, context: Context) -> TableResult:
    """Long form (columns QUANTITIES; measured_sd over seeds, their range in the note) and Markdown. Raises
    DataError for a published row or quantity that is not there, and when a run lacks the label."""
    cells.check_labels(config.published, [row.label for row in config.rows], QUANTITIES, context)
    found = {row.label: _found(config, context, row) for row in config.rows}
    header, long, notes = [""], [], []
    lines = [[_title(name)] for name in QUANTITIES]
    for row in config.rows:
        header += [f"{row.label}: published", f"{row.label}: here"]
        published = config.published.get(row.label, {})
        for line, name in zip(lines, QUANTITIES, strict=True):
            cell = _cell(found[row.label], name)
            long.append(cells.long_row(row.label, name, published.get(name), cell, context.tier))
            first = name == QUANTITIES[0]
            line += [_plain(published.get(name)), _text(found[row.label], name, first)]
        used = [cells.used(context, row.group), *found[row.label].notes]
        notes.append(f"{row.label}: {'; '.join(used)}")
    page = cells.page(context, config.published_on, config.place, cells.markdown(header, lines), notes)
    return TableResult(cells.long_frame(long), page)


def _found(config: Config, context: Context, row: Row) -> _Found:
    needed = (config.on, config.off, config.accuracy)
    why = next(filter(None, (context.reason(row.group, q.evaluation) for q in needed)), None)
    if why:
        return _Found({}, 0, (), why)
    measured = dict(zip(("on", "off", "accuracy"), ((q.evaluation, q.value) for q in needed)))
    chosen = next((q for q in config.alignment if not context.reason(row.group, q.evaluation)), None)
    notes = ["no alignment: " + str(context.reason(row.group, config.alignment[0].evaluation))]
    if chosen:
        measured["alignment"] = (chosen.evaluation, chosen.value)
        notes = [f"alignment: {chosen.label or chosen.value}"]
    points = sweeps.points(context, row.group, measured, config.strength)
    if points.empty:
        return _Found({}, 0, (context.incomplete or "no runs",))
    names = ("on", "off", "accuracy", "alignment")
    sweep = sweeps.from_points(points.reindex(columns=[*points.columns[:4], *names]), names)
    of_seeds = [
        _landmarks(sweep, [sweep.values[n][k] for n in names], config) for k in range(len(sweep.seeds))
    ]
    of_means = _landmarks(sweep, [sweep.mean(n) for n in names], config)
    values = {q: (of_means[q], np.array([seed[q] for seed in of_seeds])) for q in QUANTITIES}
    notes += [f"{len(sweep.strengths)} strengths, {len(sweep.seeds)} seeds", *_lost(sweep, points)]
    return _Found(values, len(sweep.seeds), tuple(notes))


def _lost(sweep: Sweep, points: pd.DataFrame) -> list[str]:
    diverged = int(sweep.diverged.sum())
    lost = int((~np.isfinite(points[["on", "off", "accuracy"]]).all(axis=1)).sum())
    notes = [f"{diverged} of {len(points)} runs diverged"] if diverged else []
    return notes + ([f"{lost} of {len(points)} runs without a finite value, left out"] if lost else [])


def _landmarks(sweep: Sweep, curves: Sequence[np.ndarray], config: Config) -> dict[str, float]:
    """Quantity -> number, NaN where it does not exist, for one set of curves (S,)."""
    accuracy, alignment = curves[2:]
    found = regimes.find(*curves, drop=config.drop)
    values = dict.fromkeys(QUANTITIES, np.nan)
    for name in regimes.REGIMES:
        span = found.spans.get(name)
        values[f"{name}, strengths"] = span.count if span else 0
        if span:
            values[f"{name}, first"] = sweep.strengths[span.first]
            values[f"{name}, last"] = sweep.strengths[span.last]
    known = accuracy[np.isfinite(accuracy)]
    if found.crossing is not None and len(known):
        at = found.crossing
        values["crossing"], values["accuracy at crossing"] = sweep.strengths[at], accuracy[at]
        values["drop at crossing"] = known[0] - accuracy[at]
    if found.peak is not None:
        at = found.peak
        values["peak"], values["alignment at peak"] = sweep.strengths[at], alignment[at]
        values["accuracy at peak"] = accuracy[at]
    return values


def _cell(found: _Found, name: str) -> cells.Cell:
    if found.reason:
        return cells.Cell(np.nan, np.nan, 0, f"not testable: {found.reason}", found.reason)
    if not found.values:
        return cells.Cell(np.nan, np.nan, 0, "; ".join(found.notes))
    mean, seeds = found.values[name]
    there = seeds[np.isfinite(seeds)]
    spread = float(there.std(ddof=1)) if len(there) > 1 else np.nan
    return cells.Cell(float(mean), spread, len(there), _range(there, found.seeds))


def _range(there: np.ndarray, seeds: int) -> str:
    """Smallest to largest over the seeds that have a value; how many do, if not all."""
    if not len(there):
        return "in no seed"
    if len(there) == seeds and np.ptp(there) == 0:
        return "the same in every seed"
    few = f", in {len(there)} of {seeds}" if len(there) < seeds else ""
    return f"seeds: {_plain(there.min())} to {_plain(there.max())}{few}"


def _text(found: _Found, name: str, first: bool) -> str:
    """Our cell of the Markdown: the value of the means and the range over seeds."""
    if found.reason:
        return f"not testable: {found.reason}" if first else "not testable"
    cell = _cell(found, name)
    if not np.isfinite(cell.mean):
        return "none" + (f" ({cell.note})" if cell.n else "")
    return f"{_plain(cell.mean)} ({cell.note.removeprefix('seeds: ')})" if cell.n else _plain(cell.mean)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _title(name: str) -> str:
    """How the Markdown calls a quantity."""
    return {
        "crossing": "first strength with off < on", "drop at crossing": "accuracy lost by then",
        "peak": "strength of the highest alignment",
    }.get(name, name)  # fmt: skip
