"""Gradient-norm training against plain and PGD-3 training: passes, operations and seconds of a step.

Rodriguez-Munoz et al. (2024), Table 3 (2, 5 and 8 passes; 0.255, 0.628 and 1 of the time of PGD-3), on the
network of their appendix F. The paper's attack computes gradients of weights, too, which nobody uses: that is
a variant of its own here. The penalty is compared in float64 with the equation written out, image by image;
compiled, it is measured on GPUs only, since compiling this network takes many minutes on a CPU.
"""

import functools
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _measure import (
    alternate,
    bar,
    gflop,
    note,
    parameter_gradient,
    passes,
    peak_mb,
    ratios,
    relative_error,
)  # fmt: skip
from alignment_all_classes import project_objective
from pagrepro import plugins
from pagrepro.augment import Augment, draw
from pagrepro.batch import Batch

NAME = "a training step with the gradient norm, beside plain and PGD-3 (PreActResNet-18)"

# Width of the network by device; 64 is the paper's.
WIDTH = {"cpu": 16, "cuda": 64}
BATCH = {"cpu": 32, "cuda": 256}
CLASSES = 10
EPS = 8 / 255
WEIGHT, OTHER_WEIGHT = 1.2, 0.8  # of the penalty and of the cross-entropy
SIGMA, SCALE = 0.225, 4 / 255
PLAIN = "plain cross-entropy"
OURS = "gradient norm"
COMPILED = "gradient norm, compiled"
ATTACKED = "PGD-3"
WASTEFUL = "PGD-3, gradients of weights in the attack too"
# Section 6 of the paper's cost: 6 of 9 units, the first layer's input gradient besides.
FLOP_LIMIT = 0.70  # of PGD-3
WASTE_LIMIT = 0.80  # of the attack with gradients of weights
ERROR_LIMIT = 1e-10  # of the parameter gradient of the penalty, float64

Step = Callable[[nn.Module, Batch], Tensor]

PGD_3 = {"name": "pgd", "norm": "linf", "eps": EPS, "steps": 3, "relative_step": 2}
NORM = {
    "name": "gradient_norm", "norm": "l1", "space": "normalized", "weight": WEIGHT, "scale": SCALE,
    "sigma": SIGMA, "cross_entropy_weight": OTHER_WEIGHT,
}  # fmt: skip


def wasteful(model: nn.Module, batch: Batch) -> Tensor:
    """PGD-3 with backward passes to all weights in the attack, as `loss.backward()` makes them."""
    x = batch.augmented().detach()
    moved = x + EPS * (2 * torch.rand_like(x) - 1)
    for _ in range(3):
        moved = moved.clamp(0, 1).detach().requires_grad_()
        loss = F.cross_entropy(model(moved), batch.y)
        slope, *_ = torch.autograd.grad(loss, [moved, *model.parameters()])
        moved = x + (moved + 2 / 3 * EPS * slope.sign() - x).clamp(-EPS, EPS)
    return F.cross_entropy(model(moved.clamp(0, 1).detach()), batch.y)


def variants(compiled: bool) -> dict[str, Step]:
    """Loss by name. A step is the parameter gradient of the loss; the optimizer's update is left out."""
    found = {PLAIN: project_objective(name="cross_entropy"), OURS: project_objective(**NORM)}
    if compiled:
        found[COMPILED] = project_objective(**NORM, compiled=True)
    return found | {
        ATTACKED: project_objective(name="adversarial_training", attack=PGD_3),
        WASTEFUL: wasteful,
    }


def written_out(model: nn.Module, batch: Batch) -> Tensor:
    """Parameter gradient of the penalty of Eq. 2, one image after another, in the normalised coordinates
    themselves."""
    total = torch.zeros((), dtype=batch.x.dtype, device=batch.x.device)
    # The layers behind the normalisation see z as it is.
    normalize, model.normalize = model.normalize, nn.Identity()
    for x, y in zip(batch.augmented(), batch.y):
        z = normalize(x[None]).requires_grad_()
        loss = F.cross_entropy(model(z), y[None])
        slope = torch.autograd.grad(loss, z, create_graph=True)[0]
        total = total + WEIGHT * SCALE / SIGMA * slope.abs().sum()
    model.normalize = normalize
    return parameter_gradient(total / len(batch.y), model)


