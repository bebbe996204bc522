"""`high - low` lies above (or below) a threshold.

Roles: high, low. Threshold in the unit of the values: accuracies are fractions, 8 points are 0.08.
"""

from typing import Any, Literal

import pandas as pd

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.options import Number, Strict, threshold

REVISION = 1


class Config(Strict):
    """above, below: at least one; strict: a difference of exactly the threshold speaks against the claim.

    high, low: what several groups of a role mean: every one for itself, or their min, max or mean per seed;
    match: all pairs of groups, or only those in the same position.
    where: role -> labels that its runs must have; about, array: with fewer than three seeds, bootstrap over
    the test examples of this per-example array (of one name for all roles, or by role) if the claim is about
    given models; `l1 where correct`, `l1 where not correct`: of examples for which `correct` is true, or not.
    """

    above: Number | None = None
    below: Number | None = None
    strict: bool = True
    high: Literal["each", "min", "max", "mean"] = "each"
    low: Literal["each", "min", "max", "mean"] = "each"
    match: Literal["all", "position"] = "all"
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    array: str | dict[str, str] = "correct"

    _has_threshold = threshold()


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: mean over seeds of high - low; all comparisons have to hold."""
    parts = []
    sides = (config.high, config.low)
    for pair in columns.comparisons(frame, ("high", "low"), sides, config.match, config.where):
        found = effects.estimate(pair.label, pair.columns, pair.difference, config.about, config.array)
        parts.append((pair.label, effects.conclude(found, config.above, config.below, config.strict)))
    return effects.together(parts)
