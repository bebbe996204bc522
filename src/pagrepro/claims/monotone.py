"""A quantity rises (or falls) strictly with a label, such as the weight of a penalty.

Role: values, whose runs have the label. Every step between neighbouring values of the label has to hold.
"""

from itertools import pairwise
from typing import Any, Literal

import pandas as pd

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """label: numeric; since, until: only steps between these values of it; margin: by which each step has to
    exceed 0 (a negative one allows that much noise); where, about, array: as in `difference`."""

    label: str
    direction: Literal["up", "down"]
    since: Number | None = None
    until: Number | None = None
    margin: Number = 0
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    array: str = "correct"


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effects: mean over seeds of each step, counted in the claim's direction."""
    places, found = columns.by_label(frame, "values", config.label, config.where)
    inside = [
        column
        for at, column in zip(places, found, strict=True)
        if (config.since is None or at >= config.since) and (config.until is None or at <= config.until)
    ]
    if len(inside) < 2:
        raise DataError(f"monotone needs two values of {config.label!r} in its range, found {list(places)}")
    parts = []
    for before, after in pairwise(inside):
        step = effects.estimate(
            f"{before.name} to {after.name.partition('=')[2]}",
            [after, before] if config.direction == "up" else [before, after],
            lambda values: values[..., 0] - values[..., 1],
            config.about,
            config.array,
        )
        parts.append((step.label, effects.conclude(step, above=config.margin)))
    return effects.together(parts)