def network(width: int, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """As at the beginning of the paper's training from scratch, in train mode; its batch normalisation is
    frozen."""
    torch.manual_seed(0)
    spec = plugins.resolve("models", {"name": "preact_resnet18", "width": width})
    return plugins.instantiate("models", spec, (3, 32, 32), CLASSES).to(device, dtype).train()


def examples(n: int, side: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Batch:
    """Random images and labels, with a crop and flip."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, side, side, generator=g, dtype=torch.float64).to(device, dtype)
    y = torch.randint(CLASSES, (n,), generator=g).to(device)
    drawn = draw(Augment(crop_padding=4, flip=True), n, (3, side, side), torch.Generator(device))
    return Batch(x, y, torch.arange(n, device=device), drawn, progress=1.0)


def errors(device: torch.device, side: int, compiled: bool) -> dict[str, float]:
    """Relative error of the float64 parameter gradient of the penalty alone, which is small beside that of
    the cross-entropy."""
    model, batch = network(4, device, torch.float64), examples(2, side, device, torch.float64)
    expected, found = written_out(model, batch), {}
    for name in (OURS, COMPILED) if compiled else (OURS,):
        alone = {**NORM, "cross_entropy_weight": 0, "compiled": name == COMPILED}
        loss = project_objective(**alone)(model, batch)
        found[name] = relative_error(parameter_gradient(loss, model), expected)
    return found


def run(device: torch.device, quick: bool) -> dict:
    """Rows, bars and settings; quick: a narrower network, fewer and smaller images, one short round, nothing
    compiled."""
    width = 4 if quick else WIDTH[device.type]
    n, side, rounds, slice_s = (4, 16, 1, 0.05) if quick else (BATCH[device.type], 32, 3, 0.2)
    compiled = device.type == "cuda" and not quick
    note("  error in float64, passes and operations")
    error = errors(device, side, compiled)
    losses, model, batch = variants(compiled), network(width, device), examples(n, side, device)
    # What the compiler makes has neither hooks nor countable operations; it is the same mathematics.
    counted = {name: step for name, step in losses.items() if name != COMPILED}
    steps = {name: functools.partial(_step, loss, model, batch) for name, loss in losses.items()}
    counts = {name: (*passes(steps[name], model), gflop(steps[name])) for name in counted}
    counts[COMPILED] = counts[OURS]
    # The first step of a process also loads and chooses kernels, or compiles.
    note("  first steps")
    first = {name: _wall(step) for name, step in steps.items()}
    note(f"  memory, and time in {rounds} rounds")
    memory = {name: peak_mb(step, device) for name, step in steps.items()}
    timing = ratios(alternate(steps, rounds, device, slice_s), ATTACKED)
    rows = []
    for name in losses:
        forward, backward, operations = counts[name]
        row = {"variant": name, "forward": forward / n, "backward": backward / n, **timing[name]}
        row |= {"GFLOP": operations, "FLOP ratio": operations / counts[ATTACKED][2]}
        rows.append(
            row | {"peak MiB": memory[name], "error": error.get(name), "first step, wall s": first[name]}
        )
    settings = {"width": width, "batch": n, "image side": side, "rounds": rounds}
    return {"rows": rows, "bars": bars(rows), "settings": settings}


def _wall(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _step(loss: Step, model: nn.Module, batch: Batch) -> None:
    parameter_gradient(loss(model, batch), model)


def bars(rows: list[dict]) -> list[dict]:
    """Exactness of the objective, its operations against PGD-3, and those of the attack against the other."""
    found = {row["variant"]: row for row in rows}
    ours = [
        bar(f"{name}: exact in float64", found[name]["error"], ERROR_LIMIT, "relative")
        for name in (OURS, COMPILED)
        if name in found
    ]
    fewer = found[ATTACKED]["FLOP ratio"] / found[WASTEFUL]["FLOP ratio"]
    return [
        *ours,
        bar(f"{OURS}: operations", found[OURS]["FLOP ratio"], FLOP_LIMIT, f"times {ATTACKED}"),
        bar(f"{ATTACKED}: operations", fewer, WASTE_LIMIT, f"times {WASTEFUL}"),
    ]
