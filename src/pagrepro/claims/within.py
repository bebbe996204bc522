"""A value lies in a range (both ends belong to it).

Role: value. For absolute values; those of a published data set and network are judged only there (`only_on`).
"""

from typing import Any, Literal

import pandas as pd

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.options import Number, Strict, needs_one

REVISION = 1


class Config(Strict):
    """low, high: at least one; groups: what several groups mean (each, or their min, max or mean per seed);
    where, about, array: as in `difference`."""

    low: Number | None = None
    high: Number | None = None
    groups: Literal["each", "min", "max", "mean"] = "each"
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    array: str = "correct"

    _has_end = needs_one("an end of the range", "low", "high")


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: mean over seeds of the value; every group has to lie inside."""
    parts = []
    for label, chosen in columns.aggregated(columns.by_group(frame, "value", config.where), config.groups):
        found = effects.estimate(
            label, chosen, lambda values: columns.reduced(values, config.groups), config.about, config.array
        )
        parts.append((label, effects.conclude(found, config.low, config.high, strict=False)))
    return effects.together(parts)
