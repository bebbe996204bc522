"""What a configuration comes to: resolved specs by name. Torch-free."""

from dataclasses import dataclass, field
from typing import Any

from pagrepro.spec import Cost, DatasetsFile


@dataclass(frozen=True)
class Run:
    """A fit or converted weights: its name, resolved specification with hash, and expected cost."""

    name: str
    spec: dict[str, Any]
    hash: str
    cost: Cost


@dataclass(frozen=True)
class Field:
    """An array per image of a split, likewise."""

    name: str
    spec: dict[str, Any]
    hash: str
    cost: Cost


@dataclass(frozen=True)
class Evaluation:
    """`depth`: how many evaluations (of any run) its inputs were made from; those run in an earlier job."""

    run: str
    name: str
    spec: dict[str, Any]
    hash: str
    cost: Cost
    apart: bool
    depth: int


@dataclass(frozen=True)
class Group:
    """Runs of one grid as artifacts and claims see them. objective: what they were trained with, "" for
    weights from outside and for tasks without one."""

    paper: str
    name: str
    dataset: str
    network: str
    objective: str
    epochs: int
    runs: tuple[dict[str, Any], ...]
    not_testable: str | None
    # evaluation -> reason why it cannot be had for this group
    missing: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """What scripts are given of a group; `results.groups_from_json` reads it."""
        return {
            "dataset": self.dataset, "network": self.network, "objective": self.objective,
            "runs": list(self.runs), "not_testable": self.not_testable, "missing": self.missing,
        }  # fmt: skip


@dataclass(frozen=True)
class ArtifactPlan:
    """An artifact, the content its script gets, and the (run, evaluation) results it reads."""

    paper: str
    name: str
    kind: str
    content: dict[str, Any]
    results: tuple[tuple[str, str], ...]
    histories: tuple[str, ...]

    @property
    def plugin(self) -> str:
        """Name of the table or figure module that draws it."""
        return self.content[self.kind]["name"]


@dataclass(frozen=True)
class ClaimsPlan:
    """All claims of one paper, likewise."""

    paper: str
    content: dict[str, Any]
    rules: tuple[str, ...]
    results: tuple[tuple[str, str], ...]


@dataclass
class Expansion:
    """Everything a tier asks for. `aliases`: names whose spec equals that of the named run or field;
    `removed`: names that depend on an unavailable source, with the reason."""

    tier: str
    catalogue: DatasetsFile
    runs: dict[str, Run] = field(default_factory=dict)
    fields: dict[str, Field] = field(default_factory=dict)
    evaluations: dict[tuple[str, str], Evaluation] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], ArtifactPlan] = field(default_factory=dict)
    claims: dict[str, ClaimsPlan] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    removed: dict[str, str] = field(default_factory=dict)
    # source -> path chosen by the user; used in place
    paths: dict[str, str] = field(default_factory=dict)

    def runs_behind(self, spec: dict[str, Any]) -> set[str]:
        """Every run that a spec is made from, directly or through fields and other runs."""
        found: set[str] = set()
        for given in spec["inputs"].values():
            if "field" in given:
                found |= self.runs_behind(self.fields[given["field"]].spec)
            elif "evaluation" not in given and "run" in given:
                found |= {given["run"]} | self.runs_behind(self.runs[given["run"]].spec)
        return found

    def depth(self, spec: dict[str, Any]) -> int:
        """Longest chain of evaluations behind a spec."""
        depths = [0]
        for given in spec["inputs"].values():
            if "evaluation" in given:
                depths.append(1 + self.evaluations[given["run"], given["evaluation"]].depth)
            elif "field" in given:
                depths.append(self.depth(self.fields[given["field"]].spec))
            elif "run" in given:
                depths.append(self.depth(self.runs[given["run"]].spec))
        return max(depths)
