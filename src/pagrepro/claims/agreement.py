"""An estimate agrees with what it estimates, example by example, in at most (or at least) a share of panels.

Roles: estimate, distance, with as many groups each: a panel is the groups in the same position. In a panel
they agree when the median over test examples of abs(estimate / distance - 1) is below the tolerance.
Examples for which there is nothing to compare (the attack failed, or the network was wrong to begin with)
are left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict
from pagrepro.results import read_array
from pagrepro.statistics import MIN_SEEDS

REVISION = 1


class Config(Strict):
    """tolerance: of the median relative error; most, least: share of panels in which they agree (at least one
    of the two, both belong to the claim); arrays: role -> per-example array; about: with fewer than three
    seeds, bootstrap over test examples if the claim is about given models; where: as in `difference`."""

    tolerance: Number = Field(0.25, gt=0)
    most: Number | None = Field(None, ge=0, le=1)
    least: Number | None = Field(None, ge=0, le=1)
    arrays: dict[Literal["estimate", "distance"], str] = {"estimate": "distance", "distance": "distance"}
    about: Literal["method", "models"] = "method"
    where: dict[str, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _is_complete(self) -> "Config":
        if self.most is None and self.least is None:
            raise ValueError("a share of the panels: `most`, `least`, or both")
        if len(self.arrays) != 2:
            raise ValueError("arrays: one for `estimate` and one for `distance`")
        return self


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: share of panels that agree, mean over seeds; the reason gives the median error of each
    panel."""
    panels = _panels(config, frame)
    errors = [[_errors(config, *pair) for pair in runs] for runs in panels]
    notes = effects.notes([column for pair in _pairs(config, frame) for column in pair])
    per_seed = np.array([[_agrees(e, config) for e in seeds] for seeds in errors], float).mean(0)
    n, count = len(per_seed), len(panels)
    effect, interval = float(per_seed.mean()), None
    if any(np.isnan(error).all() for seeds in errors for error in seeds):
        how = "a panel without any example to compare"
    elif n >= MIN_SEEDS:
        (effect, interval), how = statistics.t_interval(per_seed), f"{n} seeds"
    elif config.about == "models":
        interval, how = _over_examples(errors, config), "given models, bootstrap over test examples"
    else:
        how = f"{n} seed{'s' * (n != 1)}, {MIN_SEEDS} are needed"
    found = effects.Estimate("agreement", effect, interval, n, how, notes)
    verdict = effects.conclude(found, config.least, config.most, strict=False)
    names = [runs[0][0].group for runs in panels]
    medians = ", ".join(f"{name} {_median(e):.2g}" for name, e in zip(names, errors))
    return effects.with_reason(verdict, f"{effect * count:.3g} of {count} panels; median errors: {medians}")


def _pairs(config: Config, frame: pd.DataFrame) -> list[tuple[columns.Column, columns.Column]]:
    estimates, distances = (columns.by_group(frame, role, config.where) for role in ("estimate", "distance"))
    if len(estimates) != len(distances):
        raise DataError(
            f"agreement needs as many groups in both roles, found {len(estimates)}, {len(distances)}"
        )
    return list(zip(estimates, distances, strict=True))


def _panels(config: Config, frame: pd.DataFrame) -> list[list[tuple[Any, Any]]]:
    """Per panel the (estimate's row, distance's row) of every seed that all panels share."""
    pairs = _pairs(config, frame)
    shared = sorted(set.intersection(*(set(column.rows.index) for pair in pairs for column in pair)))
    if not shared:
        raise DataError("agreement: no seed that all groups share")
    return [[(a.rows.loc[seed], b.rows.loc[seed]) for seed in shared] for a, b in pairs]


def _errors(config: Config, estimate: Any, distance: Any) -> np.ndarray:
    """abs(estimate / distance - 1) of every test example (N,), NaN where there is nothing to compare."""
    found = {}
    for role, row in (("estimate", estimate), ("distance", distance)):
        # pandas makes NaN of None beside text
        if not isinstance(row["arrays"], str) or not Path(row["arrays"]).is_file():
            raise DataError(f"no per-example values of {row['run']} for the role {role!r}")
        try:
            found[role] = read_array(Path(row["arrays"]), config.arrays[role]).astype(float)
        except KeyError:
            raise DataError(f"no array {config.arrays[role]!r} of {row['run']} for {role!r}") from None
    if found["estimate"].shape != found["distance"].shape or found["estimate"].ndim != 1:
        shapes = " and ".join(str(values.shape) for values in found.values())
        raise DataError(f"{distance['run']}: per-example values of shapes {shapes}; the same examples?")
    return statistics.relative_error(found["estimate"], found["distance"])


def _below(error: np.ndarray, config: Config) -> np.ndarray:
    """1 where an example agrees, 0 where it does not, NaN where there is nothing to compare."""
    return np.where(np.isnan(error), np.nan, error < config.tolerance)


def _agrees(error: np.ndarray, config: Config) -> bool:
    """More than half of the examples agree, which is what a median below the tolerance means."""
    below = _below(error, config)
    return bool(not np.isnan(below).all() and np.nanmean(below) > 0.5)


def _median(errors: Sequence[np.ndarray]) -> float:
    """Mean over seeds of the median error; NaN where there is nothing to compare."""
    found = [np.nanmedian(e) for e in errors if not np.isnan(e).all()]
    return float(np.mean(found)) if found else float("nan")


def _over_examples(errors: Sequence[Sequence[np.ndarray]], config: Config) -> statistics.Interval:
    """Interval of the share of panels, test examples being resampled; panels that were measured on equally
    many examples see the same resampled ones, since they are mostly networks on the same data."""
    below = [_below(error, config) for seeds in errors for error in seeds]
    agree = np.zeros((statistics.DRAWS, len(below)))
    lengths = [len(b) for b in below]
    for number, length in enumerate(sorted(set(lengths))):
        mine = [k for k, n in enumerate(lengths) if n == length]
        means = statistics.resampled_means(np.stack([below[k] for k in mine]), seed=number)
        agree[:, mine] = np.nan_to_num(means) > 0.5
    return statistics.percentile_interval(agree.mean(1))
