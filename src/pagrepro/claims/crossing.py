"""Over a label, one quantity starts above another and is below it later.

Roles: upper (starts above) and lower, whose runs have the label. Where the claim does not say by which value
of the label they have crossed, the clearest place is looked for in the other seeds.
"""

from typing import Any, Literal

import numpy as np
import pandas as pd

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """label: numeric; by: value of it at which they are claimed to have crossed; margin: by which upper has
    to exceed lower first, and lower upper later; between: range of the label that holds the crossing, judged
    where given; scale: how it is interpolated; where: as in `difference`; about, array: likewise, and only
    with `by` and without `between`."""

    label: str
    by: Number | None = None
    margin: Number = 0
    between: tuple[Number, Number] | None = None
    scale: Literal["linear", "log"] = "linear"
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    array: str = "correct"


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effects: means over seeds of upper - lower at the first place and of lower - upper at the later one,
    and the place of the first crossing."""
    places, upper = columns.by_label(frame, "upper", config.label, config.where)
    others, lower = columns.by_label(frame, "lower", config.label, config.where)
    if (
        list(places) != list(others)
        or len(places) < 2
        or (config.by is not None and config.by not in places[1:])
    ):
        later = "" if config.by is None else f" with {config.by} among the later ones"
        raise DataError(
            f"crossing needs two or more values of {config.label!r}, the same for both roles{later}; found"
            f" {list(places)} and {list(others)}"
        )
    count, both = len(places), [*upper, *lower]
    index = None if config.by is None else list(places).index(config.by)

    def start(values: np.ndarray) -> np.ndarray:
        return values[..., 0] - values[..., count]

    def reversal(values: np.ndarray) -> np.ndarray:
        below = values[..., count:] - values[..., :count]
        return below[..., 1:].max(-1) if index is None else below[..., index]

    def reversal_by_others(matrix: np.ndarray) -> tuple[float, statistics.Interval]:
        below = matrix[:, count:] - matrix[:, :count]
        return statistics.t_interval(effects.at_best_of_others(below, slice(1, None), index))

    first = effects.estimate("start", both, start, config.about, config.array)
    about = config.about if index is not None else "method"
    later = effects.estimate("later", both, reversal, about, config.array, reversal_by_others)
    parts = [(e.label, effects.conclude(e, above=config.margin)) for e in (first, later)]
    make = _place(config, places)
    place = effects.estimate("place", both, effects.undefined, seed_interval=make, plain=True)
    if config.between is not None:
        parts.append(("place", effects.conclude(place, *config.between, strict=False)))
        return effects.together(parts)
    return effects.with_reason(effects.together(parts), f"crossing at {config.label} = {effects.show(place)}")


def _place(config: Config, places: np.ndarray) -> effects.SeedInterval:
    """(mean place, interval) of the first crossing over seeds; no interval unless every seed has one."""
    forward, back = (np.log, np.exp) if config.scale == "log" else (np.asarray, np.asarray)
    at = forward(places)

    def make(matrix: np.ndarray) -> tuple[float, statistics.Interval]:
        gaps = matrix[:, : len(places)] - matrix[:, len(places) :]
        found = np.array([_first_zero(at, gap) for gap in gaps])
        if not np.isfinite(found).all():
            return float(back(np.nanmean(found))) if np.isfinite(found).any() else np.nan, (-np.inf, np.inf)
        mean, (low, high) = statistics.t_interval(found)
        return float(back(mean)), (float(back(low)), float(back(high)))

    return make


def _first_zero(at: np.ndarray, gap: np.ndarray) -> float:
    """Place where a positive gap first becomes negative, by linear interpolation; NaN if it never does."""
    down = np.flatnonzero((gap[:-1] > 0) & (gap[1:] <= 0))
    if not len(down):
        return np.nan
    k = down[0]
    return at[k] + (at[k + 1] - at[k]) * gap[k] / (gap[k] - gap[k + 1])
