"""Which runs of a sweep are shown, in order of their strength, one of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pagrepro.errors import DataError
from pagrepro.results import Context, Member, Result

REVISION = 1


@dataclass(frozen=True)
class Cell:
    """One run: its name in the figure, and its result or why there is none ("" while it is unfinished)."""

    name: str
    result: Result | None
    reason: str = ""


def select(
    context: Context, group: str, evaluation: str, label: str = "", seed: int | None = None,
    strengths: Sequence[float] = (), indices: Sequence[int] = (), every: int = 1,
) -> list[Cell]:  # fmt: skip
    """Runs of a group by rising label `strength` (runs without it first), of each strength the one with
    this seed, else the first. A group without results is one cell with the reason.

    strengths, indices: only runs whose labels `strength` and `index` are among these; every: else every
    n-th. Raises DataError where one that is asked for is not there.
    """
    reason = context.reason(group, evaluation)
    if reason:
        return [Cell(label, None, reason)]
    by_strength = _by_strength(context.group(group).runs, seed)
    _check(group, "strength", strengths, by_strength)
    _check(group, "index", indices, by_strength)
    chosen = [
        m
        for m in by_strength
        if (not strengths or _position(m, "strength", strengths) is not None)
        and (not indices or m.labels.get("index") in indices)
    ]
    if not strengths and not indices:
        chosen = chosen[::every]
    results = {result.run: result for result in context.results(group, evaluation)}
    found = []
    for member in chosen:
        result = results.get(member.run)
        diverged = "\ndiverged" if result is not None and result.diverged else ""
        found.append(Cell(_name(member, label, len(chosen) == 1) + diverged, result))
    return found


def _by_strength(members: Sequence[Member], seed: int | None) -> list[Member]:
    """One member per strength, weakest first."""
    found: dict[Any, Member] = {}
    for member in members:
        strength = member.labels.get("strength")
        if strength not in found or (member.seed == seed and found[strength].seed != seed):
            found[strength] = member
    return [found[s] for s in sorted(found, key=lambda s: (s is not None, s or 0))]


def _position(member: Member, label: str, wanted: Sequence[float]) -> int | None:
    """Place of a member's label among those that are wanted, equal up to the rounding of decimals."""
    value = member.labels.get(label)
    if value is None:
        return None
    near = (n for n, w in enumerate(wanted) if abs(value - w) <= 1e-6 * max(abs(value), abs(w)))
    return next(near, None)


def _check(group: str, label: str, wanted: Sequence[float], members: Sequence[Member]) -> None:
    there = {_position(member, label, wanted) for member in members}
    missing = [w for n, w in enumerate(wanted) if n not in there]
    if missing:
        known = [member.labels.get(label) for member in members]
        raise DataError(f"group {group}: no run with the label {label} of {missing}; there are {known}")


def _name(member: Member, label: str, single: bool) -> str:
    """`label` before the strength, or alone for a single run."""
    strength = member.labels.get("strength")
    if strength is None or (single and label):
        return label or str(member.labels.get("method", member.run))
    return f"{label}{strength:.3g}"
