"""Jobs: which runs, fields and evaluations share one process. Torch-free.

A pack of one is the normal case. Tiers declare larger packs for machines where starting a process
costs more than the work in it. Members of a pack must not depend on each other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pagrepro import argument, plugins
from pagrepro.configuration import Configuration
from pagrepro.errors import ConfigError
from pagrepro.expansion import Evaluation, Expansion, Field, Run
from pagrepro.finished import run_weights
from pagrepro.patterns import matches
from pagrepro.settings import PackDeclaration
from pagrepro.spec import Cost, canonical_json

MODULES = {"train": "fit", "field": "make_field", "evaluate": "measuring"}


@dataclass(frozen=True)
class Job:
    """One process. `shape` tells which files each member writes; unpacked jobs of one shape share a rule."""

    stage: str
    name: str
    members: tuple[Any, ...]
    shape: tuple[str, ...]
    pack: str | None
    cost: Cost

    @property
    def owner(self) -> str:
        """Run or field of a job with one owner."""
        first = self.members[0]
        return first.run if isinstance(first, Evaluation) else first.name


def revisions_of(stage: str, spec: dict[str, Any]) -> dict[str, int]:
    """Revisions that a job of this stage and spec depends on (decision 3 of the design)."""
    return plugins.revisions(MODULES[stage], *plugins.mentioned(spec))


def member_json(stage: str, member: Run | Field | Evaluation) -> dict[str, Any]:
    """What a script is told about one member."""
    content: dict[str, Any] = {"spec": member.spec, "revisions": revisions_of(stage, member.spec)}
    if isinstance(member, Evaluation):
        return {"run": member.run, "evaluation": member.name, **content}
    return {"name": member.name, **content}


def job_json(job: Job) -> str:
    """The `--spec` argument of a job's script."""
    return argument.packed(
        job.name, canonical_json([member_json(job.stage, member) for member in job.members])
    )


def shape_of(member: Run | Field) -> tuple[str, ...]:
    """What a run or field writes besides what every one writes."""
    if isinstance(member, Run):
        return tuple(run_weights(member.spec)[1:])
    return (f"shards={member.spec['shards']}",)


def jobs(expansion: Expansion, configuration: Configuration) -> list[Job]:
    """All jobs of a tier: declared packs first, then one job per remaining run, field and suite."""
    owners = _groups_of_runs(expansion)
    packs = configuration.tier.packs
    found: list[Job] = []
    found += _stage("field", expansion.fields.values(), {n: [n] for n in expansion.fields}, packs, expansion)
    found += _stage("train", expansion.runs.values(), owners, packs, expansion)
    found += _evaluation_jobs(expansion, owners, packs)
    _check_unused(packs, found, configuration)
    return found


def _groups_of_runs(expansion: Expansion) -> dict[str, list[str]]:
    owners: dict[str, list[str]] = {name: [] for name in expansion.runs}
    for full, group in expansion.groups.items():
        for member in group.runs:
            owners[member["run"]].append(full)
    return owners


def _packable(member: Run | Field) -> bool:
    """Converted weights run another script, and fits of several processes are started otherwise: they stay
    out of packs."""
    return isinstance(member, Field) or (member.spec["fit"] is not None and member.cost.devices == 1)


def _stage(
    stage: str,
    members: Iterable[Run | Field],
    owners: dict[str, list[str]],
    packs: tuple[PackDeclaration, ...],
    expansion: Expansion,
) -> list[Job]:
    found, rest = [], {member.name: member for member in members}
    for pack in (p for p in packs if p.stage == stage):
        chosen = [m for n, m in rest.items() if _packable(m) and _wanted(pack, owners[n])]
        for number, chunk in enumerate(_chunks(chosen, pack.size)):
            _check_independent(pack, chunk, expansion)
            found.append(_pack_job(stage, pack, str(number), chunk))
            for member in chunk:
                del rest[member.name]
    return found + [Job(stage, name, (m,), shape_of(m), None, m.cost) for name, m in rest.items()]


