"""What the report says of a figure or table beside it: labels that one can read and sort by. Torch-free."""

from collections.abc import Iterable
from typing import Any

MOST = 4


def labels(content: dict[str, Any], beside: Iterable[dict[str, Any]] = ()) -> dict[str, str]:
    """Number, title, data set, objective, measurement and seeds of an artifact.

    content: the artifact as its script gets it; beside: the contents of all that the report lists with it.
    """
    mine = _plain(content)
    others = [_plain(other) for other in beside]
    for key in list(mine)[1:]:
        # Snakemake's report makes a switch of a label with two values, each of half of the entries, and then
        # cannot show entries without a twin. A third value, which looks the same, keeps it a column.
        values = [other[key] for other in others]
        if len(set(values)) == 2 and values.count(values[0]) * 2 == len(values) and mine == others[0]:
            mine[key] += "\u200b"
    return mine


def _plain(content: dict[str, Any]) -> dict[str, str]:
    groups = content["groups"].values()
    measured = [*content["evaluations"], *(["training history"] if content.get("histories") else [])]
    return {
        "number": content["number"],
        "title": content["title"],
        "data set": _listed(group["dataset"] for group in groups),
        "objective": _listed(group.get("objective", "").replace("_", " ") for group in groups),
        "measurement": _listed(name.replace("_", " ") for name in measured),
        "seeds": _seeds(len({m["seed"] for m in group["runs"]}) for group in groups if group["runs"]),
    }


def _listed(names: Iterable[str]) -> str:
    found = sorted({name for name in names if name})
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return ", ".join(found[:MOST]) + more or "none"


def _seeds(counts: Iterable[int]) -> str:
    found = sorted(set(counts))
    if not found:
        return "none"
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
