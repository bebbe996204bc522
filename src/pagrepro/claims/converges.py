"""A curve rises (or falls) from place to place, and its last step adds little to what came before.

Role: value, whose runs have arrays of places and of heights there, such as loss over the number of steps of
an attack (Rodriguez-Munoz et al., 2024, Figure 13).
"""

from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _curves as curves
from pagrepro.claims import _effects as effects
from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """x, y: names of the arrays (points,), at least three places in the range; share: of the change from the
    first place to the last, which the last step has to stay below; margin: by which every step has to exceed
    0 (a negative one allows that much noise); since, until, where, about, examples: as in `curve_bound`."""

    x: str
    y: str
    direction: Literal["up", "down"]
    share: Number = Field(0.1, gt=0, lt=1)
    margin: Number = 0
    since: Number | None = None
    until: Number | None = None
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    examples: str | None = None

    @model_validator(mode="after")
    def _has_examples(self) -> "Config":
        if self.about == "models" and self.examples is None:
            raise ValueError("about: models needs `examples`, the array of each example's values")
        return self


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effects, means over seeds and counted in the claim's direction: the smallest step; and share * (last -
    first) - the last step, which is positive where the curve has converged."""
    sign = 1 if config.direction == "up" else -1
    chosen = [columns.one_group(frame, "value", config.where)]
    axes = curves.Axes(config.x, config.y, config.since, config.until, config.examples)

    def smallest(heights: np.ndarray) -> np.ndarray:
        return (sign * np.diff(_enough(heights), axis=-1)).min(-1)

    def room(heights: np.ndarray) -> np.ndarray:
        risen = sign * _enough(heights)
        return config.share * (risen[..., -1] - risen[..., 0]) - (risen[..., -1] - risen[..., -2])

    parts = []
    for label, statistic, threshold in (("every step", smallest, config.margin), ("last step", room, 0)):
        found = curves.estimate(label, chosen, axes, statistic, config.about)
        parts.append((label, effects.conclude(found, above=threshold)))
    return effects.together(parts)


def _enough(heights: np.ndarray) -> np.ndarray:
    """(..., 1, places) -> (..., places)."""
    return curves.at_least(heights, 3)[..., 0, :]
