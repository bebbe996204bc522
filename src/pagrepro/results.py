"""What artifacts and claims see of finished work: results, per-example arrays, histories. Torch-free.

Models and fields are out of reach here on purpose: a table can be drawn on a machine that has only the
`results` folder.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pagrepro.errors import DataError
from pagrepro.layout import Layout

REVISION = 1

FRAME_COLUMNS = (
    "role", "group", "run", "seed", "labels", "dataset", "network", "status", "quantity", "value", "arrays",
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One run of a group with the labels it has there (grid values such as the penalty's weight)."""

    run: str
    seed: int
    labels: dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Runs of one grid; `dataset` and `network` are those really used, `objective` is the name of what they
    were trained with ("": weights from outside, or a task without one).

    not_testable: why the group has no runs at this tier; missing: evaluation -> why it cannot be had.
    """

    name: str
    dataset: str
    network: str
    runs: tuple[Member, ...]
    not_testable: str | None = None
    missing: dict[str, str] = field(default_factory=dict)
    objective: str = ""

    def reason(self, evaluation: str) -> str | None:
        """Why this group has no result of `evaluation`; None when it should have one."""
        return self.not_testable or self.missing.get(evaluation)


def groups_from_json(table: dict[str, dict[str, Any]]) -> dict[str, Group]:
    """The group table that scripts are given."""
    return {
        name: Group(
            name, given["dataset"], given["network"],
            tuple(Member(m["run"], m["seed"], m["labels"]) for m in given["runs"]),
            given["not_testable"], given.get("missing", {}), given.get("objective", ""),
        )
        for name, given in table.items()
    }  # fmt: skip


@dataclass(frozen=True)
class Result:
    """One measurement of one run. values: by name, NaN where the file has null; accuracies are fractions;
    seconds: wall time of the measurement, NaN where the file does not say."""

    run: str
    group: str
    seed: int
    labels: dict[str, Any]
    evaluation: str
    values: dict[str, float]
    status: str
    dataset: str
    network: str
    flags: tuple[str, ...]
    arrays: tuple[str, ...]
    arrays_path: Path
    spec_hash: str
    seconds: float = math.nan

    @property
    def diverged(self) -> bool:
        """Whether the fit of its run diverged."""
        return self.status == "diverged"

    def value(self, name: str) -> float:
        """Raises DataError with the names there are."""
        if name not in self.values:
            raise DataError(
                f"{self.run}, {self.evaluation}: no value {name!r}; there are: {', '.join(self.values)}"
            )
        return self.values[name]

    def array(self, name: str) -> np.ndarray:
        """A per-example array, read when asked for. Raises DataError with the names there are."""
        if name not in self.arrays:
            there = ", ".join(self.arrays) or "none"
            raise DataError(f"{self.run}, {self.evaluation}: no array {name!r}; there are: {there}")
        return read_array(self.arrays_path, name)


def read_array(path: Path, name: str) -> np.ndarray:
    """One array of an .npz file, without unpickling anything."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[name]


def read(layout: Layout, group: Group, member: Member, evaluation: str) -> Result:
    """The result of one run. Raises DataError when there is none or it cannot be read."""
    path = layout.result(member.run, evaluation)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"no result {path}: is {evaluation!r} declared for group {group.name!r}, has it been measured?"
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error}); delete it and measure again") from error
    return Result(
        member.run, group.name, member.seed, member.labels, evaluation,
        {name: math.nan if value is None else float(value) for name, value in content["values"].items()},
        content["status"], group.dataset, group.network, tuple(content.get("flags", ())),
        tuple(content.get("arrays", ())), layout.arrays(member.run, evaluation), content.get("spec_hash", ""),
        float(content.get("provenance", {}).get("wall_s", math.nan)),
    )  # fmt: skip


def read_history(layout: Layout, run: str) -> list[dict[str, Any]]:
    """The lines of a run's history, oldest first. Raises DataError when there is none."""
    path = layout.history(run)
    if not path.is_file():
        raise DataError(f"no history {path}: has {run!r} been fitted?")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@dataclass
class Context:
    """Everything a table or figure may look at.

    content: the artifact's declaration (paper, name, number, title, caption, ...); tier: its name, for
    labels only. With `allow_missing` (previews) unfinished runs are left out and counted.
    """

    content: dict[str, Any]
    groups: dict[str, Group]
    layout: Layout
    allow_missing: bool = False
    asked: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    used: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def tier(self) -> str:
        """Name of the tier, for labels only."""
        return self.content["tier"]

    @property
    def incomplete(self) -> str | None:
        """What a preview says of itself; None when nothing was missing of what was looked at."""
        if not self.missing:
            return None
        return f"incomplete: {len(self.asked) - len(self.missing)} of {len(self.asked)} runs"

    def group(self, name: str) -> Group:
        """Raises DataError with the names there are."""
        if name not in self.groups:
            there = ", ".join(self.groups) or "none"
            raise DataError(f"{self.content['name']}: no group {name!r} among its groups; there are: {there}")
        return self.groups[name]

    def reason(self, group: str, evaluation: str) -> str | None:
        """Why there is nothing to show; None when there is."""
        return self.group(group).reason(evaluation)

    def results(self, group: str, evaluation: str) -> list[Result]:
        """One result per run, in the order of the declaration; empty where the group is not testable."""
        chosen = self.group(group)
        if chosen.reason(evaluation):
            return []
        found = [self._read(chosen, member, evaluation) for member in chosen.runs]
        return [result for result in found if result is not None]

    def histories(self, group: str) -> list[tuple[Member, list[dict[str, Any]]]]:
        """(member, its history) for every run of a group."""
        found = []
        for member in self.group(group).runs:
            self.asked.add(member.run)
            if self.allow_missing and not self.layout.history(member.run).is_file():
                self.missing.add(member.run)
            else:
                found.append((member, read_history(self.layout, member.run)))
                self.used[member.run, "history"] = ""
        return found

    def _read(self, group: Group, member: Member, evaluation: str) -> Result | None:
        self.asked.add(member.run)
        if self.allow_missing and not self.layout.result(member.run, evaluation).is_file():
            self.missing.add(member.run)
            return None
        result = read(self.layout, group, member, evaluation)
        self.used[member.run, evaluation] = result.spec_hash
        return result


def frame(context: Context, select: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """What a claim's rule sees: one row per role and run.

    select: role -> {groups, evaluation, value}. Columns: FRAME_COLUMNS; `quantity` is the value's name,
    `arrays` the path of the .npz with per-example arrays, or None.
    """
    rows: list[dict[str, Any]] = []
    for role, chosen in select.items():
        for group in chosen["groups"]:
            rows += _rows(role, context.results(group, chosen["evaluation"]), chosen["value"])
    return pd.DataFrame(rows, columns=list(FRAME_COLUMNS))


def _rows(role: str, results: Iterable[Result], quantity: str) -> Iterable[dict[str, Any]]:
    for r in results:
        yield {
            "role": role, "group": r.group, "run": r.run, "seed": r.seed, "labels": r.labels,
            "dataset": r.dataset, "network": r.network, "status": r.status, "quantity": quantity,
            "value": r.value(quantity), "arrays": str(r.arrays_path) if r.arrays else None,
        }  # fmt: skip
