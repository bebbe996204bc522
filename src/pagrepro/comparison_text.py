"""What a comparison of two result folders says, for the terminal: the verdict first. Torch-free."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from pagrepro.comparison import OTHER, OTHER_CODE, PARTS, Comparison, Difference, Tolerance


def text(found: Comparison, tolerance: Tolerance, limit: int = 20) -> str:
    """Summary, then details, at most `limit` lines of each kind."""
    timings = [_line(d) for d in found.differences if d.timing]
    sections = [
        summary(found, tolerance),
        _section("Code and machines, as far as they differ", _places(found), limit),
        _section("Values that differ, per evaluation: the largest relative difference", _worst(found), limit),
        _section("Other differences", _others(found), limit),
        _section("Timings (they do not count)", timings, limit),
    ]
    return "\n\n".join(filter(None, sections))


def summary(found: Comparison, tolerance: Tolerance) -> str:
    """One line with the verdict, and a table of counts."""
    how = "bit for bit" if tolerance == Tolerance() else f"within {tolerance.rtol:g} (relative)"
    if tolerance.atol:
        how += f" or {tolerance.atol:g} (absolute)"
    columns = ("in both", "equal", "differ", "only in A", "only in B", OTHER)
    lines = [f"{'equal' if found.equal else 'DIFFERENT'}, {how}", "", _cells("", *columns)]
    for part in PARTS:
        mine = [d for d in found.differences if d.part == part and d.counts]
        # What one of both lacks altogether; a value or an array that one lacks is a difference of the rest.
        alone = {how: {d.name for d in mine if d.how == how and _whole(d)} for how in columns[3:5]}
        other = {d.name for d in mine if d.how == OTHER}
        differ = {d.name for d in mine} - other - alone["only in A"] - alone["only in B"]
        both = found.compared[part]
        if both or mine:
            counts = (both, both - len(differ) - len(other), len(differ), *map(len, alone.values()))
            lines.append(_cells(part, *counts, len(other)))
    if revised := [d for d in found.differences if d.how == OTHER_CODE]:
        modules = {name for d in revised for name in d.quantity.split(", ")}
        lines.append(f"{len(revised)} of them were made by code of other revisions: {_few(modules)}")
    if not any(found.compared.values()):
        lines.append("nothing is in both folders")
    return "\n".join(lines)


def _whole(difference: Difference) -> bool:
    return difference.quantity == "" or difference.part == "claims"


def _cells(first: str, *others: Any) -> str:
    widths = (9, 9, 9, 11, 11, 23)
    return (f"{first:<9}" + "".join(f"{cell:>{width}}" for cell, width in zip(others, widths))).rstrip()


def _section(title: str, lines: Iterable[str], limit: int) -> str:
    lines = list(lines)
    more = [f"  ... and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines[:limit]), *more]) if lines else ""


def _places(found: Comparison) -> Iterator[str]:
    for fact, (a, b) in found.places.items():
        if a != b:
            yield f"{fact}: {_few(a)}  |  {_few(b)}"


def _few(values: set[str]) -> str:
    shown = sorted(values)[:3]
    return ", ".join(shown) + (f" and {len(values) - 3} more" if len(values) > 3 else "") or "nothing"


def _worst(found: Comparison) -> Iterator[str]:
    """Per evaluation (over runs) and value; elsewhere per part and value. Largest first."""
    groups: dict[tuple[str, str], list[Difference]] = {}
    for d in found.differences:
        if not math.isnan(d.relative) and not d.timing:
            of = d.name.rpartition("/")[2] if d.part == "results" else d.part
            groups.setdefault((of, d.quantity), []).append(d)
    for (of, quantity), members in sorted(groups.items(), key=lambda item: -_largest(item[1]).relative):
        worst, inside = _largest(members), sum(d.within for d in members)
        allowed = f", {inside} of them within" if inside else ""
        yield (
            f"{of} {quantity}: {worst.relative:.2g} ({_short(worst.a)} | {_short(worst.b)}, {worst.name});"
            f" differs in {len(members)}{allowed}"
        )


def _largest(members: list[Difference]) -> Difference:
    return max(members, key=lambda d: d.relative)


def _others(found: Comparison) -> Iterator[str]:
    """Verdicts first: they are what a reader comes for."""
    rest = [d for d in found.differences if math.isnan(d.relative) and d.counts]
    for d in sorted(rest, key=lambda d: d.quantity != "verdict"):
        yield _line(d)


def _line(d: Difference) -> str:
    what = " ".join(filter(None, (d.part, d.name, d.quantity)))
    if d.how != "value":
        return f"{what}: {d.how}"
    relative = "" if math.isnan(d.relative) else f" ({d.relative:.2g})"
    return f"{what}: {_short(d.a)} | {_short(d.b)}{relative}"


def _short(value: Any) -> str:
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
