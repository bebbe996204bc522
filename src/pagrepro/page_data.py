"""Everything that the page of a tier shows, as JSON: runs with their results, claims, artifacts. Torch-free.

It is read from sidecars, results and claims.csv alone; what is not finished, or of another spec than the
configuration asks for now, is left out and counted.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pagrepro import claim_links, palette, sidecars
from pagrepro.expand import network_label
from pagrepro.expansion import Evaluation, Expansion, Run
from pagrepro.layout import Layout
from pagrepro.page_plan import ACCURACY, ALIGNMENT

# Columns of page.csv, one row per point.
POINT_COLUMNS = (
    "run", "papers", "groups", "objective", "dataset", "network", "seed", "status",
    "x_measurement", "x", "y_measurement", "y",
)  # fmt: skip
CLAIM_COLUMNS = (
    "paper", "claim", "statement", "place", "published", "measured", "n_seeds", "verdict", "reason",
)  # fmt: skip


def collect(expansion: Expansion, layout: Layout, images: dict[str, str]) -> dict[str, Any]:
    """Content of the page. images: run -> picture of its gradient maps, relative to the page."""
    settings: dict[str, int] = {}
    runs = _runs(expansion, layout, images, settings)
    measurements = _measurements(runs)
    claims = _claims(expansion, layout, {run["name"]: place for place, run in enumerate(runs)})
    # Objective, or task of a network that has none -> whether it is an objective.
    kinds = {run["objective"]: run.pop("has_objective") for run in runs}
    return {
        "tier": expansion.tier,
        "asked": len(expansion.runs),
        "papers": list(dict.fromkeys([*expansion.claims, *(paper for paper, _ in expansion.artifacts)])),
        "objectives": {
            name: palette.of_objective(name).colour if kinds[name] else palette.GREY for name in sorted(kinds)
        },
        "verdicts": palette.VERDICTS,
        "settings": list(settings),
        "measurements": measurements,
        "start": _start(runs, measurements),
        "runs": runs,
        "claims": claims,
        "artifacts": list(_artifacts(expansion, layout)),
    }


# --- runs --------------------------------------------------------------------------------------------


def _runs(
    expansion: Expansion, layout: Layout, images: dict[str, str], settings: dict[str, int]
) -> list[dict[str, Any]]:
    measured: dict[str, list[Evaluation]] = {}
    for (run, _), evaluation in expansion.evaluations.items():
        measured.setdefault(run, []).append(evaluation)
    groups = _groups(expansion)
    found = []
    for run in expansion.runs.values():
        sidecar = _present(run, layout)
        if sidecar is None:
            continue
        about = _about(run, expansion, groups.get(run.name, []))
        results = dict(_results(measured.get(run.name, ()), layout, settings))
        folder = layout.run_folder(run.name).relative_to(layout.results).as_posix()
        more = {"status": sidecar["status"], "image": images.get(run.name), "folder": folder}
        found.append(about | more | {"results": results, "sidecar": sidecar})
    return found


def _present(member: Run | Evaluation, layout: Layout) -> dict[str, Any] | None:
    """What was written down of a member; None where it is not finished, or was made from another spec."""
    content = sidecars.read(sidecars.path_of(member, layout))
    return content if content.get("spec_hash") == member.hash else None


def _groups(expansion: Expansion) -> dict[str, list[str]]:
    """Run -> full names of the groups it belongs to."""
    found: dict[str, list[str]] = {}
    for name, group in expansion.groups.items():
        for member in group.runs:
            found.setdefault(member["run"], []).append(name)
    return found


def _about(run: Run, expansion: Expansion, groups: list[str]) -> dict[str, Any]:
    spec = run.spec
    return {
        "name": run.name,
        "papers": list(dict.fromkeys(expansion.groups[name].paper for name in groups)),
        "groups": groups,
        "objective": (spec["task"].get("objective") or spec["task"])["name"],
        "has_objective": bool(spec["task"].get("objective")),
        "dataset": expansion.catalogue.datasets[spec["dataset"]["name"]].label,
        "network": network_label(spec["task"]),
        "seed": spec["seed"],
    }


def _results(
    evaluations: Iterable[Evaluation], layout: Layout, settings: dict[str, int]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(evaluation, what is shown of it). settings: options of measurements -> their number, for the page to
    tell whether points of one axis were measured alike."""
    for evaluation in evaluations:
        content = _present(evaluation, layout)
        if content is None:
            continue
        measure = evaluation.spec["measure"]
        options = ", ".join(f"{key}: {value}" for key, value in measure.items() if key != "name")
        text = f"{measure['name']}: {options}" if options else measure["name"]
        yield (
            evaluation.name,
            {
                "kind": measure["name"],
                "status": content["status"],
                "flags": content.get("flags", []),
                "settings": settings.setdefault(text, len(settings)),
                "values": {name: value for name, value in content["values"].items() if value is not None},
                "arrays": bool(content.get("arrays")),
            },
        )


