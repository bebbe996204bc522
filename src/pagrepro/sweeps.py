"""A sweep: quantities of the runs of one group over the strength of an objective and over seeds. Torch-free.

What the curves of Srinivas et al. (2023, Figure 2), their regimes and the claims about them are made from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pagrepro.errors import DataError
from pagrepro.results import Context

REVISION = 1


@dataclass(frozen=True)
class Sweep:
    """strengths (S,), ascending; seeds (K,); values: quantity -> (K, S), NaN where a run is missing or its
    value is not finite; diverged (K, S) bool; runs: how many there are."""

    strengths: np.ndarray
    seeds: tuple[int, ...]
    values: dict[str, np.ndarray]
    diverged: np.ndarray
    runs: int

    def mean(self, quantity: str) -> np.ndarray:
        """Mean over the seeds that have a value (S,); NaN where none has."""
        return over_seeds(self.values[quantity])[0]

    def without_diverged(self) -> "Sweep":
        """The same without the values of runs that diverged."""
        kept = {name: np.where(self.diverged, np.nan, values) for name, values in self.values.items()}
        return replace(self, values=kept)


def over_seeds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean, smallest, largest) (S,) of values (K, S), by the finite ones; NaN where there is none."""
    there = np.isfinite(values)
    count = there.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(there, values, 0.0).sum(0) / count
    low = np.where(there, values, np.inf).min(0, initial=np.inf)
    high = np.where(there, values, -np.inf).max(0, initial=-np.inf)
    return mean, np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan)


def from_points(points: pd.DataFrame, quantities: Sequence[str]) -> Sweep:
    """Curves from one row per run: columns seed, strength, status, and the quantities.

    Raises DataError when two runs have the same seed and strength.
    """
    twice = points[points.duplicated(["seed", "strength"])]
    if len(twice):
        row = twice.iloc[0]
        same = f"seed {row['seed']} and strength {row['strength']:g}"
        raise DataError(f"{row['run']} and another run have the same {same}; choose among them by labels")
    strengths = np.unique(points["strength"].to_numpy(float))
    seeds = tuple(sorted(set(points["seed"])))
    shape = (len(seeds), len(strengths))
    columns = np.searchsorted(strengths, points["strength"].to_numpy(float))
    at = (np.searchsorted(seeds, points["seed"].to_numpy()), columns)
    values = {}
    for name in quantities:
        given = points[name].to_numpy(float)
        values[name] = np.full(shape, np.nan)
        values[name][at] = np.where(np.isfinite(given), given, np.nan)
    diverged = np.zeros(shape, bool)
    diverged[at] = points["status"].to_numpy() == "diverged"
    return Sweep(strengths, seeds, values, diverged, len(points))


def points(context: Context, group: str, measured: Mapping[str, tuple[str, str]], label: str) -> pd.DataFrame:
    """One row per run of a group: columns run, seed, status, strength, and the quantities of `measured`
    (quantity -> (evaluation, value)), NaN where this tier or a preview does not have one.

    Raises DataError when a run lacks the label.
    """
    members = {member.run: member for member in context.group(group).runs}
    rows: dict[str, dict[str, object]] = {}
    for quantity, (evaluation, value) in measured.items():
        for result in context.results(group, evaluation):
            row = rows.setdefault(result.run, {"run": result.run, "seed": result.seed, "status": "complete"})
            row[quantity] = result.value(value)
            row["status"] = "diverged" if result.diverged else row["status"]
            row["strength"] = strength_of(members[result.run].labels, label, result.run)
    columns = ["run", "seed", "status", "strength", *measured]
    found = pd.DataFrame(list(rows.values()), columns=columns)
    found[list(measured)] = found[list(measured)].astype(float)
    return found.sort_values(["strength", "seed"], kind="stable", ignore_index=True)


def strength_of(labels: Mapping[str, object], label: str, run: str) -> float:
    """The numeric label of a run. Raises DataError with the labels there are."""
    if not isinstance(labels.get(label), (int, float)):
        there = ", ".join(labels) or "none"
        raise DataError(f"{run} has no numeric label {label!r}; it has: {there}")
    return float(labels[label])
