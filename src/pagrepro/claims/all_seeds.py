"""In every seed, `high - low` lies above (or below) a threshold.

Roles: high, low. One seed in which it does not is a counterexample: contradicted. If it does in all n seeds,
the exact binomial interval says for which share of further seeds it would: at least 29 % for n = 3, 48 % for
5, 54 % for 6, 69 % for 10 (95 %, two-sided). Confirmed when that is more than `share`.
"""

from typing import Any, Literal

import pandas as pd
from pydantic import Field

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.options import Number, Strict, threshold
from pagrepro.statistics import CONFIRMED, CONTRADICTED, INCONCLUSIVE, MIN_SEEDS, Verdict

REVISION = 1


class Config(Strict):
    """above, below: at least one; share: of further seeds, which the seeds at hand have to make certain;
    high, low, match, where: as in `difference`."""

    above: Number | None = None
    below: Number | None = None
    share: Number = Field(0.5, ge=0, lt=1)
    high: Literal["each", "min", "max", "mean"] = "each"
    low: Literal["each", "min", "max", "mean"] = "each"
    match: Literal["all", "position"] = "all"
    where: dict[str, dict[str, Any]] = {}

    _has_threshold = threshold()


def judge(config: Config, frame: pd.DataFrame) -> Verdict:
    """Effect: share of seeds in which the difference keeps to the threshold; all comparisons have to hold."""
    sides = (config.high, config.low)
    pairs = columns.comparisons(frame, ("high", "low"), sides, config.match, config.where)
    return effects.together([(pair.label, _judge_pair(config, pair)) for pair in pairs])


def _judge_pair(config: Config, pair: columns.Comparison) -> Verdict:
    notes = effects.notes(pair.columns)
    n = len(columns.shared_seeds(pair.columns))
    if n == 0:
        return Verdict(INCONCLUSIVE, None, None, 0, "no seed", "; ".join(["no seed in common", *notes]))
    samples = pair.difference(columns.by_seed(pair.columns))
    # One degenerate interval per seed: the difference itself.
    hits = sum(
        statistics.judge_interval((x, x), config.above, config.below) == CONFIRMED for x in samples.tolist()
    )
    share, interval = statistics.share_interval(hits, n)
    if n < MIN_SEEDS:
        word, how = INCONCLUSIVE, f"{n} seeds, {MIN_SEEDS} are needed"
    elif hits < n:
        word, how = CONTRADICTED, f"not in {n - hits} of {n} seeds"
    else:
        word = CONFIRMED if interval[0] > config.share else INCONCLUSIVE
        how = (
            f"in all {n} seeds, so in at least {interval[0]:.0%} of further ones; {config.share:.0%} is asked"
        )
    return Verdict(word, share, interval, n, f"{hits} of {n} seeds", "; ".join([how, *notes]))
