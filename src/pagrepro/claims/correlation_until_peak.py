"""Up to its peak, alignment grows with relative robustness off the manifold.

Srinivas et al. (2023), section 4.2: Spearman's correlation, over the strengths up to the peak of
alignment, of alignment and on / off (the sensitivity on the manifold relative to that off it).

Roles: alignment, on and off, of the same runs of one group. Seeds with fewer than four strengths up to
the peak cannot say.
"""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from pagrepro.claims import _effects as effects
from pagrepro.claims import _sweep as sweep
from pagrepro.options import Number, Strict
from pagrepro.statistics import Verdict

REVISION = 1


class Config(Strict):
    """label: numeric, of the runs; above: the correlation to reach (it belongs to the claim); where: role ->
    labels that its runs must have."""

    label: str = "strength"
    above: Number = Field(ge=-1, le=1)
    where: dict[str, dict[str, Any]] = {}


def judge(config: Config, frame: pd.DataFrame) -> Verdict:
    """Effect: mean over seeds of the correlation up to the peak of the mean of the other seeds."""
    found = sweep.read(frame, ("alignment", "on", "off"), config.label, config.where)
    verdict = sweep.judge("correlation", found, _correlation, "no peak", above=config.above)
    return effects.with_reason(verdict, sweep.told_peak(found))


def _correlation(curve: sweep.Curve) -> float:
    if curve.peak is None:
        return sweep.UNKNOWN
    upto = slice(0, curve.peak + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = curve.of["on"][upto] / curve.of["off"][upto]
    known = ~np.isnan(relative)
    return sweep.rank_correlation(curve.of["alignment"][upto][known], relative[known])
