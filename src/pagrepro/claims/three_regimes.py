"""A sweep has three regimes of robustness (weak, Bayes-aligned, excessive), each with one strength or more.

Srinivas et al. (2023), section 5; the regimes are those of `pagrepro.regimes`.

Roles: on, off (both sensitivities) and accuracy, of the same runs of one group. Each regime is a margin
that has to exceed 0. Where the Bayes-aligned regime is clearest is looked for in the other seeds: looking
for it in the same seed would make one out of noise.
"""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from pagrepro import regimes
from pagrepro.claims import _effects as effects
from pagrepro.claims import _sweep as sweep
from pagrepro.options import Number, Strict
from pagrepro.statistics import Verdict
from pagrepro.sweeps import Sweep, over_seeds

REVISION = 1


class Config(Strict):
    """label: numeric, of the runs; drop: accuracy that an accurate network may lack of the best one of its
    seed; where: role -> labels that its runs must have."""

    label: str = "strength"
    drop: Number = Field(0.10, gt=0)
    where: dict[str, dict[str, Any]] = {}


def judge(config: Config, frame: pd.DataFrame) -> Verdict:
    """Effects: means over seeds of off - on at the weakest strength (weak), of on - off at the accurate
    strength where the other seeds have most of it (Bayes-aligned), and of how far accuracy at the strongest
    strength is below what is accurate (excessive)."""
    found = sweep.read(frame, ("on", "off", "accuracy"), config.label, config.where)
    parts = [
        ("weak", _weak(found, config.drop)),
        ("Bayes-aligned", _aligned(found, config.drop)),
        ("excessive", _excessive(found, config.drop)),
    ]
    return effects.with_reason(effects.together(parts), _counted(found, config.drop))


def _weak(found: Sweep, drop: float) -> Verdict:
    def margin(curve: sweep.Curve) -> float:
        accurate = curve.of["accuracy"][0] >= curve.of["accuracy"].max() - drop
        return float(curve.of["off"][0] - curve.of["on"][0]) if accurate else sweep.FAILS

    return sweep.judge("weak", found, margin, "the weakest is not accurate", above=0, strict=True)


def _aligned(found: Sweep, drop: float) -> Verdict:
    def margins(of: Sweep) -> list[float]:
        return [_at_best_of_others(of, k, drop) for k in range(len(of.seeds))]

    return sweep.judge("Bayes-aligned", found, margins, "", above=0, strict=True, paired=True)


def _at_best_of_others(of: Sweep, seed: int, drop: float) -> float:
    """on - off of one seed (its position) where it is largest in the mean of the others, among strengths that
    are accurate in their mean; UNKNOWN where that seed has no value there."""
    others = sweep.others(of, seed)
    gaps = of.values["on"] - of.values["off"]
    gap, accuracy = (over_seeds(values[others])[0] for values in (gaps, of.values["accuracy"]))
    known = np.isfinite(gap) & np.isfinite(accuracy)
    if not known.any():
        return sweep.UNKNOWN
    accurate = known & (accuracy >= accuracy[known].max() - drop)
    return float(gaps[seed, np.where(accurate, gap, -np.inf).argmax()])


def _excessive(found: Sweep, drop: float) -> Verdict:
    def margin(curve: sweep.Curve) -> float:
        return float(curve.of["accuracy"].max() - drop - curve.of["accuracy"][-1])

    return sweep.judge("excessive", found, margin, "", above=0, strict=True, percent=True)


def _counted(found: Sweep, drop: float) -> str:
    """In how many seeds all three are, and where they are in the means over seeds."""
    curves = [[found.values[role][k] for role in ("on", "off", "accuracy")] for k in range(len(found.seeds))]
    kept = sum(len(regimes.find(*c, drop=drop).spans) == len(regimes.REGIMES) for c in curves)
    of_means = regimes.find(*(found.mean(role) for role in ("on", "off", "accuracy")), drop=drop)
    places = [
        f"{name} {found.strengths[span.first]:g} to {found.strengths[span.last]:g}"
        for name, span in of_means.spans.items()
    ]
    return f"all three in {kept} of {len(found.seeds)} seeds; in the means {', '.join(places) or 'none'}"
