"""Validation by eps50 after an epoch, against the epoch itself.

Bigolin Lanfredi et al. (2020), section 3.6: the best epoch is that with the highest eps50 on a validation
part. The published way attacks all of it at every budget after every epoch. Here a bisection for the crossing
of one half attacks a subset, and only examples whose answer is not known yet. Proportions, budgets and steps
are those of MNIST in config/papers/lanfredi2020.yaml: 54,000 training images in an epoch, 6,000 for
validation, of which 1,000 are used here; images and network are small, and numbers of images a twentieth.

A pass is one of a single image through the network in one direction. A training step has three (forward, and
backward to activations and to weights), a step of PGD two (forward, and backward to the image).
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import _digits
from _measure import alternate, bar, note, ratios
from pagrepro import plugins
from pagrepro.request import Measurement

NAME = "validation by eps50, and the epoch of training that it selects from"

TRAINING_PASSES = 3
BATCH = 64
STEPS = 40
GRID = (0.02, 0.04, 0.06, 0.1, 0.14, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
SIZE = 16
IMAGES = {"training": 54000, "subset": 1000, "all": 6000}
TRAINING = "an epoch of plain training"
CROSSING = "crossing, of a subset"
PUBLISHED = "every budget, of all images"
VALIDATIONS = {CROSSING: ("subset", "crossing"), PUBLISHED: ("all", "grid")}
EVERY = {TRAINING: 1, CROSSING: 3, PUBLISHED: 1}  # epochs from one to the next
LIMIT = 1.0  # of the training


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, images: int) -> None:
    """An epoch of `images` images: passes over (x, y), the last one as far as needed, on a copy."""
    model = copy.deepcopy(model).train().requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    while images:
        n = min(images, len(x))
        _digits.epoch(model, optimizer, x[:n], y[:n], BATCH)
        images -= n


def validate(model: nn.Module, x: torch.Tensor, y: torch.Tensor, mode: str) -> Measurement:
    """The project's own measurement; in mode grid no example is dropped."""
    module = plugins.load("evaluations", "eps50")
    attack = {
        "name": "pgd", "norm": "linf", "eps": 0, "steps": STEPS, "step_size": 0.02, "unit": 0.5,
        "keep": "worst", "drop_fooled": mode != "grid",
    }  # fmt: skip
    return module.measure(module.Config(attack=attack, grid=GRID, mode=mode), _digits.request(model, x, y))


def run(device: torch.device, quick: bool) -> dict:
    """Rows, bars and settings; quick: fewer images, one round, no bar for the time."""
    share, rounds = (100, 1) if quick else (20, 2)
    epochs = 12
    images = {name: count // share for name, count in IMAGES.items()}
    model = _digits.fitted(device, epochs, size=SIZE)
    found: dict[str, Measurement] = {}
    note(f"  {images['training']} images in an epoch, {images['all']} for validation, {rounds} rounds")
    steps = _steps(model, images, device, found)
    for name in (TRAINING, CROSSING):
        steps[name]()  # first calls load and choose kernels
    timing = ratios(alternate(steps, rounds, device, slice_s=0.0), TRAINING)
    counts = {TRAINING: images["training"]} | {name: images[part] for name, (part, _) in VALIDATIONS.items()}
    rows = [_row(name, counts, found, timing[name]) for name in steps]
    settings = {"epochs before": epochs, "budgets": len(GRID), "steps": STEPS, "rounds": rounds}
    return {"rows": rows, "bars": bars(rows)[: 1 if quick else 2], "settings": settings}


def _steps(
    model: nn.Module, images: dict[str, int], device: torch.device, found: dict[str, Measurement]
) -> dict[str, Callable[[], None]]:
    """What is timed, by name; validations leave their result in `found`."""
    x, y = _digits.part("train", device, size=SIZE)

    def step(name: str, part: str, mode: str) -> Callable[[], None]:
        inputs = _digits.part("test", device, images[part], SIZE)
        return lambda: found.update({name: validate(model, *inputs, mode)})

    validations = {name: step(name, *what) for name, what in VALIDATIONS.items()}
    return {TRAINING: lambda: train(model, x, y, images["training"]), **validations}


def _row(
    name: str, counts: dict[str, int], found: dict[str, Measurement], timing: dict[str, float]
) -> dict[str, Any]:
    """All but the passes per image and the seconds are per epoch of training."""
    values = found[name].values if name in found else {}
    each = values["forward_passes"] + values["backward_passes"] if values else TRAINING_PASSES
    passes = each * counts[name] / EVERY[name]
    row: dict[str, Any] = {"variant": name, "images": counts[name], "every": EVERY[name]}
    row |= {"passes per image": each, "passes per epoch": passes}
    row["passes ratio"] = passes / (TRAINING_PASSES * counts[TRAINING])
    row["seconds"] = timing["seconds"]
    row |= {key: timing[key] / EVERY[name] for key in ("time ratio", "lowest", "highest")}
    return row | {"eps50_grid": values.get("eps50_grid")}


def bars(rows: list[dict]) -> list[dict]:
    """The crossing takes no more than the training, in passes and in time."""
    row = next(row for row in rows if row["variant"] == CROSSING)
    return [
        bar(f"{CROSSING}: passes", row["passes ratio"], LIMIT, "of an epoch of training"),
        bar(f"{CROSSING}: time", row["time ratio"], LIMIT, "of an epoch of training"),
    ]
