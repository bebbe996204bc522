"""Fingerprints of attacks without gradients or budgets, and of what measures with them."""

from collections.abc import Callable
from dataclasses import replace

import torch
from fingerprint_tools import Cases, build, generator, image_request, images, measured, numbers, pattern
from networks import CLASSES
from torch import nn

PGD = {
    "name": "pgd", "norm": "linf", "eps": 0, "unit": 0.5, "steps": 4, "step_size": 0.04, "keep": "worst",
    "drop_fooled": True,
}  # fmt: skip
# Few steps: every one adds to the differences between processors.
FEW = {"searches": 3, "steps": 8, "initial_const": 0.5, "stepsize": 0.1}


def steep() -> nn.Module:
    """A network for which images (6, *IMAGE) lie close to a boundary."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    with torch.no_grad():
        first = pattern(8, 36) - 0.5
        model[1].weight.copy_(first)
        model[1].bias.copy_(-first.sum(1) / 2)
        model[3].weight.copy_(pattern(CLASSES, 8, start=400) - 0.5)
        model[3].bias.zero_()
    return model.eval().requires_grad_(False)


def labelled(wrong: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and their predicted labels, all but the first few."""
    x, _ = images()
    y = steep()(x).argmax(1)
    return x, torch.where(torch.arange(len(y)) < wrong, (y + 1) % CLASSES, y)


def square() -> Cases:
    x, y = labelled(1)
    attack = build("attacks", "square", eps=0.2, unit=0.5, queries=100)
    cases = {"images": numbers(attack.perturb(steep(), x, y, generator(1)), attack.queries)}
    budgets, active = torch.linspace(0.02, 0.3, len(x)), torch.arange(len(x)) != 3
    attack = build("attacks", "square", eps=0, queries=70, p_init=0.3, box=[-0.2, 0.8])
    found = attack.perturb(steep(), x, y, generator(1), budgets, active=active)
    cases["own budgets, box"] = numbers(found, attack.queries)
    attack = build("attacks", "square", eps=0.02, queries=20, reshape=[1, 4, 9])
    found = attack.perturb(steep(), x.flatten(1), y, generator(2))
    return cases | {"vectors": numbers(found, attack.queries)}


def carlini_wagner() -> Cases:
    """Float64 all through, but for the constants, which foolbox rounds to float32."""
    x, y = labelled(1)
    cases = {}
    for case, options in {"plain": {}, "unit, box": {"unit": 0.5, "box": [-0.5, 1.5]}}.items():
        attack = build("attacks", "carlini_wagner", **FEW, **options)
        cases[case] = numbers(attack.perturb(steep(), x, y, None), attack.forward_passes)
    return cases


def eps50() -> Cases:
    last = {**PGD, "keep": "last", "drop_fooled": False}
    variants = {
        "search": {"attack": PGD, "rounds": 3},
        "search, signed": {"attack": {**PGD, "norm": "l2", "step_size": 0.3}, "rounds": 2, "signed": True},
        "grid": {"attack": last, "mode": "grid"},
        "crossing": {"attack": PGD, "mode": "crossing"},
        "square": {"attack": {"name": "square", "eps": 0, "queries": 20}, "rounds": 2},
    }
    grid = [0.01, 0.03, 0.06, 0.1, 0.3, 1]
    x, y = labelled(2)
    return measured(
        "eps50",
        replace(image_request(), model=steep(), x=x, y=y),
        {case: {"grid": grid, **options} for case, options in variants.items()},
    )


def minimal_distance() -> Cases:
    x, y = labelled(1)
    options = {"attack": {"name": "carlini_wagner", **FEW, "unit": 0.5}}
    request = replace(image_request(), model=steep(), x=x, y=y)
    return measured("minimal_distance", request, {"some": options})


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "attacks.carlini_wagner": carlini_wagner,
    "attacks.square": square,
    "evaluations.eps50": eps50,
    "evaluations.minimal_distance": minimal_distance,
}
