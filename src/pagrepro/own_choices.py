"""Which measurements there are for a model of one's own on a data set, and what each needs. Torch-free.

The paper files say what is measured and with which options: a choice is an evaluation that they declare for
some run on the data set, with another model in the place of that run. What other runs, fields or files give
to it is found through the same declarations, so numbers stand beside those of the tier's own runs."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pagrepro import configuration, plugins
from pagrepro.declare import declare
from pagrepro.errors import ConfigError, UserError
from pagrepro.expansion import Evaluation
from pagrepro.patterns import matches
from pagrepro.removal import check_results
from pagrepro.resolve import Resolver, Unavailable
from pagrepro.spec import canonical_json

# Tasks whose runs are what is measured here: a network of examples to logits.
CLASSIFIERS = ("classifier", "external")


@dataclass
class Choice:
    """One measurement. name: `<paper>.<evaluation>`, with the options that tell it from others of that name;
    also: other names for the very same; measure: the plugin with its options; members: (group, run,
    evaluation) that the papers measure so; template: the first of them that can be resolved; never: why no
    model of one's own has it, whatever is given; absent: what is not at hand at this tier."""

    name: str
    measure: dict[str, Any]
    split: str
    members: list[tuple[str, str, str]] = field(default_factory=list)
    also: list[str] = field(default_factory=list)
    template: Evaluation | None = None
    never: str | None = None
    absent: str | None = None

    @property
    def plugin(self) -> str:
        """Name of the measurement's module."""
        return self.measure["name"]

    def answers_to(self, pattern: str) -> bool:
        """Whether a pattern means this choice: a whole name, the evaluation's alone, or that of its
        plugin."""
        whole = [self.name.partition(" ")[0], *self.also]
        short = [name.partition(".")[2] for name in whole]
        return any(matches(pattern, name) for name in (self.name, self.plugin, *whole, *short))


class Catalogue:
    """The paper files of one tier, asked for what they measure on a data set."""

    def __init__(self, tier: str, root: Path):
        file = root / "config" / "config.yaml"
        if not file.is_file():
            raise UserError(
                f"{file}: no such file; the measurements are declared in the repository's config/:"
                " run this in"
                " its folder, or give that folder as root"
            )
        self.loaded = configuration.load(configuration.read_yaml(file) | {"tier": tier}, root)
        self.tier, self.root = tier, root
        self.declared = declare(self.loaded)
        self.resolver = Resolver(self.loaded, self.declared, root)

    def dataset(self, name: str) -> dict[str, Any]:
        """Label, shape, classes and range of a data set. Raises ConfigError for one that is not declared."""
        datasets = self.loaded.sources_and_datasets.datasets
        if name not in datasets:
            raise ConfigError(self.root / "config/datasets.yaml", "datasets", name, ", ".join(datasets))
        entry = datasets[name]
        return {
            "name": name, "label": entry.label, "shape": list(entry.shape), "classes": entry.classes,
            "low": entry.low, "high": entry.high,
        }  # fmt: skip

    def choices(self, dataset: str) -> list[Choice]:
        """Every measurement that the papers take on a data set, in their order.

        Raises ConfigError for a data set that is not declared or that no paper measures on at this tier.
        """
        self.dataset(dataset)
        found: dict[str, Choice] = {}
        for (run, name), item in self.declared.evaluations.items():
            t, declared = item.template, self.declared.runs[run].template
            if (t.dataset or declared.dataset) != dataset:
                continue
            never = _never(t.measure["name"], declared.task["name"])
            label = f"{item.paper}.{name}"
            # Without inputs, nothing but this tells measurements apart; two papers may ask for the same one.
            alike = [t.measure, t.split, t.seed, t.batch_size, never, label if t.inputs else None]
            choice = found.setdefault(canonical_json(alike), Choice(label, t.measure, t.split, never=never))
            choice.members.append((item.group, run, name))
            if label not in (choice.name, *choice.also):
                choice.also.append(label)
        if not found:
            what = f"nothing is measured on {dataset} at tier {self.tier}"
            allowed = f"at this tier: {', '.join(self._measured_on())}; or another tier"
            raise ConfigError(self.root / "config/papers", "evaluations", what, allowed)
        for choice in found.values():
            self._resolve(choice)
        return _told_apart(list(found.values()))

    def _measured_on(self) -> list[str]:
        runs = self.declared.runs
        pairs = self.declared.evaluations.items()
        return sorted({item.template.dataset or runs[run].template.dataset for (run, _), item in pairs})

    def _resolve(self, choice: Choice) -> None:
        reason = None
        for _, run, evaluation in choice.members:
            try:
                choice.template = self.resolver.get("evaluation", run, evaluation)
                return
            except Unavailable as error:
                reason = str(error)
        choice.absent = f"not to be had at tier {self.tier}: {reason}"

    def member(self, run: str, evaluation: str) -> Evaluation | None:
        """The resolved measurement of a run that the papers measure; None where it cannot be had."""
        try:
            return self.resolver.get("evaluation", run, evaluation)
        except Unavailable:
            return None

    def needs(self, choice: Choice) -> list[str]:
        """What has to be given besides model and data: runs of a results folder, files from outside."""
        if choice.template is None:
            return []
        optional = plugins.roles("evaluations", choice.plugin)
        found: dict[str, None] = {}
        for role, given in choice.template.spec["inputs"].items():
            mark = " (optional)" if optional.get(role, "").endswith("?") else ""
            found |= dict.fromkeys(what + mark for what in self._behind(given, choice.template.run))
        return list(found)

    def _behind(self, given: dict[str, str], run: str) -> list[str]:
        out = self.resolver.out
        if "source" in given:
            return [f"file {given['source']}"]
        if "evaluation" in given and given["run"] != run:
            return [f"measurement {given['evaluation']} of run {given['run']}"]
        if "field" not in given and "evaluation" not in given:
            return [] if given["run"] == run else [f"run {given['run']}"]
        made = out.fields[given["field"]] if "field" in given else out.evaluations[run, given["evaluation"]]
        return [what for inner in made.spec["inputs"].values() for what in self._behind(inner, run)]


