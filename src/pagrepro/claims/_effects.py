"""From columns of numbers to effects with intervals, and to verdicts: what all rules share. Torch-free."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pagrepro import statistics
from pagrepro.claims._columns import Column, Statistic, by_seed, shared_seeds
from pagrepro.results import read_array
from pagrepro.statistics import MIN_SEEDS, Interval, Verdict

REVISION = 1

SeedInterval = Callable[[np.ndarray], tuple[float, Interval]]

# Name of a per-example array, or role -> name where roles measure different things. `l1 where correct` and
# `l1 where not correct`: only examples for which another array is true, or false.
Arrays = str | dict[str, str]


@dataclass(frozen=True)
class Estimate:
    """An effect with its interval (None: too little to say), and where they come from.

    percent: both are differences or means of fractions, to be shown as percent."""

    label: str
    effect: float | None
    interval: Interval | None
    n_seeds: int
    how: str
    notes: tuple[str, ...] = ()
    percent: bool = False


def estimate(
    label: str,
    columns: Sequence[Column],
    statistic: Statistic,
    about: str = "method",
    array: Arrays = "correct",
    seed_interval: SeedInterval | None = None,
    plain: bool = False,
) -> Estimate:
    """The effect with its interval.

    Three or more seeds that all columns share: paired by seed; `seed_interval` makes (effect, interval) of
    the matrix (seeds, columns), by default Student's t of the statistic of each seed. Two columns with three
    or more seeds each but fewer than three in common: Welch's interval of their difference, if that is what
    the statistic is. Fewer seeds: bootstrap over test examples if the claim is about given models, else none.
    plain: the effect has no unit (ratios), also where the values are accuracies.
    """
    percent = not plain and all(q.endswith("accuracy") for c in columns for q in c.rows["quantity"])

    def make(of: Sequence[Column]) -> Estimate:
        return replace(_estimate(label, of, statistic, about, array, seed_interval), percent=percent)

    return noting_diverged(columns, make)


def noting_diverged(columns: Sequence[Column], make: Callable[[Sequence[Column]], Estimate]) -> Estimate:
    """The effect that `make` finds; where runs diverged with a note of what it finds without them."""
    found = make(columns)
    if not any((c.rows["status"] == "diverged").any() for c in columns):
        return found
    kept = [c.without_diverged() for c in columns]
    if not all(len(c.finite) for c in kept):
        return replace(found, notes=(*found.notes, "nothing is left without them"))
    without = make(kept)
    few = "" if without.interval else " (too few seeds for an interval)"
    return replace(found, notes=(*found.notes, f"without them {show(without)}{few}"))


def _estimate(
    label: str,
    columns: Sequence[Column],
    statistic: Statistic,
    about: str,
    array: Arrays,
    seed_interval: SeedInterval | None,
) -> Estimate:
    seen = notes(columns)
    shared = shared_seeds(columns)
    if len(shared) >= MIN_SEEDS:
        make = seed_interval or (lambda matrix: statistics.t_interval(statistic(matrix)))
        effect, interval = make(by_seed(columns))
        return Estimate(label, effect, interval, len(shared), _seeds_text(columns, len(shared)), seen)
    if _is_difference(columns, statistic) and all(len(c.finite) >= MIN_SEEDS for c in columns):
        effect, interval = statistics.welch_interval(*(c.finite.to_numpy() for c in columns))
        n = min(len(c.finite) for c in columns)
        return Estimate(label, effect, interval, n, "independent seeds (Welch)", seen)
    n = min(len(c.finite) for c in columns)
    means = np.array([c.finite.mean() if len(c.finite) else math.nan for c in columns])
    point = float(statistic(means))
    effect = point if math.isfinite(point) else None
    if about == "models" and effect is not None:
        return _over_examples(Estimate(label, effect, None, n, "", seen), columns, statistic, array)
    how = "no finite value" if n == 0 else f"{n} seed{'s' * (n != 1)}, {MIN_SEEDS} are needed"
    if n >= MIN_SEEDS:
        how = f"only {len(shared)} seeds in common, {MIN_SEEDS} are needed"
    return Estimate(label, effect, None, n, how, seen)


def _seeds_text(columns: Sequence[Column], shared: int) -> str:
    most = max(len(c.finite) for c in columns)
    return f"{shared} seeds" if most == shared else f"the {shared} seeds in common, of up to {most}"


def _is_difference(columns: Sequence[Column], statistic: Statistic) -> bool:
    probe = np.array([3.0, 7.0])
    return len(columns) == 2 and float(statistic(probe)) == -4.0


def notes(columns: Sequence[Column]) -> tuple[str, ...]:
    """What a reader has to know about runs that diverged."""
    rows = pd.concat([c.rows for c in columns]).drop_duplicates(["run", "quantity", "role"])
    diverged = int((rows["status"] == "diverged").sum())
    lost = int((~np.isfinite(rows["value"].astype(float))).sum())
    found = [f"{diverged} of {len(rows)} diverged"] if diverged else []
    return (*found, f"{lost} of {len(rows)} values not finite, left out") if lost else tuple(found)


@dataclass(frozen=True)
class _Examples:
    """Per-example values of a column's runs (runs, N); the reported value is their mean or their median.
    apart: every run has its own examples, NaN elsewhere, and the mean over runs is taken last."""

    values: np.ndarray
    median: bool
    apart: bool = False


def _over_examples(
    found: Estimate, columns: Sequence[Column], statistic: Statistic, array: Arrays
) -> Estimate:
    """Bootstrap over test examples, the models being given; paired by example."""
    per_column = [_examples(c, array) for c in columns]
    bad = next((text for text in per_column if isinstance(text, str)), None)
    lengths = {e.values.shape[1] for e in per_column if isinstance(e, _Examples)}
    if bad or len(lengths) != 1:
        why = bad or f"columns with {sorted(lengths)} examples"
        return replace(found, how=f"{found.n_seeds} seeds, and no bootstrap over examples: {why}")
    samples = statistic(_resampled(per_column))
    interval = statistics.percentile_interval(samples)
    count = lengths.pop()
    return replace(found, interval=interval, how=f"given models, bootstrap over {count} test examples")


def _resampled(columns: Sequence[_Examples]) -> np.ndarray:
    """Values (draws, columns) of the same resampled examples, each the mean over the column's runs."""
    samples = np.empty((statistics.DRAWS, len(columns)))
    means = [k for k, column in enumerate(columns) if not (column.median or column.apart)]
    if means:
        samples[:, means] = statistics.resampled_means(np.stack([columns[k].values.mean(0) for k in means]))
    for k, column in enumerate(columns):
        if column.median:
            samples[:, k] = statistics.resampled_medians(column.values).mean(1)
        elif column.apart:
            samples[:, k] = statistics.resampled_means(column.values).mean(1)
    return samples


