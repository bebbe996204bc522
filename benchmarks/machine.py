"""How fast this machine is: the steps by which the demo's CPU budgets were set, beside what they took then.

Times of the demo mean little without the machine. Its budgets (`planned_cpu_seconds` in
`config/tiers/demo.yaml`) were set on one where a training step of the ResNet-18 of width 8 on 8x8 digits, in
batches of 64 and with the update of the weights, took so many milliseconds of one core per image. The ratio
says what a second there is here. The project's design states both; that machine is not at hand.
"""

import functools

import torch
from torch import Tensor, nn

import _digits
from _measure import alternate, note
from pagrepro import plugins
from pagrepro.batch import Batch

NAME = "this machine, and the one of the demo's CPU budgets"

WIDTH, BATCH = 8, 64
PLAIN, NORM, ATTACKED = "plain cross-entropy", "gradient norm", "PGD-3"
# Milliseconds per image on that machine.
THEN = {PLAIN: 0.105, NORM: 0.30, ATTACKED: 0.34}
OPTIONS = {
    PLAIN: {"name": "cross_entropy"},
    NORM: {"name": "gradient_norm", "norm": "l1", "weight": 1.0},
    ATTACKED: {
        "name": "adversarial_training",
        "attack": {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 3, "relative_step": 2},
    },
}  # fmt: skip


def step(objective, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    optimizer.zero_grad()
    loss: Tensor = objective(model, batch, torch.Generator(batch.x.device))["loss"].mean()
    loss.backward()
    optimizer.step()


def run(device: torch.device, quick: bool) -> dict:
    """Milliseconds per image here and then, of the fastest round."""
    x, y = _digits.part("train", device, BATCH)
    batch = Batch(x, y, torch.arange(len(x), device=device), None, progress=1.0)
    spec = plugins.resolve("models", {"name": "cifar_resnet18", "width": WIDTH})
    steps = {}
    for name, options in OPTIONS.items():
        model = plugins.instantiate("models", spec, (1, 8, 8), _digits.CLASSES).to(device).train()
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        objective = plugins.instantiate("objectives", plugins.resolve("objectives", options))
        steps[name] = functools.partial(step, objective, model, optimizer, batch)
        steps[name]()
    rounds = 1 if quick else 7
    note(f"  time in {rounds} rounds")
    seconds = alternate(steps, rounds, device, slice_s=0.05 if quick else 0.2)
    rows = []
    for name, values in seconds.items():
        here = 1000 * min(values) / BATCH
        rows.append({"variant": name, "ms here": here, "ms then": THEN[name], "ratio": here / THEN[name]})
    return {"rows": rows, "bars": [], "settings": {"width": WIDTH, "batch": BATCH, "rounds": rounds}}
