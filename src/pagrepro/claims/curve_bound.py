"""A curve, or the difference of two, stays below (or above) a bound over a range of places.

Roles: value, or high and low, whose curves are subtracted; every run has arrays of places and of heights
there, such as accuracy over the size of a perturbation. What counts is the worst place of each seed.
"""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import model_validator

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict
from pagrepro.results import read_array

REVISION = 1


class Config(Strict):
    """x, y: names of the arrays (points,); since, until: range of places, both ends belong to it; exactly one
    of above and below; where: as in `difference`."""

    x: str
    y: str
    since: Number | None = None
    until: Number | None = None
    above: Number | None = None
    below: Number | None = None
    where: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _one_bound(self) -> "Config":
        if (self.above is None) == (self.below is None):
            raise ValueError("exactly one of `above` and `below`")
        return self


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: mean over seeds of the largest height in the range (the smallest, with `above`)."""
    roles = ("value",) if "value" in set(frame["role"]) else ("high", "low")
    curves = [_curves(config, frame, role) for role in roles]
    seeds = sorted(set.intersection(*(set(curve) for curve in curves)))
    worst = np.max if config.above is None else np.min
    heights = [worst(curves[0][s] - curves[1][s] if len(curves) == 2 else curves[0][s]) for s in seeds]
    reason = f"worst place of each of {len(seeds)} seeds"
    if len(seeds) < statistics.MIN_SEEDS:
        effect = float(np.mean(heights)) if heights else None
        text = "no seed in common" if effect is None else f"{effect:.3g}"
        reason += f", {statistics.MIN_SEEDS} are needed"
        return statistics.Verdict(statistics.INCONCLUSIVE, effect, None, len(seeds), text, reason)
    effect, interval = statistics.t_interval(np.array(heights))
    word = statistics.judge_interval(interval, config.above, config.below)
    text = f"{effect:.3g} [{interval[0]:.3g}, {interval[1]:.3g}]"
    return statistics.Verdict(word, effect, interval, len(seeds), text, reason)


def _curves(config: Config, frame: pd.DataFrame, role: str) -> dict[int, np.ndarray]:
    """seed -> heights within the range."""
    groups = columns.by_group(frame, role, config.where)
    if len(groups) != 1:
        raise DataError(f"role {role!r}: one group is needed, found {len(groups)}")
    found = {}
    for seed, row in groups[0].rows.iterrows():
        x, y = read_array(row["arrays"], config.x), read_array(row["arrays"], config.y)
        inside = np.ones(len(x), bool)
        inside &= True if config.since is None else x >= config.since
        inside &= True if config.until is None else x <= config.until
        if not inside.any() or not np.isfinite(y[inside]).all():
            raise DataError(f"{row['run']}: {config.y!r} has no finite values in the range of {config.x!r}")
        found[seed] = y[inside]
    return found
