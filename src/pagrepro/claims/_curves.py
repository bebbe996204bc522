"""Curves that every run has as arrays, such as accuracy over the size of a perturbation. Torch-free."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.errors import DataError
from pagrepro.results import read_array
from pagrepro.statistics import MIN_SEEDS

REVISION = 1

# Takes heights (..., curves, places), returns (...): applied to every seed, or to every bootstrap sample.
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Axes:
    """Names of the arrays of places x (points,) and heights y (points,), and the range of places, to which
    both ends belong. examples: array that heights are means of: heights of every example (N, points), or
    places (N,) beyond which an example no longer counts: the height is the share of those beyond x."""

    x: str
    y: str
    since: float | None = None
    until: float | None = None
    examples: str | None = None


def at_least(heights: np.ndarray, places: int) -> np.ndarray:
    """The heights (..., places). Raises DataError for fewer places than a rule needs."""
    if heights.shape[-1] < places:
        raise DataError(f"{places} places are needed in the range, found {heights.shape[-1]}")
    return heights


def estimate(
    label: str, curves: Sequence[columns.Column], axes: Axes, statistic: Statistic, about: str = "method"
) -> effects.Estimate:
    """The effect with its interval, as `effects.estimate` makes it, of curves. Runs whose heights are not
    finite are left out and counted; there is no interval of unpaired seeds. Raises DataError for runs
    without the arrays, of different places, and for a range without a place."""

    def make(of: Sequence[columns.Column]) -> effects.Estimate:
        return _estimate(label, of, axes, statistic, about)

    return effects.noting_diverged(curves, make)


def _estimate(
    label: str, curves: Sequence[columns.Column], axes: Axes, statistic: Statistic, about: str
) -> effects.Estimate:
    heights = _heights(curves, axes)
    lost = sum(len(c.rows) for c in curves) - sum(map(len, heights))
    notes = (*effects.notes(curves), *[f"{lost} curves not finite, left out"] * bool(lost))
    shared = sorted(set.intersection(*map(set, heights)))
    if len(shared) >= MIN_SEEDS:
        per_seed = np.stack([[of[seed] for of in heights] for seed in shared])
        effect, interval = statistics.t_interval(statistic(per_seed))
        return effects.Estimate(label, effect, interval, len(shared), f"{len(shared)} seeds", notes)
    n = min(map(len, heights))
    if n == 0:
        return effects.Estimate(label, None, None, 0, "no finite curve", notes)
    effect = float(statistic(np.stack([np.mean(list(of.values()), axis=0) for of in heights])))
    how = f"{n} seed{'s' * (n != 1)}, {MIN_SEEDS} are needed"
    if n >= MIN_SEEDS:
        how = f"only {len(shared)} seeds in common, {MIN_SEEDS} are needed"
    if about != "models":
        return effects.Estimate(label, effect, None, n, how, notes)
    try:
        samples, count = _resampled(curves, heights, axes)
    except DataError as error:
        how = f"{n} seeds, and no bootstrap over examples: {error}"
        return effects.Estimate(label, effect, None, n, how, notes)
    interval = statistics.percentile_interval(statistic(samples))
    how = f"given models, bootstrap over {count} test examples"
    return effects.Estimate(label, effect, interval, n, how, notes)


def _heights(curves: Sequence[columns.Column], axes: Axes) -> list[dict[int, np.ndarray]]:
    """Of every column seed -> heights within the range, of runs where all of them are finite."""
    found, places = [], None
    for column in curves:
        found.append({})
        for seed, row in column.rows.iterrows():
            x, y = _array(row, axes.x), _array(row, axes.y)
            if x.shape != y.shape or (places is not None and not np.array_equal(x, places)):
                raise DataError(f"{row['run']}: {axes.y!r} is not over the same {axes.x!r} as other runs'")
            places, inside = x, _inside(x, axes)
            if not inside.any():
                raise DataError(
                    f"{row['run']}: no place of {axes.x!r} in the range, {x.min():g} to {x.max():g}"
                )
            if np.isfinite(y[inside]).all():
                found[-1][seed] = y[inside]
    return found


def _inside(x: np.ndarray, axes: Axes) -> np.ndarray:
    above = np.ones(len(x), bool) if axes.since is None else x >= axes.since
    return above if axes.until is None else above & (x <= axes.until)


def _array(row: Any, name: str) -> np.ndarray:
    # pandas makes NaN of None beside text
    if not isinstance(row["arrays"], (str, Path)) or not Path(row["arrays"]).is_file():
        raise DataError(f"{row['run']}: no arrays")
    try:
        return read_array(Path(row["arrays"]), name).astype(float)
    except KeyError:
        raise DataError(f"{row['run']}: no array {name!r}") from None


def _resampled(
    curves: Sequence[columns.Column], heights: Sequence[Mapping[int, np.ndarray]], axes: Axes
) -> tuple[np.ndarray, int]:
    """(heights (draws, curves, places) of the same resampled examples, number of examples)."""
    found = []
    for column, of in zip(curves, heights, strict=True):
        runs = [_of_examples(column.rows.loc[seed], height, axes) for seed, height in of.items()]
        found.append(runs)
    counts = {run.shape[1] for runs in found for run in runs}
    if len(counts) != 1:
        raise DataError(f"{axes.examples!r}: {sorted(counts)} examples; the same ones are needed")
    means = [np.mean([statistics.resampled_means(run) for run in runs], axis=0) for runs in found]
    return np.stack(means, axis=1), counts.pop()


def _of_examples(row: Any, height: np.ndarray, axes: Axes) -> np.ndarray:
    """(places, N) values of which the heights are the means. Raises DataError if they are not."""
    x, values = _array(row, axes.x), _array(row, axes.examples)
    values = values[:, None] > x if values.ndim == 1 else values
    inside = values[:, _inside(x, axes)].T.astype(float)
    # An example that is not finite at one place is left out at all of them.
    inside[:, ~np.isfinite(inside).all(0)] = np.nan
    if not np.allclose(np.nanmean(inside, axis=1), height, rtol=1e-5, atol=1e-7):
        raise DataError(f"{row['run']}: {axes.y!r} is not the mean of its array {axes.examples!r}")
    return inside
