"""Rank correlations over training objectives, with resampling that knows which runs belong together.
Torch-free.

Runs of one objective differ by their seed alone: they are no independent draws of objectives, and twenty of
them are not twenty models. So every correlation is one over objectives, of means over their runs, and there
are two bootstraps (Davison and Hinkley, 1997, section 3.8): over runs inside their objectives, which says how
the number would move if the same objectives were trained again; and over objectives with their runs, which
says how it would move with other objectives of the same kind, and is the wider one.
"""

import numpy as np

from pagrepro import statistics

REVISION = 1

# Fewer points have no rank correlation worth a number.
MIN_OBJECTIVES = 4


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 along the last axis of (..., n), ties at their mean rank; what is NaN has none (NaN)."""
    from scipy.stats import rankdata

    known = ~np.isnan(values)
    # Behind all others, what is not known moves none of their ranks.
    return np.where(known, rankdata(np.where(known, values, np.inf), axis=-1), np.nan)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation along the last axis of (..., n), over the points at which both are known (not
    NaN). NaN where these are fewer than MIN_OBJECTIVES, or where one of both is the same at all of them."""
    return _pearson_of_ranks(*_ranked_together(x, y))


def partial_spearman(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Spearman's correlation of x and y given z (Kendall's recursion on ranks):
        (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2)),
    over the points at which all three are known. NaN as in `spearman`, and where z orders the points as x or
    y does: nothing is left of that one then."""
    rx, ry, rz = _ranked_together(x, y, z)
    xy, xz, yz = (_pearson_of_ranks(*pair) for pair in ((rx, ry), (rx, rz), (ry, rz)))
    left = (1 - xz**2) * (1 - yz**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (xy - xz * yz) / np.sqrt(np.where(left > 1e-12, left, np.nan))
    return np.clip(found, -1, 1)


def _ranked_together(*columns: np.ndarray) -> list[np.ndarray]:
    known = np.logical_and.reduce([~np.isnan(column) for column in columns])
    return [ranks(np.where(known, column, np.nan)) for column in columns]


def _pearson_of_ranks(rx: np.ndarray, ry: np.ndarray) -> np.ndarray:
    known = ~np.isnan(rx)
    count = known.sum(-1)
    # The mean rank is (n + 1) / 2, ties or not.
    middle = np.expand_dims((count + 1) / 2, -1)
    rx, ry = (np.where(known, r - middle, 0.0) for r in (rx, ry))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (rx * ry).sum(-1) / np.sqrt((rx * rx).sum(-1) * (ry * ry).sum(-1))
    return np.where(count >= MIN_OBJECTIVES, r, np.nan)


def permutation_p(x: np.ndarray, y: np.ndarray, seed: int = 0, draws: int = 10_000) -> float:
    """Two-sided p of Spearman's correlation of x and y (n,), by permutations of y among the points at which
    both are known: the share, counting the order at hand, whose correlation is at least as large. Exchanging
    objectives takes them to be independent; close relatives among them make p too small. NaN without a
    correlation."""
    known = ~np.isnan(x) & ~np.isnan(y)
    found = float(spearman(x, y))
    if np.isnan(found):
        return np.nan
    rx, ry = ranks(x[known]), ranks(y[known])
    orders = np.random.default_rng(seed).permuted(np.tile(ry, (draws, 1)), axis=1)
    as_large = np.abs(_pearson_of_ranks(np.broadcast_to(rx, orders.shape), orders)) >= abs(found) - 1e-12
    return (int(as_large.sum()) + 1) / (draws + 1)


def holm(p: np.ndarray) -> np.ndarray:
    """p values (m,) adjusted for their number (Holm, 1979); NaN stays NaN and does not count."""
    adjusted = np.full(len(p), np.nan)
    order = [k for k in np.argsort(p, kind="stable") if not np.isnan(p[k])]
    largest = 0.0
    for place, k in enumerate(order):
        largest = max(largest, (len(order) - place) * float(p[k]))
        adjusted[k] = min(largest, 1.0)
    return adjusted


def means(values: np.ndarray) -> np.ndarray:
    """Means over runs (..., O, M) of (..., O, S, M), of those that are known; NaN where none is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known, values, 0.0).sum(-2) / known.sum(-2)


def resampled_runs(values: np.ndarray, seed: int = 0, draws: int = statistics.DRAWS) -> np.ndarray:
    """Means (draws, O, M) of `values` (O, S, M) with the runs of every objective drawn again with
    replacement; all measures of a run go together. The place of a missing run (NaN) is never drawn."""
    rng = np.random.default_rng(seed)
    every = np.broadcast_to(np.arange(len(values)), (draws, len(values)))
    return means(values[every[..., None], _drawn_runs(values, every, rng)])


def resampled_objectives(values: np.ndarray, seed: int = 0, draws: int = statistics.DRAWS) -> np.ndarray:
    """As `resampled_runs`, but the objectives themselves are drawn with replacement first, each with runs
    drawn anew. Means of few runs spread more than what they are means of, so this errs to the wide side."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(values), (draws, len(values)))
    return means(values[chosen[..., None], _drawn_runs(values, chosen, rng)])


def _drawn_runs(values: np.ndarray, objectives: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices (draws, O, S) of runs for objectives (draws, O). A seed that an objective lacks altogether is
    replaced by one that it has."""
    there = ~np.isnan(values).all(-1)
    count = np.maximum(there.sum(1), 1)
    order = np.argsort(~there, axis=1, kind="stable")
    drawn = (rng.random((*objectives.shape, values.shape[1])) * count[objectives][..., None]).astype(int)
    return np.take_along_axis(order[objectives], drawn, axis=-1)
