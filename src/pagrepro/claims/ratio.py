"""`numerator / denominator` lies above (or below) a threshold, or between two.

Roles: numerator, denominator. The ratio is that of means over seeds, its interval Fieller's.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.options import Number, Strict, threshold

REVISION = 1


class Config(Strict):
    """above, below: at least one; strict: a ratio of exactly the threshold speaks against the claim.

    numerator, denominator: what several groups of a role mean (each, or their min, max or mean per seed);
    match: all pairs of groups, or only those in the same position; where, about, array: as in `difference`.
    """

    above: Number | None = None
    below: Number | None = None
    strict: bool = True
    numerator: Literal["each", "min", "max", "mean"] = "each"
    denominator: Literal["each", "min", "max", "mean"] = "each"
    match: Literal["all", "position"] = "all"
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    array: str | dict[str, str] = "correct"

    _has_threshold = threshold()


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: ratio of the means over seeds; all comparisons have to hold."""
    parts = []
    roles, how = ("numerator", "denominator"), (config.numerator, config.denominator)
    for pair in columns.comparisons(frame, roles, how, config.match, config.where, sign="/"):

        def ratio(values: np.ndarray, pair: columns.Comparison = pair) -> np.ndarray:
            with np.errstate(divide="ignore", invalid="ignore"):
                return pair.first(values) / pair.second(values)

        def fieller(matrix: np.ndarray, pair: columns.Comparison = pair) -> tuple[float, statistics.Interval]:
            return statistics.fieller_interval(pair.first(matrix), pair.second(matrix))

        found = effects.estimate(
            pair.label, pair.columns, ratio, config.about, config.array, fieller, plain=True
        )
        parts.append((pair.label, effects.conclude(found, config.above, config.below, config.strict)))
    return effects.together(parts)
