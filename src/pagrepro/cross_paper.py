"""The cross-paper matrix as numbers: objectives under measures, and how measures go together. Torch-free.

Correlations are over objectives (`rank_correlation.py`) and *oriented*: every measure is turned so that
larger is better, so that a positive one says that two measures improve together, as the papers expect of
alignment and robustness.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pagrepro import rank_correlation, statistics
from pagrepro.matrix_options import Measure, Objective
from pagrepro.rank_correlation import partial_spearman, spearman
from pagrepro.results import Context
from pagrepro.statistics import Interval

REVISION = 1

NOTHING: Interval = (np.nan, np.nan)


@dataclass(frozen=True)
class Matrix:
    """rows (O,), columns (M,); values (O, S, M) in the table's units, S the largest number of runs, NaN where
    there is no run or its number is not finite; diverged (O, S, M); reasons: (row, column) -> why a cell
    is empty."""

    rows: tuple[Objective, ...]
    columns: tuple[Measure, ...]
    values: np.ndarray
    diverged: np.ndarray
    reasons: dict[tuple[str, str], str]

    @cached_property
    def means(self) -> np.ndarray:
        """(O, M) over all runs, also diverged ones."""
        return rank_correlation.means(self.values)

    @cached_property
    def oriented(self) -> np.ndarray:
        """`values` of runs that did not diverge, larger is better."""
        return np.where(self.diverged, np.nan, self.values) * [column.sign for column in self.columns]

    @cached_property
    def optimised(self) -> np.ndarray:
        """(O, M) bool: the objective works on this measure itself."""
        return np.array([[c.label in row.optimises for c in self.columns] for row in self.rows])

    def place(self, label: str) -> int:
        """Number of the column of this label."""
        return [column.label for column in self.columns].index(label)

    def runs(self, *columns: int) -> int:
        """Number of runs behind these columns, of all objectives, without those that diverged."""
        return int((~np.isnan(self.oriented[..., list(columns)])).any(-1).sum())


def read(context: Context, rows: Sequence[Objective], columns: Sequence[Measure]) -> Matrix:
    """Every cell of the matrix. Raises DataError for a group that the artifact does not name, and for a value
    that a measurement does not have."""
    cells, reasons = {}, {}
    for o, row in enumerate(rows):
        for m, column in enumerate(columns):
            reason = row.without.get(column.label) or context.reason(
                row.group + column.suffix, column.evaluation
            )
            if reason:
                reasons[row.label, column.label] = reason
            else:
                cells[o, m] = context.results(row.group + column.suffix, column.evaluation)
    # The same seed stands at the same place in all columns: its measures go together.
    seeds = sorted({result.seed for results in cells.values() for result in results})
    values = np.full((len(rows), max(len(seeds), 1), len(columns)), np.nan)
    diverged = np.zeros(values.shape, bool)
    for (o, m), results in cells.items():
        for result in results:
            at = (o, seeds.index(result.seed), m)
            value = result.value(columns[m].value) * columns[m].scale
            values[at] = value if np.isfinite(value) else np.nan
            diverged[at] = result.diverged
    return Matrix(tuple(rows), tuple(columns), values, diverged, reasons)


@dataclass(frozen=True)
class Estimate:
    """A correlation with its intervals: over objectives (with their runs), and over runs of the same
    objectives; n: objectives behind it. NaN where it is not defined."""

    rho: float
    objectives: Interval
    runs: Interval
    n: int

    @property
    def sure(self) -> bool:
        """Whether the interval over objectives leaves out 0."""
        low, high = self.objectives
        return low > 0 or high < 0


@dataclass(frozen=True)
class Link:
    """What one measure says of another. plain; given: with the rank of the third one taken out (clean
    accuracy); untrained: without objectives that work on either of both; families: lowest and highest rho
    when one family of objectives is left out; p: of rho by permutation of objectives."""

    predictor: str
    target: str
    plain: Estimate
    given: Estimate
    untrained: Estimate
    families: Interval
    p: float


class Correlations:
    """Correlations of a matrix, with the resamples that all of them share."""

    def __init__(self, matrix: Matrix, seed: int = 0, draws: int = 1000):
        self.matrix, self.seed, self.draws = matrix, seed, draws
        self.means = rank_correlation.means(matrix.oriented)
        everything = np.ones(len(matrix.rows), bool)
        self._resamples = {everything.tobytes(): self._resample(everything)}

    def _resample(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (draws, O, M) of the objectives that are kept: objectives drawn, and runs drawn."""
        values = self.matrix.oriented[kept]
        return (
            rank_correlation.resampled_objectives(values, self.seed, self.draws),
            rank_correlation.resampled_runs(values, self.seed, self.draws),
        )

    def plain(self, x: int, y: int, kept: np.ndarray | None = None) -> Estimate:
        """Spearman's correlation of columns x and y; kept (O,) bool: of these objectives."""
        return self._estimate((x, y), kept)

    def given(self, x: int, y: int, z: int) -> Estimate:
        """The same with the ranks of column z taken out."""
        return self._estimate((x, y, z), None)

    def _estimate(self, columns: tuple[int, ...], kept: np.ndarray | None) -> Estimate:
        kept = np.ones(len(self.means), bool) if kept is None else kept
        statistic = spearman if len(columns) == 2 else partial_spearman
        chosen = [self.means[kept, column] for column in columns]
        n = int(np.logical_and.reduce([~np.isnan(column) for column in chosen]).sum())
        rho = float(statistic(*chosen))
        if np.isnan(rho):
            return Estimate(np.nan, NOTHING, NOTHING, n)
        if kept.tobytes() not in self._resamples:
            self._resamples[kept.tobytes()] = self._resample(kept)
        drawn = self._resamples[kept.tobytes()]
        ends = [
            statistics.percentile_interval(statistic(*(sample[..., column] for column in columns)))
            for sample in drawn
        ]
        return Estimate(rho, *ends, n)

    def link(self, predictor: str, target: str, given: str) -> Link:
        """Everything about one pair of measures, by label."""
        x, y, z = map(self.matrix.place, (predictor, target, given))
        untouched = ~(self.matrix.optimised[:, x] | self.matrix.optimised[:, y])
        p = rank_correlation.permutation_p(self.means[:, x], self.means[:, y], self.seed)
        return Link(
            predictor, target, self.plain(x, y), self.given(x, y, z), self.plain(x, y, untouched),
            self._without_a_family(x, y), p,
        )  # fmt: skip

    def _without_a_family(self, x: int, y: int) -> Interval:
        families = np.array([row.family for row in self.matrix.rows])
        parts = (families != family for family in np.unique(families))
        found = [float(spearman(self.means[part, x], self.means[part, y])) for part in parts]
        known = [rho for rho in found if not np.isnan(rho)]
        return (min(known), max(known)) if known else NOTHING


def links(correlations: Correlations, targets: Sequence[str], given: str) -> list[tuple[Link, float]]:
    """(link, p adjusted for the number of all of them by Holm's method) of every measure of alignment or
    smoothness with every target, target by target."""
    predictors = [column.label for column in correlations.matrix.columns if column.predicts]
    found = [correlations.link(predictor, target, given) for target in targets for predictor in predictors]
    adjusted = rank_correlation.holm(np.array([link.p for link in found]))
    return list(zip(found, map(float, adjusted), strict=True))
