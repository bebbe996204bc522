"""The whole way from `config/` to what has to be computed. Torch-free."""

from pathlib import Path
from typing import Any

from pagrepro import claim_links, configuration
from pagrepro.configuration import Configuration
from pagrepro.declare import Declarations, declare
from pagrepro.expansion import ArtifactPlan, ClaimsPlan, Expansion, Group
from pagrepro.resolve import Resolver


def expand(config: dict[str, Any], root: Path = Path(".")) -> Expansion:
    """Resolve a tier. `config`: Snakemake's config (config.yaml + profile + command line).

    Raises ConfigError with file, key path, found and allowed for the first mistake of any file.
    """
    return expand_loaded(configuration.load(config, root), root)


def expand_loaded(loaded: Configuration, root: Path = Path(".")) -> Expansion:
    """As `expand`, of configuration files that were read before."""
    declared = declare(loaded)
    found = Resolver(loaded, declared, root).everything()
    # run -> evaluations declared for it: groups are many, so this is not looked for again in each.
    measured: dict[str, list[str]] = {}
    for run, evaluation in declared.evaluations:
        measured.setdefault(run, []).append(evaluation)
    found.groups = {name: _group(name, declared, measured, found) for name in declared.groups}
    _artifacts(declared, found)
    for paper in dict.fromkeys(owner for owner, _ in declared.claims):
        found.claims[paper] = _claims(paper, declared, found)
    return found


def _group(full: str, declared: Declarations, measured: dict[str, list[str]], found: Expansion) -> Group:
    paper, name = full.split(".", 1)
    members, reasons, missing = [], [], {}
    dataset, network, objective, epochs = "", "", "", 0
    for run, labels in declared.groups[full]:
        real = found.aliases.get(run, run)
        if run in found.removed:
            reasons.append(found.removed[run])
            continue
        spec = found.runs[real].spec
        dataset = found.catalogue.datasets[spec["dataset"]["name"]].label
        network = network_label(spec["task"])
        objective = spec["task"].get("objective", {}).get("name", "")
        epochs = spec["fit"]["epochs"] if spec["fit"] else 0
        members.append({"run": real, "seed": labels["seed"], "labels": labels})
        for evaluation in measured.get(run, []):
            if f"{run}/{evaluation}" in found.removed:
                missing[evaluation] = found.removed[f"{run}/{evaluation}"]
    nothing = None if members else (reasons[0] if reasons else "the tier asks for no run of this group")
    return Group(paper, name, dataset, network, objective, epochs, tuple(members), nothing, missing)


def _artifacts(declared: Declarations, found: Expansion) -> None:
    known = {evaluation for _, evaluation in declared.evaluations}
    for (paper, name), item in declared.artifacts.items():
        artifact = item.template
        kind = "table" if artifact.table else "figure"
        for evaluation in artifact.evaluations:
            if evaluation not in known:
                allowed = ", ".join(sorted(known)) or "no evaluation is declared"
                raise item.error("evaluations", evaluation, allowed)
        content = {
            "paper": paper, "name": name, "tier": found.tier,
            **artifact.model_dump(mode="json", exclude_none=True),
            "groups": _group_table(paper, artifact.groups, found),
        }  # fmt: skip
        pairs = _pairs(artifact.groups, artifact.evaluations, found)
        runs = tuple(m["run"] for g in artifact.groups for m in found.groups[g].runs)
        found.artifacts[paper, name] = ArtifactPlan(
            paper, name, kind, content, pairs, runs if artifact.histories else ()
        )


def _group_table(paper: str, groups: tuple[str, ...] | list[str], found: Expansion) -> dict[str, Any]:
    """Groups by the name the paper file uses: bare for the paper's own, with the paper's key for others."""
    return {short_name(paper, name): found.groups[name].as_json() for name in groups}


def short_name(paper: str, group: str) -> str:
    """Name of a group without its paper: that of another paper keeps it."""
    return group.removeprefix(f"{paper}.")


def _pairs(
    groups: tuple[str, ...] | list[str], evaluations: tuple[str, ...], found: Expansion
) -> tuple[tuple[str, str], ...]:
    pairs = {
        (member["run"], evaluation): None
        for group in groups
        for member in found.groups[group].runs
        for evaluation in evaluations
        if (member["run"], evaluation) in found.evaluations
    }
    return tuple(pairs)


def _claims(paper: str, declared: Declarations, found: Expansion) -> ClaimsPlan:
    items = {name: item for (owner, name), item in declared.claims.items() if owner == paper}
    contents, groups, rules = [], {}, set()
    drawn = [plan.content for (owner, _), plan in found.artifacts.items() if owner == paper]
    pairs: dict[tuple[str, str], None] = {}
    for name, item in items.items():
        parts = []
        for part in item.template.parts:
            rules.add(part.rule["name"])
            content = part.model_dump(mode="json", exclude={"only_on"})
            content["not_testable"] = _part_reason(item, part, found)
            for selection in content["select"].values():
                groups |= _group_table(paper, selection["groups"], found)
                if content["not_testable"] is None:
                    hits = _pairs(selection["groups"], (selection["evaluation"],), found)
                    pairs |= dict.fromkeys(hits)
                selection["groups"] = [short_name(paper, group) for group in selection["groups"]]
            parts.append(content)
        statement = item.template.model_dump(mode="json", include={"statement", "place", "published"})
        claim = {"paper": paper, "claim": name, **statement, "parts": parts}
        claim["artifacts"] = claim_links.artifacts(claim, drawn)
        contents.append(claim)
    content = {"tier": found.tier, "claims": contents, "groups": groups}
    return ClaimsPlan(paper, content, tuple(sorted(rules)), tuple(pairs))


def _part_reason(item: Any, part: Any, found: Expansion) -> str | None:
    """Why a part of a claim cannot be judged at this tier; None when it can."""
    for role, selection in part.select.items():
        for group in (found.groups[name] for name in selection.groups):
            if group.not_testable:
                return f"{group.name}: {group.not_testable}"
            if selection.evaluation in group.missing:
                return f"{group.name}, {selection.evaluation}: {group.missing[selection.evaluation]}"
            if any((m["run"], selection.evaluation) not in found.evaluations for m in group.runs):
                raise item.error(
                    f"parts ({part.label}).select.{role}.evaluation", selection.evaluation,
                    f"an evaluation of {group.name}",
                )  # fmt: skip
            wanted = part.only_on
            used = (group.dataset, group.network, group.epochs)
            if wanted and used != (wanted.dataset, wanted.network, wanted.epochs):
                return (
                    f"an absolute value of {wanted.dataset} with {wanted.network} and {wanted.epochs} epochs;"
                    f" this tier used {group.dataset} with {group.network} and {group.epochs}"
                )
    return None


def network_label(task: dict[str, Any]) -> str:
    """Short name of the network a run really uses, for table rows: `cifar_resnet18 w8`, `unet w64`."""
    # A task without another network in it is its own: `conditional_gan w256`.
    network = task.get("model") or task.get("generator") or task
    size = network.get("size")
    if size is not None:
        return f"{network['name']} {size if isinstance(size, str) else 'e' + str(size['embed_dim'])}"
    width = f" w{network['width']}" if "width" in network else ""
    return f"{network['name']}{width}"
