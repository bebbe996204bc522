"""Intervals, and verdicts from intervals. Torch-free.

One rule for every claim (docs/claims.md): with three or more independent seeds it is `confirmed`
when the 95 % interval of its effect lies on the claim's side of the threshold, `contradicted` when it lies
on the other side, `inconclusive` otherwise.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

REVISION = 1

CONFIRMED, CONTRADICTED, INCONCLUSIVE, NOT_TESTABLE = VERDICTS = (
    "confirmed", "contradicted", "inconclusive", "not testable",
)  # fmt: skip

LEVEL = 0.95
MIN_SEEDS = 3
DRAWS = 4000

Interval = tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """What became of a claim. effect and interval in the unit of the measured value (None where there is
    none); measured: the same as text; n_seeds: independent seeds behind it; tests: how many intervals
    had to be judged for it (each may contradict by chance)."""

    verdict: str
    effect: float | None
    interval: Interval | None
    n_seeds: int
    measured: str
    reason: str
    tests: int = 1

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict {self.verdict!r}; allowed: {', '.join(VERDICTS)}")


def not_testable(reason: str) -> Verdict:
    """The verdict on a claim that has nothing to be judged by."""
    return Verdict(NOT_TESTABLE, None, None, 0, "", reason, tests=0)


# --- intervals (scipy is imported where it is used: it costs more than everything else here) -----------


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, Interval]:
    """(mean, interval) of independent values (n,), n >= 2, by Student's t. Equal values give a point."""
    from scipy.stats import t

    x = np.asarray(values, float)
    half = t.ppf((1 + level) / 2, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    return float(x.mean()), (float(x.mean() - half), float(x.mean() + half))


def welch_interval(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> tuple[float, Interval]:
    """(mean a - mean b, interval) of two independent samples with variances of their own."""
    from scipy.stats import t

    x, y = np.asarray(a, float), np.asarray(b, float)
    vx, vy = x.var(ddof=1) / len(x), y.var(ddof=1) / len(y)
    difference = float(x.mean() - y.mean())
    if vx + vy == 0:
        return difference, (difference, difference)
    freedom = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    half = float(t.ppf((1 + level) / 2, freedom) * math.sqrt(vx + vy))
    return difference, (difference - half, difference + half)


def fieller_interval(x: Sequence[float], y: Sequence[float], level: float = LEVEL) -> tuple[float, Interval]:
    """(ratio of means, interval) of paired samples, by Fieller's theorem.

    The interval is the set of r for which the t interval of x - r y holds 0; it is all of the line
    when the mean of y cannot be told from 0.
    """
    from scipy.stats import t

    a, b = float(np.mean(x)), float(np.mean(y))
    (vxx, vxy), (_, vyy) = np.cov(x, y, ddof=1) / len(x)
    q = float(t.ppf((1 + level) / 2, len(x) - 1)) ** 2
    lead, middle, last = b * b - q * vyy, a * b - q * vxy, a * a - q * vxx
    if lead <= 0:
        return (a / b if b else math.nan), (-math.inf, math.inf)
    root = math.sqrt(max(middle * middle - lead * last, 0.0))
    return a / b, ((middle - root) / lead, (middle + root) / lead)


def sd_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, Interval]:
    """(standard deviation with ddof 1, interval) of normal values, from the chi-square distribution."""
    from scipy.stats import chi2

    x = np.asarray(values, float)
    n, sd = len(x) - 1, float(np.std(x, ddof=1))
    low, high = (sd * math.sqrt(n / chi2.ppf(p, n)) for p in ((1 + level) / 2, (1 - level) / 2))
    return sd, (low, high)


def share_interval(hits: int, n: int, level: float = LEVEL) -> tuple[float, Interval]:
    """(share, exact binomial interval) of Clopper and Pearson."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(1 - tail, hits + 1, n - hits))
    return hits / n, (low, high)


def fisher_interval(r: float, n: int, rank: bool = False, level: float = LEVEL) -> Interval:
    """Interval of a correlation over n >= 4 independent pairs, by Fisher's transformation.

    rank: Spearman's, whose transformed variance is (1 + r^2 / 2) / (n - 3) (Bonett, Wright 2000). A
    perfect order would get an interval of length zero, however few the pairs; it gets that of the order with
    one neighbouring pair exchanged, extended to 1.
    """
    from scipy.stats import norm

    if abs(r) >= 1 and not rank:
        return r, r
    if abs(r) >= 1:
        low, high = fisher_interval(math.copysign(1 - 12 / (n * (n * n - 1)), r), n, rank, level)
        return (low, 1.0) if r > 0 else (-1.0, high)
    half = norm.ppf((1 + level) / 2) * math.sqrt((1 + r * r / 2 if rank else 1) / (n - 3))
    return float(math.tanh(math.atanh(r) - half)), float(math.tanh(math.atanh(r) + half))


def correlation(x: np.ndarray, y: np.ndarray, rank: bool = False) -> np.ndarray:
    """Pearson (or, with `rank`, Spearman) correlation along the last axis of (..., n); NaN for a constant."""
    if rank:
        from scipy.stats import rankdata

        x, y = rankdata(x, axis=-1), rankdata(y, axis=-1)
    x = x - x.mean(-1, keepdims=True)
    y = y - y.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def relative_error(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """abs(estimate / truth - 1) of two positive quantities (N,), such as a distance and its estimate.

    NaN where there is nothing to compare: no estimate, or a truth that is 0 or not finite. An infinite
    estimate is infinitely wrong.
    """
    there = ~np.isnan(estimate) & np.isfinite(truth) & (truth != 0)
    return np.where(there, np.abs(estimate / np.where(there, truth, 1.0) - 1.0), np.nan)


def resampled_means(values: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """Bootstrap over examples: means (draws, k) of per-example values (k, N), NaN = example left out.

    All k rows see the same resampled examples, so that differences between rows are paired by example.
    """
    there = np.isfinite(values)
    filled = np.where(there, values, 0.0).T
    means = []
    for times in _resampled_times(values.shape[1], seed, draws):
        weights = times.astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append((weights @ filled) / (weights @ there.T.astype(float)))
    return np.concatenate(means)


def resampled_medians(values: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """As `resampled_means`, and of the same resampled examples: the smallest of the values (k, N) that at
    least half of the examples do not exceed. Infinite values are larger than all others."""
    order = np.argsort(values, axis=1)
    half = (values.shape[1] + 1) // 2
    medians = []
    for times in _resampled_times(values.shape[1], seed, draws):
        places = [(times[:, o].cumsum(1) >= half).argmax(1) for o in order]
        medians.append(np.stack([v[o][p] for v, o, p in zip(values, order, places)], axis=1))
    return np.concatenate(medians)


def median(values: np.ndarray) -> float:
    """Smallest of the values (N,) that at least half of them do not exceed."""
    return float(np.sort(values)[(len(values) + 1) // 2 - 1])


def _resampled_times(count: int, seed: int, draws: int) -> Iterator[np.ndarray]:
    """How often each of `count` examples is in a resample, in blocks (<= draws, count)."""
    rng = np.random.default_rng(seed)
    block = max(1, 4_000_000 // count)
    for start in range(0, draws, block):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(block, draws - start))


def resample(
    count: int, statistic: Callable[[np.ndarray], np.ndarray], seed: int = 0, draws: int = DRAWS
) -> np.ndarray:
    """statistic(rows) for `draws` resamples of `count` rows; rows: (draws, count) indices."""
    return statistic(np.random.default_rng(seed).integers(0, count, (draws, count)))


def percentile_interval(samples: np.ndarray, level: float = LEVEL) -> Interval:
    """Central interval of bootstrap samples; samples that are not finite are left out."""
    finite = samples[np.isfinite(samples)]
    if not len(finite):
        return -math.inf, math.inf
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# --- verdicts -------------------------------------------------------------------------------------


def judge_interval(
    interval: Interval | None, above: float | None = None, below: float | None = None, strict: bool = True
) -> str:
    """Verdict on "the effect lies above `above` and below `below`" (either may be None).

    strict: an effect exactly at a threshold speaks against the claim; otherwise for it. This matters only
    for intervals of length zero, such as that of three accuracies of exactly 0.
    """
    if interval is None or not all(map(math.isfinite, interval)):
        return INCONCLUSIVE
    low, high = interval
    bottom = -math.inf if above is None else above
    top = math.inf if below is None else below
    if (bottom < low and high < top) if strict else (bottom <= low and high <= top):
        return CONFIRMED
    if (high <= bottom or low >= top) if strict else (high < bottom or low > top):
        return CONTRADICTED
    return INCONCLUSIVE


def combine(parts: Sequence[tuple[str, Verdict]]) -> Verdict:
    """One verdict for a claim of several parts.

    Contradicted if any part is; confirmed only if all testable parts are; inconclusive otherwise. Parts that
    are not testable are named; a claim all of whose parts are not testable is not testable.
    """
    judged = [(label, v) for label, v in parts if v.verdict != NOT_TESTABLE]
    absent = [(label, v) for label, v in parts if v.verdict == NOT_TESTABLE]
    if not judged:
        reasons = dict.fromkeys(v.reason for _, v in parts)
        return not_testable("; ".join(reasons))
    words = {v.verdict for _, v in judged}
    verdict = next((w for w in (CONTRADICTED, INCONCLUSIVE) if w in words), CONFIRMED)
    decisive = next(v for _, v in judged if v.verdict == verdict)
    one = len(judged) == 1
    reason = "; ".join(v.reason if one else f"{label}: {v.verdict}, {v.reason}" for label, v in judged)
    if absent:
        named = "; ".join(f"{label} ({v.reason})" for label, v in absent)
        reason += f"; judged without what is not testable: {named}"
    measured = "; ".join(
        v.measured if one and not absent else f"{label}: {v.measured}" for label, v in judged
    )
    return Verdict(
        verdict, decisive.effect, decisive.interval, min(v.n_seeds for _, v in judged), measured, reason,
        sum(v.tests for _, v in judged),
    )  # fmt: skip
