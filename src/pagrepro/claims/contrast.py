"""A weighted sum of quantities lies above (or below) a threshold: differences of differences, for example.

Roles: those of `weights`. Differences between methods that grow with a budget are {a: 1, b: -1, c: -1, d: 1};
an effect more than 20 times another is {a: 1, b: -1, c: -20, d: 20}, above 0.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.options import Number, Strict, threshold

REVISION = 1


class Config(Strict):
    """weights: role -> factor; above, below: at least one, in the unit of the values; strict, where, about,
    array: as in `difference`."""

    weights: dict[str, Number] = Field(min_length=2)
    above: Number | None = None
    below: Number | None = None
    strict: bool = True
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    array: str | dict[str, str] = "correct"

    _has_threshold = threshold()


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: mean over seeds of the weighted sum. Raises DataError for a role of several groups."""
    chosen = [columns.one_group(frame, role, config.where) for role in config.weights]
    factors = np.array(list(config.weights.values()))
    found = effects.estimate(
        "contrast", chosen, lambda values: values @ factors, config.about, config.array, plain=True
    )
    return effects.conclude(found, config.above, config.below, config.strict)