def _examples(column: Column, arrays: Arrays) -> _Examples | str:
    """Per-example values of the column's runs, or why there are none."""
    role = column.rows["role"].iloc[0]
    array = arrays if isinstance(arrays, str) else arrays.get(role)
    if array is None:
        return f"`array` names none for the role {role!r}"
    found, medians, apart = [], set(), " where " in array
    for row in column.rows[np.isfinite(column.rows["value"].astype(float))].itertuples():
        # pandas makes NaN of None beside text
        if not isinstance(row.arrays, str) or not Path(row.arrays).is_file():
            return f"no per-example values of {row.run}"
        try:
            values = _read(Path(row.arrays), array)
        except KeyError:
            return f"no array {array!r} of {row.run}"
        if _same(np.nanmean(values), row.value) and values.ndim <= 2:
            # Several values per example (one per class): the example is what is resampled.
            found.append(values if values.ndim == 1 else np.nanmean(values, axis=1))
            medians.add(False)
        elif values.ndim == 1 and not apart and _same(statistics.median(np.maximum(values, 0)), row.value):
            # Radii of misclassified examples may be signed; for their median they are 0.
            found.append(np.maximum(values, 0))
            medians.add(True)
        else:
            return f"{row.quantity} of {row.run} is not the mean of its array {array!r}, nor its median"
    if len({len(values) for values in found}) != 1:
        return f"runs of {column.name} were measured on different examples"
    # Radii that are all equal are their mean as well as their median.
    return _Examples(np.stack(found), True in medians, apart)


def _read(path: Path, text: str) -> np.ndarray:
    """A per-example array by its name, NaN where the condition after ` where ` leaves an example out. Raises
    KeyError for an array that is not there."""
    name, _, condition = text.partition(" where ")
    values = read_array(path, name).astype(float)
    if not condition:
        return values
    wanted = not condition.startswith("not ")
    return np.where(read_array(path, condition.removeprefix("not ")) == wanted, values, np.nan)


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-7)


# --- text and verdicts -----------------------------------------------------------------------------


def show(found: Estimate) -> str:
    """Effect and interval as text."""
    if found.effect is None:
        return "no finite value"
    scale, unit = (100.0, " %") if found.percent else (1.0, "")
    text = f"{found.effect * scale:.3g}{unit}"
    if found.interval is None:
        return text
    return f"{text} [{found.interval[0] * scale:.3g}, {found.interval[1] * scale:.3g}]"


def conclude(
    found: Estimate, above: float | None = None, below: float | None = None, strict: bool = True
) -> Verdict:
    """The verdict on "the effect lies above `above` and below `below`"."""
    word = statistics.judge_interval(found.interval, above, below, strict)
    reason = "; ".join([found.how, *found.notes])
    return Verdict(word, found.effect, found.interval, found.n_seeds, show(found), reason)


def together(parts: Sequence[tuple[str, Verdict]]) -> Verdict:
    """Verdict of a rule that judges several comparisons: all of them have to hold."""
    return parts[0][1] if len(parts) == 1 else statistics.combine(parts)


def with_reason(verdict: Verdict, more: str) -> Verdict:
    """The verdict with `more` at the end of its reason."""
    return replace(verdict, reason=f"{verdict.reason}; {more}")


def at_best_of_others(
    matrix: np.ndarray, among: slice, index: int | None = None, end: int | None = None
) -> np.ndarray:
    """Value (seeds,) of each seed at the place that is highest in the mean of the other seeds.

    matrix: (seeds, places); among: places that may be chosen; index: the place, if it is known; end: a place
    whose value is taken off. Choosing and measuring in different seeds keeps the effect unbiased.
    """
    seeds, places = matrix.shape
    others = (matrix.sum(0) - matrix) / (seeds - 1)
    at = np.arange(places)[among][others[:, among].argmax(1)] if index is None else np.full(seeds, index)
    best = matrix[np.arange(seeds), at]
    return best if end is None else best - matrix[:, end]


def undefined(values: np.ndarray) -> np.ndarray:
    """Statistic of what exists only over several seeds, such as a spread."""
    return np.full(values.shape[:-1], np.nan)
