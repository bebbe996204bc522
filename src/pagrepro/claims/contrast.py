"""A weighted sum of quantities lies above (or below) a threshold: differences of differences, for example.

Roles: those of `weights`. Differences between methods that grow with a budget are {a: 1, b: -1, c: -1, d: 1};
an effect more than 20 times another is {a: 1, b: -1, c: -20, d: 20}, above 0.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict

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

    @model_validator(mode="after")
    def _has_threshold(self) -> "Config":
        if self.above is None and self.below is None:
            raise ValueError("a threshold: `above`, `below`, or both")
        return self


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: mean over seeds of the weighted sum. Raises DataError for a role of several groups."""
    chosen = []
    for role in config.weights:
        groups = columns.by_group(frame, role, config.where)
        if len(groups) != 1:
            raise DataError(f"role {role!r}: one group is needed, found {len(groups)}")
        chosen += groups
    factors = np.array(list(config.weights.values()))
    found = effects.estimate(
        "contrast", chosen, lambda values: values @ factors, config.about, config.array, plain=True
    )
    return effects.conclude(found, config.above, config.below, config.strict)
