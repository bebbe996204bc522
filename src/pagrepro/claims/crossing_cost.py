"""By the strength at which a network is less sensitive off than on the manifold, little else has changed.

Srinivas et al. (2023), Figure 2 and section 4.1: the sensitivity off the manifold falls below that on it
while accuracy is still high and the sensitivity on it is still flat.

Roles: on, off (both sensitivities) and, with `max_drop`, accuracy, of the same runs of one group. In a
seed in which off stays above on, the claim fails; one in which it is below from the weakest strength on
cannot say what a crossing costs.
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
    """label: numeric, of the runs; at least one of: max_drop, by which accuracy at the crossing may lie
    below that at the weakest strength; change, by which `on` may differ from that at the weakest
    strength, relative to it; spread, (largest - smallest) / mean of `on`; the last two over all strengths
    up to the crossing, all ends belong to the claim. where: role -> labels that its runs must have."""

    label: str = "strength"
    max_drop: Number | None = Field(None, ge=0)
    change: Number | None = Field(None, ge=0)
    spread: Number | None = Field(None, ge=0)
    where: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _has_threshold(self) -> "Config":
        if self.max_drop is None and self.change is None and self.spread is None:
            raise ValueError("a threshold: `max_drop`, `change`, or `spread`")
        return self


LACKING = "off never falls below on"


def judge(config: Config, frame: pd.DataFrame) -> Verdict:
    """Effects: means over seeds of the drop, the change and the spread up to each seed's own crossing."""
    roles = ("on", "off") if config.max_drop is None else ("on", "off", "accuracy")
    found = sweep.read(frame, roles, config.label, config.where)
    parts = []
    for name, threshold, statistic, percent in (
        ("drop", config.max_drop, _drop, True),
        ("change", config.change, _change, False),
        ("spread", config.spread, _spread, False),
    ):
        if threshold is not None:
            verdict = sweep.judge(name, found, statistic, LACKING, below=threshold, percent=percent)
            parts.append((name, verdict))
    places = [c.index[c.crossing] for c in sweep.curves(found) if c.crossing is not None]
    return effects.with_reason(effects.together(parts), sweep.told(found, places, "crossing"))


def _drop(curve: sweep.Curve) -> float:
    return _without_crossing(curve) if not curve.crossing else curve.drop(curve.crossing)


def _without_crossing(curve: sweep.Curve) -> float:
    return sweep.FAILS if curve.crossing is None else sweep.UNKNOWN


def _change(curve: sweep.Curve) -> float:
    if not curve.crossing:
        return _without_crossing(curve)
    on = curve.of["on"][: curve.crossing + 1]
    return float(abs(on / on[0] - 1).max()) if on[0] > 0 else sweep.UNKNOWN


def _spread(curve: sweep.Curve) -> float:
    if not curve.crossing:
        return _without_crossing(curve)
    on = curve.of["on"][: curve.crossing + 1]
    return float((on.max() - on.min()) / on.mean()) if on.mean() > 0 else sweep.UNKNOWN
