"""Beyond the crossing, sensitivity on the manifold and accuracy fall together.

Srinivas et al. (2023), Figure 2 and section 4.1: "increasing on-manifold robustness mirrors a steep fall
in the accuracy of the trained models".

Roles: on, off (both sensitivities) and accuracy, of the same runs of one group. In a seed whose curves
never cross, or in which only one of the two falls, the claim fails.
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
    """label: numeric, of the runs; at least one of: correlation, which Spearman's of `on` and accuracy beyond
    the crossing has to reach; steps, by which the falls may be apart. `on` has fallen at the first strength
    after its maximum where it is below `share` of it, accuracy where it is `drop` below that at the weakest
    strength. decades: powers of ten that one step stands for (without it, a step is one of the sweep's own
    grid). where: role -> labels that its runs must have."""

    label: str = "strength"
    correlation: Number | None = Field(None, ge=-1, le=1)
    steps: Number | None = Field(None, ge=0)
    decades: Number | None = Field(None, gt=0)
    share: Number = Field(0.9, gt=0, lt=1)
    drop: Number = Field(0.07, gt=0)
    where: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _has_threshold(self) -> "Config":
        if self.correlation is None and self.steps is None:
            raise ValueError("a threshold: `correlation`, `steps`, or both")
        return self


def judge(config: Config, frame: pd.DataFrame) -> Verdict:
    """Effects: means over seeds of Spearman's correlation, and of the steps from the fall of accuracy to that
    of `on`."""
    found = sweep.read(frame, ("on", "off", "accuracy"), config.label, config.where)
    parts = []
    if config.correlation is not None:
        name, lacking = "correlation", "off never falls below on"
        parts.append((name, sweep.judge(name, found, _correlation, lacking, above=config.correlation)))
    if config.steps is not None:
        lacking = "only one of on and accuracy falls"
        verdict = sweep.judge(
            "steps", found, lambda c: _steps(c, config), lacking, above=-config.steps, below=config.steps
        )
        parts.append(("steps", verdict))
    return effects.together(parts)


def _correlation(curve: sweep.Curve) -> float:
    if curve.crossing is None:
        return sweep.FAILS
    beyond = slice(curve.crossing + 1, None)
    return sweep.rank_correlation(curve.of["on"][beyond], curve.of["accuracy"][beyond])


def _steps(curve: sweep.Curve, config: Config) -> float:
    """UNKNOWN where neither falls: the sweep ends too early to say."""
    on, accuracy = curve.of["on"], curve.of["accuracy"]
    top = int(on.argmax())
    fall = sweep.first(on[top + 1 :] < config.share * on[top])
    loss = sweep.first(accuracy < accuracy[0] - config.drop)
    if fall is None or loss is None:
        return sweep.UNKNOWN if fall is loss else sweep.FAILS
    return curve.steps(loss, top + 1 + fall, config.decades)
