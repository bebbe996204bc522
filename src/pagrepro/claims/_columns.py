"""From the frame of a claim to columns of numbers: selection and pairing that all rules share. Torch-free.

A *column* is what one statistic is made of: a group in a role, with one value per seed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pagrepro.errors import DataError

REVISION = 1

# Takes values (..., columns), reduces the last axis: applied to every seed, or to every bootstrap sample.
Statistic = Callable[[np.ndarray], np.ndarray]

AGGREGATES: dict[str, Callable[..., np.ndarray]] = {"min": np.min, "max": np.max, "mean": np.mean}


@dataclass(frozen=True)
class Column:
    """rows: of the frame, at most one per seed; index: seed."""

    name: str
    rows: pd.DataFrame

    @property
    def finite(self) -> pd.Series:
        """seed -> value, without values that are not finite."""
        return self.rows["value"][np.isfinite(self.rows["value"].astype(float))].astype(float)

    def without_diverged(self) -> "Column":
        """The same column without runs that diverged."""
        return replace(self, rows=self.rows[self.rows["status"] != "diverged"])


def of_role(
    frame: pd.DataFrame, role: str, where: Mapping[str, Mapping[str, Any]] | None = None
) -> pd.DataFrame:
    """Rows of one role whose labels equal those of `where[role]`. Raises DataError for an unknown role."""
    if role not in set(frame["role"]):
        there = ", ".join(dict.fromkeys(frame["role"])) or "none"
        raise DataError(f"this rule needs the role {role!r} in `select`; roles with results: {there}")
    rows = frame[frame["role"] == role]
    for key, wanted in (where or {}).get(role, {}).items():
        rows = rows[[labels.get(key) == wanted for labels in rows["labels"]]]
    if rows.empty:
        raise DataError(f"role {role!r}: no run has the labels {dict((where or {}).get(role, {}))}")
    return rows


def by_group(frame: pd.DataFrame, role: str, where: Mapping[str, Any] | None = None) -> list[Column]:
    """One column per group of a role."""
    rows = of_role(frame, role, where)
    return [_column(name, part) for name, part in rows.groupby("group", sort=False)]


def one_group(frame: pd.DataFrame, role: str, where: Mapping[str, Any] | None = None) -> Column:
    """The column of a role of one group. Raises DataError for several."""
    found = by_group(frame, role, where)
    if len(found) != 1:
        raise DataError(f"role {role!r}: one group is needed, found {len(found)}")
    return found[0]


def by_label(
    frame: pd.DataFrame, role: str, label: str, where: Mapping[str, Any] | None = None
) -> tuple[np.ndarray, list[Column]]:
    """(sorted values of a numeric label, one column for each), over all groups of a role."""
    rows = of_role(frame, role, where).drop_duplicates("run")
    if any(label not in labels for labels in rows["labels"]):
        raise DataError(f"role {role!r}: not every run has the label {label!r}")
    place = [float(labels[label]) for labels in rows["labels"]]
    columns = [_column(f"{label}={at:g}", part) for at, part in rows.groupby(pd.Series(place, rows.index))]
    return np.unique(place), columns


def _column(name: str, rows: pd.DataFrame) -> Column:
    twice = rows["seed"][rows["seed"].duplicated()]
    if len(twice):
        raise DataError(
            f"{name}: several runs have seed {twice.iloc[0]}; choose among them by labels with `where`"
        )
    return Column(name, rows.set_index("seed").sort_index())


def aggregated(columns: Sequence[Column], how: str) -> list[tuple[str, list[Column]]]:
    """`each`: every column on its own; `min`, `max`, `mean`: all of them as one quantity."""
    if how == "each" or len(columns) == 1:
        return [(column.name, [column]) for column in columns]
    return [(f"{how} of {', '.join(column.name for column in columns)}", list(columns))]


def reduced(values: np.ndarray, how: str) -> np.ndarray:
    """One aggregated quantity from its columns (..., k); a single column is itself."""
    return values[..., 0] if values.shape[-1] == 1 else AGGREGATES[how](values, axis=-1)


@dataclass(frozen=True)
class Comparison:
    """Two quantities of one comparison: `first` and `second` make them from values (..., columns)."""

    label: str
    columns: list[Column]
    first: Statistic
    second: Statistic

    def difference(self, values: np.ndarray) -> np.ndarray:
        """First minus second, per seed: values (2, n) -> (n,), in the unit of the values."""
        return self.first(values) - self.second(values)


def comparisons(
    frame: pd.DataFrame,
    roles: tuple[str, str],
    how: tuple[str, str],
    match: str = "all",
    where: Mapping[str, Any] | None = None,
    sign: str = "-",
) -> list[Comparison]:
    """Every pair of quantities of two roles (`match: all`), or those in the same position.

    how: `each`, `min`, `max` or `mean` for either role. Raises DataError when positions do not match.
    """
    first, second = (aggregated(by_group(frame, role, where), h) for role, h in zip(roles, how, strict=True))
    if match == "position" and len(first) != len(second):
        raise DataError(
            f"match: position needs as many groups in both roles, found {len(first)}, {len(second)}"
        )
    pairs = (
        zip(first, second, strict=True) if match == "position" else ((a, b) for a in first for b in second)
    )
    return [_comparison(a, b, how, sign) for a, b in pairs]


def _comparison(
    a: tuple[str, list[Column]], b: tuple[str, list[Column]], how: tuple[str, str], sign: str
) -> Comparison:
    count = len(a[1])
    label = a[0] if a[0] == b[0] else f"{a[0]} {sign} {b[0]}"
    return Comparison(
        label,
        [*a[1], *b[1]],
        lambda values: reduced(values[..., :count], how[0]),
        lambda values: reduced(values[..., count:], how[1]),
    )


def shared_seeds(columns: Sequence[Column]) -> list[int]:
    """Seeds for which every column has a finite value."""
    return sorted(set.intersection(*(set(c.finite.index) for c in columns)))


def by_seed(columns: Sequence[Column]) -> np.ndarray:
    """Values (shared seeds, columns)."""
    shared = shared_seeds(columns)
    return np.stack([c.finite.loc[shared].to_numpy() for c in columns], axis=-1)
