"""Fingerprints of measurements of attacks over steps, budgets and networks, and of what a step costs."""

from collections.abc import Callable

import torch
from cost_requests import cost_request
from fingerprint_tools import Cases, frozen_convnet, image_request, measured, numbers

from pagrepro.evaluations import step_cost as cost
from pagrepro.request import LoadedRun

STEPPED = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 3, "step_size": 0.03}
RELATIVE = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 3, "relative_step": 0.75}


def attack_steps() -> Cases:
    return measured("attack_steps", image_request(), {"few": {"attack": STEPPED, "at": (0, 1, 3)}})


def transfer_accuracy() -> Cases:
    source = {"source": LoadedRun("other", frozen_convnet(5), {})}
    variants = {"sign": {"attack": STEPPED}, "gradient": {"attack": {**STEPPED, "direction": "gradient"}}}
    return measured("transfer_accuracy", image_request(inputs=source), variants)


def perturbation_search() -> Cases:
    few = {"attack": RELATIVE, "first": 0.02, "doublings": 3, "bisections": 3, "largest": 0.2, "points": 6}
    return measured("perturbation_search", image_request(), {"few": few})


def natural_maps() -> Cases:
    return measured("natural_maps", image_request(), {"three": {"attack": STEPPED, "examples": 3}})


def step_cost() -> Cases:
    """What is counted; times are no numbers to compare."""
    with torch.random.fork_rng():
        values = cost.measure(cost.Config(rounds=2, steps=1), cost_request()).values
    parts = {"passes": ("batch", "forwards", "backwards"), "operations": ("flops", "relative_flops")}
    return {
        case: numbers({name: value for name, value in values.items() if name.startswith(starts)})
        for case, starts in parts.items()
    }


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "evaluations.attack_steps": attack_steps,
    "evaluations.natural_maps": natural_maps,
    "evaluations.perturbation_search": perturbation_search,
    "evaluations.step_cost": step_cost,
    "evaluations.transfer_accuracy": transfer_accuracy,
}