def select(choices: list[Choice], wanted: str | list[str]) -> list[Choice]:
    """The choices that are meant: "all", or names and patterns (`pgd_*`), separated by commas.

    Raises UserError for a name that means nothing.
    """
    names = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    names = [name.strip() for name in names if name.strip()]
    if names == ["all"]:
        return choices
    for name in names:
        if not any(choice.answers_to(name) for choice in choices):
            there = ", ".join(choice.name for choice in choices)
            raise UserError(f"measurements: nothing is called {name!r} here\n  there are: all, {there}")
    return [choice for choice in choices if any(choice.answers_to(name) for name in names)]


def list_measurements(
    dataset: str = "digits", tier: str | None = None, root: str | Path | None = None
) -> list[dict[str, Any]]:
    """What `measure` can measure on a data set: name, plugin, split, `needs` (what has to be given besides
    the model) and `never` (why no model of one's own has it, or None)."""
    catalogue = Catalogue(*place(dataset, tier, None, root))
    return [
        {
            "name": choice.name, "plugin": choice.plugin, "split": choice.split, "also": choice.also,
            "needs": catalogue.needs(choice), "never": choice.never, "absent": choice.absent,
        }
        for choice in catalogue.choices(dataset)
    ]  # fmt: skip


def place(
    dataset: str, tier: str | None, results: str | Path | None, root: str | Path | None
) -> tuple[str, Path]:
    """(tier, folder of the repository). Raises UserError when the tier is not said and there are several."""
    here = Path(root) if root is not None else Path(".")
    if root is None and not (here / "config" / "config.yaml").is_file():
        here = plugins.PACKAGE.parents[1]  # of an editable installation
    if results is not None:
        check_results(Path(results))
        name = Path(results).absolute().name
        tier = tier or (name if (here / "config" / "tiers" / f"{name}.yaml").is_file() else None)
    if tier is None:
        there = tiers_with(dataset, here)
        if len(there) != 1:
            raise UserError(
                f"{dataset}: measured at {'tiers ' + ', '.join(there) if there else 'no tier'}, each with"
                " settings of its own: say which (tier)"
            )
        tier = there[0]
    return tier, here


def tiers_with(dataset: str, root: Path) -> list[str]:
    """Tiers of which some setting names the data set, and that have its files."""
    found = []
    base = configuration.read_yaml(root / "config" / "config.yaml")
    for path in sorted((root / "config" / "tiers").glob("*.yaml")):
        loaded = configuration.load(base | {"tier": path.stem}, root)
        entry = loaded.sources_and_datasets.datasets.get(dataset)
        settings = [paper.settings for paper in loaded.papers.values()]
        fixed = [paper.sections.get("runs", {}) for paper in loaded.papers.values()]
        at_hand = entry and not set(entry.sources.values()) & set(loaded.tier.unavailable)
        if at_hand and _names(dataset, [settings, fixed]):
            found.append(path.stem)
    return found


def _names(dataset: str, value: Any) -> bool:
    if isinstance(value, dict):
        return value.get("dataset") == dataset or any(_names(dataset, inner) for inner in value.values())
    return isinstance(value, list) and any(_names(dataset, inner) for inner in value)


def _never(measure: str, task: str) -> str | None:
    """Why a measurement says nothing about a classifier of one's own."""
    if task not in CLASSIFIERS:
        return f"it is taken of a run of task {task}, not of a classifier"
    if plugins.constant("evaluations", measure, "REPLAYS", False):
        return "it evaluates a training step again, for which the model has to be a run of the workflow"
    if not plugins.constant("evaluations", measure, "OF_MODEL", True):
        return "it checks theorems on models of its own, and does not look at the one that is given"
    return None


def _told_apart(choices: list[Choice]) -> list[Choice]:
    """Choices of one name get the options (or the split) in which they differ behind it."""
    for name in {choice.name for choice in choices}:
        same = [choice for choice in choices if choice.name == name]
        if len(same) == 1:
            continue
        flat = [{"split": c.split, **_flat(c.measure)} for c in same]
        keys = [k for k in dict.fromkeys(k for f in flat for k in f) if len({f.get(k) for f in flat}) > 1]
        for number, (choice, options) in enumerate(zip(same, flat, strict=True), 1):
            ending = " ".join(f"{key}={options[key]}" for key in keys if key in options)
            choice.name += f" {ending or f'({number})'}"
    return choices


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            found |= _flat(inner, f"{prefix}{key}.")
        else:
            found[prefix + key] = inner if isinstance(inner, str) else json.dumps(inner)
    return found
