"""Adversarial training with PGD-10: an attack that differentiates images only, and one by `loss.backward()`.

Madry et al. (2018), Eq. 2.1, with PGD on the cross-entropy in the max norm, as in the comparison of
Srinivas et al. (2023), section 5. An attack needs the gradient of the images. Written with
`loss.backward()`, as public code has it, every step of the attack also computes the gradients of all
weights, which nobody uses: a third of its work. Both start at the same random point and take the same
steps, so that the gradient of the weights is the same.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _measure import (
    alternate,
    bar,
    costs,
    note,
    parameter_gradient,
    passes,
    ratios,
    relative_error,
)  # fmt: skip
from alignment_all_classes import PLAIN, Loss, examples, network, project_objective
from pagrepro.batch import Batch
from pagrepro.batchnorm import evaluation_mode

NAME = "a training step with PGD-10 (ResNet-18, as for CIFAR-10)"

# Width of the network and size of the batch by device; 64 is the paper's.
WIDTH = {"cpu": 16, "cuda": 64}
BATCH = {"cpu": 16, "cuda": 256}
EPS, STEP, STEPS = 8 / 255, 2 / 255, 10
OURS = "PGD-10"
BY_BACKWARD = "PGD-10 by loss.backward()"
# Forward, and backward to activations and to weights, are a unit each: 23 of 33, and the first layer besides.
FLOP_LIMIT = 0.72
ERROR_LIMIT = 1e-10  # of the parameter gradient, float64

ATTACK = {"name": "pgd", "norm": "linf", "eps": EPS, "steps": STEPS, "step_size": STEP}


def by_backward(model: nn.Module, batch: Batch) -> Tensor:
    """The loss at the end of an attack whose every step fills the gradients of the weights."""
    x, generator = batch.augmented().detach(), torch.Generator(batch.x.device)
    noise = torch.rand(x.shape, generator=generator, device=x.device)
    moved = (x + EPS * (2 * noise - 1).to(x)).clamp(0, 1)
    with evaluation_mode(model):
        for _ in range(STEPS):
            moved.requires_grad_()
            model.zero_grad()
            F.cross_entropy(model(moved), batch.y, reduction="sum").backward()
            ascended = moved.detach() + STEP * moved.grad.sign()
            moved = torch.clamp(ascended, x - EPS, x + EPS).clamp(0, 1)
    model.zero_grad()
    return F.cross_entropy(model(moved), batch.y)


def variants() -> dict[str, Loss]:
    """Loss by name. A step is the parameter gradient of the loss; the optimizer's update is left out."""
    return {
        PLAIN: project_objective("cross_entropy"),
        OURS: project_objective("adversarial_training", attack=ATTACK),
        BY_BACKWARD: by_backward,
    }


def error(device: torch.device, side: int, ours: Loss) -> float:
    """Relative difference of the float64 parameter gradient from that of the plain formulation."""
    batch, found = examples(2, side, device, torch.float64), []
    for loss in (ours, by_backward):
        model = network(8, device, torch.float64)
        found.append(parameter_gradient(loss(model, batch), model))
    return relative_error(*found)


def run(device: torch.device, quick: bool) -> dict[str, Any]:
    """Rows, bars and settings; quick: a narrower network, fewer and smaller images and one short round."""
    width, n = (8, 4) if quick else (WIDTH[device.type], BATCH[device.type])
    side, rounds, slice_s = (16, 1, 0.05) if quick else (32, 3, 0.2)
    losses = variants()
    note("  error in float64, passes, operations and memory")
    errors = {OURS: error(device, side, losses[OURS])}
    model, batch = network(width, device), examples(n, side, device)
    steps = {name: functools.partial(_step, loss, model, batch) for name, loss in losses.items()}
    steps[PLAIN]()  # the first step of a process also loads and chooses kernels
    counts = {name: costs(step, device) for name, step in steps.items()}
    through = {name: passes(step, model) for name, step in steps.items()}
    note(f"  time, {rounds} rounds")
    timing = ratios(alternate(steps, rounds, device, slice_s), BY_BACKWARD)
    rows = []
    for name in losses:
        forward, backward = through[name]
        row = {"variant": name, "forward": forward / n, "backward": backward / n, **timing[name]}
        row |= {**counts[name], "FLOP ratio": counts[name]["GFLOP"] / counts[BY_BACKWARD]["GFLOP"]}
        rows.append(row | {"error": errors.get(name)})
    settings = {"width": width, "batch": n, "image side": side, "rounds": rounds}
    return {"rows": rows, "bars": bars(rows), "settings": settings}


def _step(loss: Loss, model: nn.Module, batch: Batch) -> None:
    parameter_gradient(loss(model, batch), model)


def bars(rows: list[dict]) -> list[dict]:
    """The same gradient of the weights, without the third of the operations that nobody uses."""
    ours = next(row for row in rows if row["variant"] == OURS)
    return [
        bar(f"{OURS}: exact in float64", ours["error"], ERROR_LIMIT, "relative"),
        bar(f"{OURS}: operations", ours["FLOP ratio"], FLOP_LIMIT, f"times {BY_BACKWARD}"),
    ]
