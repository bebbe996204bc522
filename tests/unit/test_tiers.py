"""What the tiers of one paper promise: validation cheaper than training, sizes that are those of the specs.

Bigolin Lanfredi et al. (2020), section 3.6: validation by eps50 never costs more than the training that it
selects from, at any tier. Costs are passes of one image through the network in one direction, as in
benchmarks/validation.py. Training is counted as plain training (3 passes per image), the cheapest, and
validation as if no example were ever fooled, the most expensive.
"""

import math
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from pagrepro import configuration, expand, plugins, splits
from pagrepro.expansion import Expansion
from pagrepro.request import MeasureRequest

ROOT = Path(__file__).parents[2]
PAPER = "lanfredi2020"
TRAINING_PASSES = 3

FAMILIES = {"demo": "s q mu m", "mnist": "s q mu m", "small": "s q mu m c", "full": "s q mu m c"}
CASES = [(tier, family) for tier, families in FAMILIES.items() for family in families.split()]


@cache
def expanded(tier: str) -> Expansion:
    config = configuration.read_yaml(ROOT / "config/config.yaml") | {"tier": tier}
    return expand.expand_loaded(configuration.load(config, ROOT), ROOT)


def classifiers(tier: str, family: str) -> dict[str, dict[str, Any]]:
    """Specs by name of a family of data's classifiers. Where the number of images is not known (chest_xray,
    whose parts are {}), nothing can be computed: left out."""
    expansion = expanded(tier)
    groups = [g for name, g in expansion.groups.items() if name.startswith(f"{PAPER}.{family}_")]
    specs = {member["run"]: expansion.runs[member["run"]].spec for group in groups for member in group.runs}
    return {
        name: spec
        for name, spec in specs.items()
        if spec["task"]["name"] == "classifier" and spec["dataset"]["parts"] != {}
    }


@cache
def listed(path: str, size: int) -> int:
    """Number of rows of an index file."""
    return len(splits.read_indices(ROOT / path, size))


def rows(spec: dict[str, Any], split: dict[str, Any]) -> int:
    """Number of examples of a resolved split."""
    size = spec["dataset"]["parts"][split["part"]]
    if split.get("without"):
        return size - listed(split["without"], size)
    return listed(split["indices"], size) if split.get("indices") else size


def images_per_epoch(spec: dict[str, Any]) -> int:
    fit = spec["fit"]
    assert fit["drop_last"]
    steps = fit["steps_per_epoch"] or rows(spec, spec["split"]) // fit["batch_size"]
    return steps * fit["batch_size"]


def most_passes(steps: int, budgets: int) -> int:
    """Per example, if none is ever fooled: the clean image, and for each budget of the bisection the steps
    (forward and backward), and forward x, the last iterate and the result."""
    return 1 + math.ceil(math.log2(budgets + 1)) * (2 * steps + 3)


def cost(spec: dict[str, Any]) -> tuple[float, float]:
    """Passes of all validations of a fit, and of its training."""
    (monitor,) = spec["monitor"]
    measure = monitor["measure"]
    assert (measure["name"], measure["mode"]) == ("eps50", "crossing")
    assert measure["attack"]["drop_fooled"]
    epochs = spec["fit"]["epochs"]
    # The last epoch is always measured.
    validations = math.ceil(epochs / monitor["every"])
    each = most_passes(measure["attack"]["steps"], len(measure["grid"]))
    validation = validations * rows(spec, monitor["split"]) * each
    return validation, epochs * images_per_epoch(spec) * TRAINING_PASSES


@pytest.mark.parametrize(("tier", "family"), CASES)
def test_tierss_no_more_than_training(tier, family):
    specs = classifiers(tier, family)
    assert specs
    costs = {name: cost(spec) for name, spec in specs.items()}
    above = {name: f"{v:.0f} of {t}: {v / t:.2f}" for name, (v, t) in costs.items() if v > t}
    assert not above


@pytest.mark.parametrize("tier", FAMILIES)
def test_every_classifier_that_validates_is_looked_at(tier):
    looked_at = {name for family in FAMILIES[tier].split() for name in classifiers(tier, family)}
    validating = {
        name
        for name, run in expanded(tier).runs.items()
        if any(monitor["measure"]["name"] == "eps50" for monitor in run.spec["monitor"])
    }
    unknown = {name for name in validating if expanded(tier).runs[name].spec["dataset"]["parts"] == {}}
    assert looked_at == validating - unknown