def _wanted(pack: PackDeclaration, names: list[str]) -> bool:
    return any(matches(pattern, name) for pattern in pack.match for name in names)


def _chunks(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _pack_job(stage: str, pack: PackDeclaration, suffix: str, members: list[Any]) -> Job:
    cost = Cost(minutes=pack.minutes, memory_mb=pack.memory_mb, gpus=pack.gpus, threads=1)
    return Job(stage, f"{pack.name}_{suffix}", tuple(members), (), pack.name, cost)


def _check_independent(pack: PackDeclaration, members: list[Run | Field], expansion: Expansion) -> None:
    inside = {member.name for member in members}
    for member in members:
        needed = _ancestors(member.spec, expansion) & inside
        if needed:
            raise _pack_error(
                expansion.tier, pack.name, f"{member.name} and {', '.join(sorted(needed))}, which it needs",
                "members that do not need each other; put them into two packs",
            )  # fmt: skip


def _ancestors(spec: dict[str, Any], expansion: Expansion) -> set[str]:
    """Names of all runs and fields that a spec needs, directly or through others."""
    found: set[str] = set()
    for given in spec["inputs"].values():
        name = given.get("field") or given.get("run")
        if name:
            inner = expansion.fields.get(name) if "field" in given else expansion.runs.get(name)
            found |= {name} | (_ancestors(inner.spec, expansion) if inner else set())
    return found


def _evaluation_jobs(
    expansion: Expansion, owners: dict[str, list[str]], packs: tuple[PackDeclaration, ...]
) -> list[Job]:
    """One suite per run and depth, costly measurements apart; packs join suites of the same depth."""
    suites: dict[tuple[str, int], list[Evaluation]] = {}
    found: list[Job] = []
    for evaluation in expansion.evaluations.values():
        if evaluation.apart:
            found.append(
                Job(
                    "evaluate",
                    evaluation.name,
                    (evaluation,),
                    _suite_shape([evaluation]),
                    None,
                    evaluation.cost,
                )
            )
        else:
            suites.setdefault((evaluation.run, evaluation.depth), []).append(evaluation)
    for pack in (p for p in packs if p.stage == "evaluate"):
        for depth in sorted({depth for _, depth in suites}):
            runs = [run for run, d in suites if d == depth and _wanted(pack, owners[run])]
            for number, chunk in enumerate(_chunks(runs, pack.size)):
                suffix = f"{number}" if depth == 0 else f"{number}_depth{depth}"
                members = [member for run in chunk for member in suites.pop((run, depth))]
                found.append(_pack_job("evaluate", pack, suffix, members))
    for (run, _), members in suites.items():
        cost = Cost(
            minutes=sum(m.cost.minutes for m in members), memory_mb=max(m.cost.memory_mb for m in members),
            gpus=max(m.cost.gpus for m in members), threads=max(m.cost.threads for m in members),
        )  # fmt: skip
        found.append(Job("evaluate", run, tuple(members), _suite_shape(members), None, cost))
    return found


def _suite_shape(members: list[Evaluation]) -> tuple[str, ...]:
    """Suites of one shape write files of the same names."""
    return (f"depth{members[0].depth}", *(f"{m.name}:{m.spec['measure']['name']}" for m in members))


def _check_unused(packs: tuple[PackDeclaration, ...], found: list[Job], configuration: Configuration) -> None:
    used = {job.pack for job in found}
    for pack in packs:
        # A tier's packs also name what belongs to papers that were not chosen this time.
        if pack.name not in used and configuration.complete:
            raise _pack_error(
                configuration.settings.tier, pack.name, ", ".join(pack.match), "patterns that match something"
            )


def _pack_error(tier: str, name: str, found: object, allowed: str) -> ConfigError:
    return ConfigError(f"config/tiers/{tier}.yaml", f"packs.{name}", found, allowed)
