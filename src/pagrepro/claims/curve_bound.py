"""A curve, or the difference of two, stays below (or above) a bound over a range of places.

Roles: value, or high and low, whose curves are subtracted; every run has arrays of places and of heights
there, such as accuracy over the size of a perturbation. What counts is the worst place of each seed, so that
noise speaks against the claim.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import model_validator

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _curves as curves
from pagrepro.claims import _effects as effects
from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """x, y: names of the arrays (points,); since, until: range of places, both ends belong to it; exactly one
    of above and below; where: as in `difference`. about, examples: with fewer than three seeds, bootstrap
    over the test examples of this array if the claim is about given models: heights of each example (N,
    points), or places (N,) up to which an example counts (y is the share of those beyond x)."""

    x: str
    y: str
    since: Number | None = None
    until: Number | None = None
    above: Number | None = None
    below: Number | None = None
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    examples: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if (self.above is None) == (self.below is None):
            raise ValueError("exactly one of `above` and `below`")
        if self.about == "models" and self.examples is None:
            raise ValueError("about: models needs `examples`, the array of each example's values")
        return self


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: mean over seeds of the largest height in the range (the smallest, with `above`)."""
    roles = ("value",) if "value" in set(frame["role"]) else ("high", "low")
    chosen = [columns.one_group(frame, role, config.where) for role in roles]
    axes = curves.Axes(config.x, config.y, config.since, config.until, config.examples)
    worst = np.max if config.above is None else np.min

    def statistic(heights: np.ndarray) -> np.ndarray:
        gap = heights[..., 0, :] - heights[..., 1, :] if len(roles) == 2 else heights[..., 0, :]
        return worst(gap, axis=-1)

    found = curves.estimate("worst place", chosen, axes, statistic, config.about)
    verdict = effects.conclude(found, config.above, config.below)
    return effects.with_reason(verdict, "worst place of the range")