def test_all_tiers_are_looked_at():
    assert set(FAMILIES) == {path.stem for path in (ROOT / "config/tiers").glob("*.yaml")}


class Unfooled(torch.nn.Module):
    """Says class 0, whatever it sees."""

    def forward(self, x):
        return torch.tensor([1.0, 0.0]) + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize(("steps", "budgets"), [(3, 6), (3, 12), (5, 13), (2, 20)])
def test_largest_cost_is_that_of_examples_nobody_fools(steps, budgets):
    module = plugins.load("evaluations", "eps50")
    attack = {"name": "pgd", "norm": "linf", "eps": 0, "steps": steps, "step_size": 0.1, "keep": "worst"}
    grid = [0.01 * k for k in range(1, budgets + 1)]
    config = module.Config(attack={**attack, "drop_fooled": True}, grid=grid, mode="crossing")
    x, y = torch.full((4, 1, 2, 2), 0.5), torch.zeros(4, dtype=torch.int64)
    request = MeasureRequest(
        model=Unfooled(), x=x, y=y, index=torch.arange(4), classes=2, seed=0, low=0.0, high=1.0,
        device=x.device, batch_size=3,
    )  # fmt: skip
    values = module.measure(config, request).values
    assert values["forward_passes"] + values["backward_passes"] == most_passes(steps, budgets)


# --- what Table S1 says of the runs --------------------------------------------------------------------


def facts(tier: str, run: str) -> dict[str, int]:
    """Sizes as the specs have them: values of an example, and training, validation and test examples."""
    expansion = expanded(tier)
    spec, evaluations = (
        expansion.runs[run].spec,
        {e: v for (r, e), v in expansion.evaluations.items() if r == run},
    )
    measured = (evaluations.get("alignment") or evaluations["similarity"]).spec
    return {
        "n": math.prod(spec["dataset"]["shape"]),
        "train": images_per_epoch(spec) if spec["fit"]["fresh"] else rows(spec, spec["split"]),
        "val": sum(rows(spec, monitor["split"]) for monitor in spec["monitor"]),
        "test": rows(measured, measured["split"]),
    }


@pytest.mark.parametrize("tier", FAMILIES)
def test_sizes_in_labels_are_those_of_the_specs(tier):
    """They are written by hand in `settings`, and the table of set-ups shows them as what was used."""
    groups = [f"{family}_baseline" for family in FAMILIES[tier].split()] + ["q32_gan"]
    for group in groups:
        for member in expanded(tier).groups[f"{PAPER}.{group}"].runs:
            found = {key: member["labels"][key] for key in ("n", "train", "val", "test")}
            assert found == facts(tier, member["run"]), f"{tier}: settings of {member['run']}"


def test_imagenet_would_run_in_several_processes_where_it_is_at_hand(tmp_path):
    """With folders, weights and hashes of one's own the Swin and ResNet-50 families are there, from public
    weights, and their fits are started in as many processes as divide their micro-batches."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    catalogue = tmp_path / "config/datasets.yaml"
    text = catalogue.read_text(encoding="utf-8")
    for source in ("imagenet_swin_base", "imagenet_resnet50_a1"):
        at = text.index("hash: null", text.index(f"  {source}:"))
        text = f"{text[:at]}hash: sha256:{'0' * 64}{text[at + len('hash: null') :]}"
    catalogue.write_text(text, encoding="utf-8")
    paths = {"imagenet_train_folder": "/x", "imagenet_val_folder": "/x"}
    raw = configuration.read_yaml(ROOT / "config/config.yaml")
    raw |= {"tier": "full", "papers": ["rodriguezmunoz2024"], "paths": paths}
    loaded = configuration.load(raw, tmp_path)
    expansion = expand.expand_loaded(loaded, tmp_path)
    runs = expansion.runs
    assert runs["imagenet_swinb_gelu_gn_s0"].spec["inputs"]["initial"]["run"] == "imagenet_swinb"
    assert runs["imagenet_rn50_silu_gn_s0"].spec["inputs"]["initial"]["run"] == "imagenet_rn50_silu_nat_s0"
    several = {name: run for name, run in runs.items() if run.cost.devices > 1}
    assert several["imagenet_swinb_gelu_gn_s0"].cost.devices == 7
    assert several["imagenet_swinb_gelu_at_s0"].cost.devices == 8
    for run in several.values():
        assert run.spec["fit"]["micro_batches"] % run.cost.devices == 0
        assert run.spec["fit"]["batch_size"] % run.spec["fit"]["micro_batches"] == 0
