"""Quantities come in a given order, highest first, strictly.

Roles: any, named in `order`. Every neighbouring pair has to keep the order.
"""

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """order: roles from highest to lowest; margin: by which each has to exceed the next; groups: what several
    groups of one role mean; where, about, array: as in `difference`."""

    order: tuple[str, ...] = Field(min_length=2)
    margin: Number = 0
    groups: Literal["min", "max", "mean"] = "mean"
    where: dict[str, dict[str, Any]] = {}
    about: Literal["method", "models"] = "method"
    array: str | dict[str, str] = "correct"


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effects: mean over seeds of the neighbouring differences; the reason counts seeds that keep it all."""
    how = (config.groups, config.groups)
    parts = []
    for pair in pairwise(config.order):
        (compared,) = columns.comparisons(frame, pair, how, where=config.where)
        found = effects.estimate(
            f"{pair[0]} - {pair[1]}", compared.columns, compared.difference, config.about, config.array
        )
        parts.append((found.label, effects.conclude(found, above=config.margin)))
    verdict = effects.together(parts)
    kept, seeds = _whole_order(config, frame)
    return verdict if not seeds else effects.with_reason(verdict, f"whole order in {kept} of {seeds} seeds")


def _whole_order(config: Config, frame: pd.DataFrame) -> tuple[int, int]:
    """(seeds in which the whole order holds, seeds that all roles share)."""
    roles = [columns.by_group(frame, role, config.where) for role in config.order]
    shared = columns.shared_seeds([c for role in roles for c in role])
    if not shared:
        return 0, 0
    per_role = [
        columns.reduced(np.stack([c.finite.loc[shared] for c in role], axis=-1), config.groups)
        for role in roles
    ]
    steps = -np.diff(np.stack(per_role, axis=-1), axis=-1)
    return int((steps > config.margin).all(-1).sum()), len(shared)
