"""Paper files -> declared runs, fields, evaluations, artifacts and claims, grids filled in. Torch-free.

Nothing is looked up across declarations here; `resolve.py` does that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from pagrepro.configuration import Configuration, Paper, check
from pagrepro.errors import ConfigError
from pagrepro.patterns import matches
from pagrepro.spec import Artifact, Claim, ClaimPart, EvaluationTemplate, FieldTemplate, RunTemplate
from pagrepro.template import TemplateError, combinations, fill

Template = TypeVar("Template", bound=BaseModel)


@dataclass(frozen=True)
class Declared(Generic[Template]):
    """One filled-in declaration and where it stands (for messages)."""

    paper: str
    group: str
    file: str
    where: str
    template: Template

    def error(self, key: str, found: object, allowed: str) -> ConfigError:
        """The mistake at `key` of this declaration, with what was found and what is allowed."""
        return ConfigError(self.file, f"{self.where}.{key}", repr(found), allowed)


@dataclass
class Declarations:
    """Everything that the configuration files declare, with grids expanded, before specs are resolved."""

    runs: dict[str, Declared[RunTemplate]] = field(default_factory=dict)
    fields: dict[str, Declared[FieldTemplate]] = field(default_factory=dict)
    # group "<paper>.<group>" -> [(run name, labels of the run in this group)]
    groups: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    # (run, evaluation) -> declaration
    evaluations: dict[tuple[str, str], Declared[EvaluationTemplate]] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], Declared[Artifact]] = field(default_factory=dict)
    claims: dict[tuple[str, str], Declared[Claim]] = field(default_factory=dict)


def declare(configuration: Configuration) -> Declarations:
    """Fill in every declaration of every paper. Raises ConfigError with file and key path."""
    found = Declarations()
    for paper in configuration.papers.values():
        for group in _group_names(paper):
            found.groups.setdefault(f"{paper.key}.{group}", [])
        for item in _filled(paper, "fields", FieldTemplate):
            _add(found.fields, item.template.name, item)
        for item in _filled(paper, "runs", RunTemplate):
            _add(found.runs, item.template.name, item)
            members = found.groups.setdefault(f"{paper.key}.{item.group}", [])
            members.append((item.template.name, {"seed": item.template.seed, **item.template.labels}))
    for paper in configuration.papers.values():
        _declare_evaluations(paper, found)
        _declare_artifacts(paper, found)
    return found


def _add(known: dict[str, Declared[Template]], name: str, item: Declared[Template]) -> None:
    """A name may be declared again (by another paper) only with the same content."""
    before = known.setdefault(name, item)
    if before.template != item.template:
        different = [
            key for key in type(item.template).model_fields
            if getattr(before.template, key) != getattr(item.template, key)
        ]  # fmt: skip
        raise item.error(
            "name", name, f"a name of its own: {before.file} {before.where} differs in {', '.join(different)}"
        )


def _filled(paper: Paper, section: str, model: type[Template]) -> Iterator[Declared[Template]]:
    for group, raw in paper.sections.get(section, {}).items():
        where = f"{section}.{group}"
        for values, filled in _combine(paper, where, raw):
            name = fill(group, {**paper.settings, **values})
            yield Declared(paper.key, name, paper.file, where, check(model, filled, paper.file, where))


def _group_names(paper: Paper) -> Iterator[str]:
    """Names of all groups of runs, also of those to which the tier gives no runs (an empty list of seeds)."""
    for key, raw in paper.sections.get("runs", {}).items():
        grid = (raw.get("grid") or {}) if isinstance(raw, dict) else {}
        used = {name: grid[name] for name in grid if f"{{{name}." in key or f"{{{name}}}" in key}
        for _, filled in _combine(paper, f"runs.{key}", {"grid": used, "group": key}):
            yield filled["group"]


def _combine(
    paper: Paper, where: str, raw: Any, extra: dict[str, Any] | None = None
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(values of the grid, declaration with every reference filled in) for each combination."""
    if not isinstance(raw, dict):
        raise ConfigError(paper.file, where, repr(raw), "a mapping")
    body = {key: value for key, value in raw.items() if key != "grid"}
    try:
        for values in combinations(raw.get("grid") or {}, {**paper.settings, **(extra or {})}):
            yield values, fill(body, {**paper.settings, **(extra or {}), **values})
    except TemplateError as error:
        raise ConfigError(paper.file, where, str(error), "a key of `settings` or of the grid") from error


