"""Fingerprints of denoisers, their networks, and the scores that are taken from them."""

from collections.abc import Callable
from typing import Any

import torch
from fingerprint_tools import CPU, Cases, field_cases, images, module_and_config, numbers, pattern, resolved
from networks import IMAGE
from torch import nn

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.denoiser import GaussianMixture
from pagrepro.request import LoadedRun
from pagrepro.score import score
from pagrepro.task import LoopState, TaskSetup

SHAPE = (1, 4, 6)
NETWORKS: dict[str, dict[str, Any]] = {
    "ddpmpp": {"name": "ddpmpp", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [2]},
    "adm": {"name": "adm", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [2], "head": 4},
}


def denoiser() -> Cases:
    variants: dict[str, dict[str, Any]] = {
        "ddpmpp, labels": {"network": NETWORKS["ddpmpp"], "conditional": True, "sigma_data": 0.4},
        "adm": {"network": NETWORKS["adm"], "p_mean": -0.5, "p_std": 0.8, "augment": {"flip": True}},
        # The third network, unet2d, is diffusers' and takes longer to import than all this.
    }
    x, y, cases = pattern(5, *SHAPE), torch.arange(5) % 3, {}
    for case, options in variants.items():
        torch.manual_seed(1)
        setup = TaskSetup(SHAPE, 3, 0.0, 1.0, 0, 3, CPU)
        task = plugins.instantiate("tasks", resolved("tasks", "denoiser", **options), setup)
        cases[f"{case}: initial weights"] = numbers(task.network.state_dict())
        found, state = [], LoopState(0, 3, CPU)
        for state.step in range(3):
            found.append(task.step(state, Batch(x, y, torch.arange(5))))
        cases[f"{case}: metrics"] = numbers(found)
        cases[f"{case}: weights"] = numbers(task.network.state_dict())
    return cases


def external_denoiser() -> Cases:
    """Networks whose weights are nowhere zero, at two levels of noise."""
    cases = {}
    for name, classes in (("ddpmpp", True), ("ddpmpp", False), ("adm", True)):
        module, config = module_and_config(
            "tasks", "external_denoiser", adapter={"name": "edm_pickle"}, network=NETWORKS[name],
            conditional=classes,
        )  # fmt: skip
        network, start = module.network(config, SHAPE, 3).eval(), 0
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(0.3 * (pattern(*parameter.shape, start=start) - 0.5))
                start += parameter.numel()
        y = torch.tensor([2, 0]) if classes else None
        found = [network.denoise(pattern(2, *SHAPE) - 0.5, sigma, y) for sigma in (0.2, 1.5)]
        cases[f"{name}{', labels' if classes else ''}"] = numbers(found)
    return cases


def mixture(conditional: bool = False, shape: tuple[int, ...] = IMAGE) -> nn.Module:
    means = 2 * pattern(3, *shape) - 1
    return GaussianMixture(means, torch.tensor([0.2, 0.1, 0.4]), torch.tensor([1.0, 2.0, 3.0]), conditional)


def scores() -> Cases:
    x, y = images()
    found = {
        "x itself": score(mixture(), x, 0.5, 0.0, 1.0),
        "labels, noised": score(mixture(True), x, 0.5, -1.0, 1.0, y % 3, pattern(6, 2, *IMAGE) - 0.5),
    }
    return {case: numbers(values) for case, values in found.items()}


def score_field() -> Cases:
    variants: dict[str, dict[str, Any]] = {
        "x itself": {"sigma": 0.7, "batch_size": 5}, "averaged": {"average": 2, "sigma": 1},
    }  # fmt: skip
    run = LoadedRun("d", mixture(), {})
    cases = field_cases("score", variants, torch.float64, denoiser=run)
    run = LoadedRun("d", mixture(True, (IMAGE[0], 3, 3)), {})
    options = {"labels, smaller": {"conditional": "label", "resize": 3}}
    return cases | field_cases("score", options, torch.float64, denoiser=run)


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "fields.score": score_field,
    "score": scores,
    "tasks.denoiser": denoiser,
    "tasks.external_denoiser": external_denoiser,
}