# --- axes and points ---------------------------------------------------------------------------------


def measurement(evaluation: str, kind: str, value: str) -> str:
    """Name of an axis. Papers may use one name for two kinds of measurement, so the kind belongs to it."""
    return f"{evaluation}.{value} ({kind})"


def values_of(run: dict[str, Any]) -> dict[str, float]:
    """Axis -> value, of one run."""
    return {
        measurement(name, result["kind"], value): number
        for name, result in run["results"].items()
        for value, number in result["values"].items()
    }


def _measurements(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every axis with its role ("accuracy", "alignment" or "other") and number of runs, most common first."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        for name, result in run["results"].items():
            for value in result["values"]:
                axis = measurement(name, result["kind"], value)
                new = {"name": axis, "role": _role(result["kind"], value), "runs": 0}
                found.setdefault(axis, new)["runs"] += 1
    return sorted(found.values(), key=lambda axis: (-axis["runs"], axis["name"]))


def _role(kind: str, value: str) -> str:
    if value in ACCURACY.get(kind, ()):
        return "accuracy"
    return "alignment" if value in ALIGNMENT.get(kind, ()) else "other"


def _pairs(measurements: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Axes of all accuracy-alignment plots."""
    roles = {
        role: [axis["name"] for axis in measurements if axis["role"] == role]
        for role in ("accuracy", "alignment")
    }
    return ((x, y) for x in roles["accuracy"] for y in roles["alignment"])


def _start(runs: list[dict[str, Any]], measurements: list[dict[str, Any]]) -> dict[str, str] | None:
    """Axes that the page begins with: the accuracy and the alignment that most runs have both; of any kind
    where there is no such pair; None without measurements."""
    values = [values_of(run) for run in runs]
    counts = {(x, y): sum(x in v and y in v for v in values) for x, y in _pairs(measurements)}
    if counts and max(counts.values()):
        x, y = max(counts, key=counts.__getitem__)
    elif measurements:
        x, y = measurements[0]["name"], measurements[min(1, len(measurements) - 1)]["name"]
    else:
        return None
    return {"x": x, "y": y}


def points(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of page.csv: every point of every accuracy-alignment plot, columns POINT_COLUMNS."""
    known = [(run, values_of(run)) for run in content["runs"]]
    for x, y in _pairs(content["measurements"]):
        for run, values in known:
            if x in values and y in values:
                lists = {key: "; ".join(run[key]) for key in ("papers", "groups")}
                plain = {key: run[key] for key in ("objective", "dataset", "network", "seed", "status")}
                axes = {"x_measurement": x, "x": values[x], "y_measurement": y, "y": values[y]}
                yield {"run": run["name"], **lists, **plain, **axes}


# --- claims and artifacts ----------------------------------------------------------------------------


def _claims(expansion: Expansion, layout: Layout, places: dict[str, int]) -> list[dict[str, Any]]:
    """Lines of claims.csv, each with the numbers of the runs that it was judged by and the artifacts that its
    place names; none where the claims have not been judged yet."""
    path = layout.claims()
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{key: row[key] for key in CLAIM_COLUMNS} for row in csv.DictReader(file)]
    used = {
        (plan.paper, claim): list(dict.fromkeys(run for run, _ in about["results"]))
        for plan in expansion.claims.values()
        for claim, about in claim_links.evidence(plan.content).items()
    }
    for row in rows:
        names = used.get((row["paper"], row["claim"]), [])
        row["runs"] = sorted(places[name] for name in names if name in places)
        row["artifacts"] = _named(row["place"], row["paper"], expansion)
    return rows


def _named(place: str, paper: str, expansion: Expansion) -> list[str]:
    """Names of the artifacts that a place such as `Figures 1, 4 and 5, section 2` names."""
    numbers = claim_links.numbers(place)
    artifacts = expansion.artifacts.values()
    return [a.name for a in artifacts if a.paper == paper and a.content["number"] in numbers]


def _artifacts(expansion: Expansion, layout: Layout) -> Iterator[dict[str, Any]]:
    for plan in expansion.artifacts.values():
        first: Path = getattr(layout, plan.kind)(plan.paper, plan.name)
        suffixes = (".png", ".pdf", ".csv", ".md", ".json")
        files = [first.with_suffix(suffix) for suffix in suffixes]
        about = {key: plan.content[key] for key in ("number", "title", "caption")}
        if first.is_file():
            here = [file.relative_to(layout.results).as_posix() for file in files if file.is_file()]
            yield {"paper": plan.paper, "name": plan.name, "kind": plan.kind, **about, "files": here}