def _declare_evaluations(paper: Paper, found: Declarations) -> None:
    for key, raw in paper.sections.get("evaluations", {}).items():
        where = f"evaluations.{key}"
        if not isinstance(raw, dict) or not isinstance(raw.get("groups"), list):
            raise ConfigError(paper.file, f"{where}.groups", repr(raw), "a list of group names or patterns")
        # The grid decides which groups; the rest may also refer to the run that is measured.
        for values, chosen in _combine(paper, where, {"grid": raw.get("grid"), "groups": raw["groups"]}):
            body = {"name": key, **{k: v for k, v in raw.items() if k not in ("grid", "groups")}}
            for group in expand_groups(paper, f"{where}.groups", chosen["groups"], found):
                for run, labels in found.groups[group]:
                    declared = found.runs[run].template
                    scope = {**values, **labels, "run": run, "run_dataset": declared.dataset}
                    _, filled = next(_combine(paper, where, body, scope))
                    template = check(EvaluationTemplate, {**filled, "groups": []}, paper.file, where)
                    _add_evaluation(found, run, Declared(paper.key, group, paper.file, where, template))


def _add_evaluation(found: Declarations, run: str, item: Declared[EvaluationTemplate]) -> None:
    before = found.evaluations.setdefault((run, item.template.name), item)
    if before.template != item.template:
        allowed = f"one meaning per run: {before.file} {before.where} already gives {run} another"
        raise item.error("name", item.template.name, allowed)


def _declare_artifacts(paper: Paper, found: Declarations) -> None:
    for name, raw in paper.sections.get("artifacts", {}).items():
        where = f"artifacts.{name}"
        for _, filled in _combine(paper, where, raw):
            artifact = check(Artifact, filled, paper.file, where)
            groups = tuple(expand_groups(paper, f"{where}.groups", artifact.groups, found))
            artifact = artifact.model_copy(update={"groups": groups})
            found.artifacts[paper.key, name] = Declared(paper.key, name, paper.file, where, artifact)
    for name, raw in paper.sections.get("claims", {}).items():
        where = f"claims.{name}"
        if not isinstance(raw, dict) or not isinstance(raw.get("parts"), list):
            raise ConfigError(paper.file, f"{where}.parts", repr(raw), "a list of parts")
        parts = [
            _claim_part(paper, f"{where}.parts.{number}", part, found)
            for number, declared in enumerate(raw["parts"])
            for _, part in _combine(paper, f"{where}.parts.{number}", declared)
        ]
        claim = check(Claim, {**_only_filled(paper, where, raw), "parts": parts}, paper.file, where)
        found.claims[paper.key, name] = Declared(paper.key, name, paper.file, where, claim)


def _only_filled(paper: Paper, where: str, raw: dict[str, Any]) -> dict[str, Any]:
    body = {key: value for key, value in raw.items() if key != "parts"}
    return next(_combine(paper, where, body))[1]


def _claim_part(paper: Paper, where: str, filled: dict[str, Any], found: Declarations) -> dict[str, Any]:
    part = check(ClaimPart, filled, paper.file, where)
    content = part.model_dump()
    for role, selection in part.select.items():
        content["select"][role]["groups"] = expand_groups(
            paper, f"{where}.select.{role}.groups", selection.groups, found
        )
    return content


def expand_groups(paper: Paper, where: str, patterns: Any, found: Declarations) -> list[str]:
    """Full group names for patterns; a pattern without a dot means a group of the same paper."""
    try:
        patterns = fill(list(patterns), paper.settings)
    except TemplateError as error:
        raise ConfigError(paper.file, where, str(error), "a key of `settings`") from error
    names: list[str] = []
    for pattern in patterns:
        full = pattern if "." in pattern else f"{paper.key}.{pattern}"
        hits = [name for name in found.groups if matches(full, name)]
        if not hits:
            raise ConfigError(
                paper.file, where, repr(pattern), ", ".join(found.groups) or "no group is declared"
            )
        names += [name for name in hits if name not in names]
    return names
