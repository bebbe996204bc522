"""Over a label, a quantity has its peak inside: it rises from the first value and falls towards the last.

Role: values, whose runs have the label. Where the claim does not say where the peak is, it is looked for in
the other seeds: looking for it in the same seed would make a peak out of noise.
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
    """label: numeric; peak: max, or min for a valley; at: value of the label where the peak is claimed to be;
    rise, fall: by which the peak has to exceed the first and the last value; where: as in `difference`;
    about, array: likewise, and only with `at`."""

    label: str
    peak: Literal["max", "min"] = "max"
    at: Number | None = None
    rise: Number = 0
    fall: Number = 0
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    array: str = "correct"


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effects: mean over seeds of peak - first and peak - last (first - valley and last - valley)."""
    places, curve = columns.by_label(frame, "values", config.label, config.where)
    inside = places[1:-1]
    if len(inside) == 0 or (config.at is not None and config.at not in inside):
        wanted = "three values" if config.at is None else f"{config.at} inside the values"
        raise DataError(f"interior_peak needs {wanted} of {config.label!r}, found {list(places)}")
    index = None if config.at is None else list(places).index(config.at)
    sign = 1 if config.peak == "max" else -1
    about = config.about if index is not None else "method"
    parts = []
    for name, end, threshold in (("rise", 0, config.rise), ("fall", -1, config.fall)):

        def height(values: np.ndarray, end: int = end) -> np.ndarray:
            values = sign * values
            at = index if index is not None else 1 + values[..., 1:-1].argmax(-1)
            top = np.take_along_axis(values, np.broadcast_to(at, values.shape[:-1])[..., None], -1)[..., 0]
            return top - values[..., end]

        def by_others(matrix: np.ndarray, end: int = end) -> tuple[float, statistics.Interval]:
            return statistics.t_interval(effects.at_best_of_others(sign * matrix, slice(1, -1), index, end))

        found = effects.estimate(name, curve, height, about, config.array, by_others)
        parts.append((name, effects.conclude(found, above=threshold)))
    verdict = effects.together(parts)
    means = np.array([sign * column.finite.mean() for column in curve])
    best = f"{config.label}={places[int(np.nanargmax(means))]:g}" if np.isfinite(means).any() else "nowhere"
    return effects.with_reason(verdict, f"highest mean at {best}" if sign > 0 else f"lowest mean at {best}")
