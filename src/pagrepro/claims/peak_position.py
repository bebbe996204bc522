"""The network whose gradients are aligned best is accurate, and less sensitive off than on the manifold.

Srinivas et al. (2023), section 4.2 and Figure 5: perceptually aligned gradients belong to accurate and
relatively off-manifold robust networks.

Roles: alignment and accuracy, and, with `steps`, on and off (both sensitivities), of the same runs of one
group. In a seed whose peak has no strength at or beyond it with off < on, the claim fails.
"""

from typing import Any

import pandas as pd
from pydantic import Field, model_validator

from pagrepro.claims import _effects as effects
from pagrepro.claims import _sweep as sweep
from pagrepro.options import Number, Strict
from pagrepro.statistics import Verdict

REVISION = 1


class Config(Strict):
    """label: numeric, of the runs; at least one of: max_drop, by which accuracy at the peak may lie below
    that at the weakest strength; steps, by which the peak may come before the band where off < on.
    decades: powers of ten that one step stands for (without it, a step is one of the sweep's own grid).
    where: role -> labels that its runs must have."""

    label: str = "strength"
    max_drop: Number | None = Field(None, ge=0)
    steps: Number | None = Field(None, ge=0)
    decades: Number | None = Field(None, gt=0)
    where: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _has_threshold(self) -> "Config":
        if self.max_drop is None and self.steps is None:
            raise ValueError("a threshold: `max_drop`, `steps`, or both")
        return self


def judge(config: Config, frame: pd.DataFrame) -> Verdict:
    """Effects: means over seeds of the drop at the peak, and of the steps from it to the nearest strength
    at or beyond it where off < on in that seed (0 where that is the peak itself). The peak is that of the
    mean of the other seeds."""
    roles = ("alignment", "accuracy") if config.steps is None else ("alignment", "accuracy", "on", "off")
    found = sweep.read(frame, roles, config.label, config.where)
    parts = []
    if config.max_drop is not None:
        verdict = sweep.judge("drop", found, _drop, "no peak", below=config.max_drop, percent=True)
        parts.append(("drop", verdict))
    if config.steps is not None:
        lacking = "off is never below on from the peak on"
        verdict = sweep.judge("steps", found, lambda c: _steps(c, config), lacking, below=config.steps)
        parts.append(("steps", verdict))
    return effects.with_reason(effects.together(parts), sweep.told_peak(found))


def _drop(curve: sweep.Curve) -> float:
    return sweep.UNKNOWN if curve.peak is None else curve.drop(curve.peak)


def _steps(curve: sweep.Curve, config: Config) -> float:
    if curve.peak is None:
        return sweep.UNKNOWN
    band = sweep.first((curve.of["off"] < curve.of["on"])[curve.peak :])
    return sweep.FAILS if band is None else curve.steps(curve.peak, curve.peak + band, config.decades)
