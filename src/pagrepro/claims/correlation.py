"""Two quantities are correlated over runs, or one is more so than another.

Roles: x, y (paired by run); or y alone, against a label of its runs (`x_label`); and, where `other` is
selected, the effect is r(x, y) - r(other, y).
"""

from typing import Any, Literal

import numpy as np
import pandas as pd

from pagrepro import statistics
from pagrepro.claims import _columns as columns
from pagrepro.claims import _effects as effects
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict, threshold
from pagrepro.statistics import MIN_SEEDS

REVISION = 1

MIN_RUNS = 4


class Config(Strict):
    """method: Spearman compares orders; over: `runs`, one correlation of all of them, or `seeds`, one for the
    runs of each seed and Student's t over seeds; interval: of a correlation over runs (a difference of two
    always takes the bootstrap over runs); where: role -> labels that its runs must have."""

    method: Literal["pearson", "spearman"] = "pearson"
    over: Literal["runs", "seeds"] = "runs"
    interval: Literal["fisher", "bootstrap"] = "fisher"
    above: Number | None = None
    below: Number | None = None
    x_label: str | None = None
    where: dict[str, dict[str, Any]] = {}

    _has_threshold = threshold()


def judge(config: Config, frame: pd.DataFrame) -> statistics.Verdict:
    """Effect: the correlation, or the difference of two; at least three seeds and four runs are needed."""
    table, notes = _paired(config, frame)
    n_seeds = table["seed"].nunique()

    def effect(x: np.ndarray, y: np.ndarray, other: np.ndarray | None) -> np.ndarray:
        rank = config.method == "spearman"
        found = statistics.correlation(x, y, rank)
        return found if other is None else found - statistics.correlation(other, y, rank)

    def of(rows: pd.DataFrame) -> float:
        return float(effect(*_arrays(rows)))

    make = _over_seeds if config.over == "seeds" else _over_runs
    value, interval, how = make(config, table, of, effect)
    if n_seeds < MIN_SEEDS:
        interval, how = None, f"{n_seeds} seeds, {MIN_SEEDS} are needed"
    shown = value if np.isfinite(value) else None
    found = effects.Estimate(config.method, shown, interval, n_seeds, how, notes)
    return effects.conclude(found, config.above, config.below)


def _paired(config: Config, frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """(one row per run with x, y and perhaps other, notes for the reader)."""
    rows = columns.of_role(frame, "y", config.where).drop_duplicates("run").set_index("run")
    table = pd.DataFrame({"seed": rows["seed"], "y": rows["value"].astype(float), "status": rows["status"]})
    if config.x_label is not None:
        if any(config.x_label not in labels for labels in rows["labels"]):
            raise DataError(f"not every run has the label {config.x_label!r}")
        table["x"] = [float(labels[config.x_label]) for labels in rows["labels"]]
    roles = [role for role in ("x", "other") if role in set(frame["role"])]
    if config.x_label is None or "x" in roles:
        roles = list(dict.fromkeys(["x", *roles]))
    for role in roles:
        more = columns.of_role(frame, role, config.where).drop_duplicates("run").set_index("run")
        table[role] = more["value"].astype(float)
    finite = np.isfinite(table[[c for c in ("x", "y", "other") if c in table]]).all(axis=1)
    notes = [f"{(~finite).sum()} of {len(table)} runs without a finite value, left out"] * (not finite.all())
    diverged = int((table["status"] == "diverged").sum())
    notes += [f"{diverged} of {len(table)} diverged"] * bool(diverged)
    return table[finite], tuple(notes)


def _arrays(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    other = table["other"].to_numpy() if "other" in table else None
    return table["x"].to_numpy(), table["y"].to_numpy(), other


def _over_seeds(config: Config, table: pd.DataFrame, of: Any, effect: Any) -> tuple[float, Any, str]:
    """Correlation within each seed, Student's t over seeds."""
    samples = np.array([of(rows) for _, rows in table.groupby("seed") if len(rows) >= MIN_RUNS])
    samples = samples[np.isfinite(samples)]
    how = f"within each of {len(samples)} seeds"
    if len(samples) < MIN_SEEDS:
        return (float(samples.mean()) if len(samples) else np.nan), None, f"{how}, {MIN_SEEDS} are needed"
    return *statistics.t_interval(samples), how


def _over_runs(config: Config, table: pd.DataFrame, of: Any, effect: Any) -> tuple[float, Any, str]:
    """One correlation of all runs."""
    if len(table) < MIN_RUNS:
        return np.nan, None, f"{len(table)} runs, {MIN_RUNS} are needed"
    value, (x, y, other) = of(table), _arrays(table)
    if not np.isfinite(value):
        return value, None, f"a quantity is the same in all {len(table)} runs"
    if config.interval == "fisher" and other is None:
        interval = statistics.fisher_interval(value, len(table), config.method == "spearman")
        return value, interval, f"{len(table)} runs, Fisher's interval"
    samples = statistics.resample(
        len(table), lambda rows: effect(x[rows], y[rows], None if other is None else other[rows])
    )
    return value, statistics.percentile_interval(samples), f"{len(table)} runs, bootstrap over runs"
