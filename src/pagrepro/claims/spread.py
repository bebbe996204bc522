"""The standard deviation over seeds (ddof 1) is at most a given value.

Role: values. The interval is that of a normal sample (chi-square); with few seeds it is wide.
"""

from typing import Any

import pandas as pd

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """below: largest standard deviation; where: role -> labels that its runs must have."""

    below: Number
    where: dict[str, dict[str, Any]] = {}


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: the standard deviation over seeds; every group has to stay below."""
    parts = []
    for column in columns.by_group(frame, "values", config.where):
        found = effects.estimate(
            column.name,
            [column],
            effects.undefined,
            seed_interval=lambda matrix: statistics.sd_interval(matrix[:, 0]),
        )
        parts.append((column.name, effects.conclude(found, below=config.below, strict=False)))
    return effects.together(parts)
