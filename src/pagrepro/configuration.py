"""Reading `config/`: files to checked models, one clear message for the first mistake. Torch-free."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pagrepro.errors import ConfigError
from pagrepro.problems import problems
from pagrepro.settings import Settings, Tier
from pagrepro.spec import DatasetsFile
from pagrepro.template import TemplateError, overlay

Model = TypeVar("Model", bound=BaseModel)

PAPER_KEYS = (
    "title", "citation", "category", "settings", "runs", "fields", "evaluations", "artifacts", "claims",
)  # fmt: skip

# The cross-paper matrix is written like a paper, but is none.
MATRIX = "matrix"


@dataclass(frozen=True)
class Paper:
    """One paper file with the tier's settings laid over its own; the rest is expanded later. category: what
    the report calls it."""

    key: str
    file: str
    settings: dict[str, Any]
    sections: dict[str, Any]

    @property
    def category(self) -> str:
        """Its heading in the report: the key, unless the file says another."""
        return self.sections.get("category") or self.key


@dataclass(frozen=True)
class Configuration:
    """Everything that was read. complete: no paper file was left out by `papers`."""

    settings: Settings
    tier: Tier
    sources_and_datasets: DatasetsFile
    papers: dict[str, Paper]
    complete: bool = True


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML that refuses a key given twice: the second would silently win. libyaml reads it if it is there."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    seen = [loader.construct_object(key) for key in keys]
    twice = {key for key in seen if seen.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(
            problem=f"key given twice: {twice}", problem_mark=node.start_mark
        )
    loader.flatten_mapping(node)
    return {
        loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value
    }


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """One YAML file as a mapping. Raises ConfigError when it is missing, broken or not a mapping."""
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "nothing"
        raise ConfigError(path, "(file)", "no such file", f"one of those in {path.parent}: {there}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError(path, "(file)", str(error).replace("\n", " "), "YAML") from error
    if not isinstance(content, dict):
        raise ConfigError(path, "(file)", type(content).__name__, "a mapping of keys to values")
    return content


def check(model: type[Model], value: Any, file: str | Path, *where: str) -> Model:
    """`model(**value)`, or a ConfigError that lists file, key path, found and allowed."""
    if not isinstance(value, dict):
        raise ConfigError(file, ".".join(where) or "(file)", repr(value), "a mapping")
    try:
        return model(**value)
    except ValidationError as error:
        first, *rest = [p.below(*where) for p in problems(error, model)]
        more = f"\n  ({len(rest)} more: {', '.join(p.key for p in rest)})" if rest else ""
        raise ConfigError(file, first.key, repr(first.found), first.allowed + more) from error


def of_tier(tier: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Snakemake's config without Snakemake: `config/config.yaml`, and over it `more` (what --config said) and
    the tier."""
    return read_yaml(Path("config/config.yaml")) | (more or {}) | {"tier": tier}


def load(config: dict[str, Any], root: Path = Path(".")) -> Configuration:
    """Check `config/` under `root`; `config`: config.yaml, profile and command line as one."""
    folder = root / "config"
    tiers = sorted(p.stem for p in (folder / "tiers").glob("*.yaml"))
    if config.get("tier") not in tiers:
        raise ConfigError(
            "(command line)", "tier", config.get("tier", "no tier was chosen"),
            "a profile chooses one: snakemake --profile profiles/demo | profiles/local | profiles/slurm;"
            f" or --config tier=<one of {', '.join(tiers)}>",
        )  # fmt: skip
    settings = check(Settings, config, folder / "config.yaml")
    tier_file = folder / "tiers" / f"{settings.tier}.yaml"
    tier = check(Tier, read_yaml(tier_file), tier_file)
    datasets_file = folder / "datasets.yaml"
    datasets = check(DatasetsFile, read_yaml(datasets_file), datasets_file)
    _check_sources(datasets, tier, settings, datasets_file, tier_file)
    known = sorted(p.stem for p in [*(folder / "papers").glob("*.yaml"), *folder.glob(f"{MATRIX}.yaml")])
    for key in tier.settings:
        if key not in known:
            raise ConfigError(tier_file, f"settings.{key}", "unknown paper", ", ".join(known))
    papers = {key: _paper(key, folder, tier, tier_file) for key in settings.papers}
    return Configuration(settings, tier, datasets, papers, complete=set(known) <= set(papers))


def _paper(key: str, folder: Path, tier: Tier, tier_file: Path) -> Paper:
    file = folder / (f"{MATRIX}.yaml" if key == MATRIX else f"papers/{key}.yaml")
    content = read_yaml(file)
    for section in content:
        if section not in PAPER_KEYS:
            raise ConfigError(file, section, "unknown section", ", ".join(PAPER_KEYS))
    try:
        settings = overlay(content.get("settings") or {}, tier.settings.get(key, {}))
    except TemplateError as error:
        raise ConfigError(
            tier_file, f"settings.{key}", str(error), f"keys of `settings` in {file}"
        ) from error
    return Paper(key, str(file), settings, {k: v or {} for k, v in content.items() if k != "settings"})


def _check_sources(
    content: DatasetsFile, tier: Tier, settings: Settings, datasets_file: Path, tier_file: Path
) -> None:
    known = ", ".join(content.sources)
    for name, dataset in content.datasets.items():
        for role, source in dataset.sources.items():
            if source not in content.sources:
                raise ConfigError(datasets_file, f"datasets.{name}.sources.{role}", source, known)
        for split, rows in dataset.splits.items():
            # Without sizes nothing is known of the parts before the data are loaded.
            if dataset.parts and rows.part not in dataset.parts:
                key = f"datasets.{name}.splits.{split}.part"
                raise ConfigError(datasets_file, key, rows.part, ", ".join(dataset.parts))
    for source in tier.unavailable:
        if source not in content.sources:
            raise ConfigError(tier_file, "unavailable", source, known)
    for source in settings.paths:
        if source not in content.sources:
            raise ConfigError(
                datasets_file.parent / "config.yaml", f"paths.{source}", "unknown source", known
            )
