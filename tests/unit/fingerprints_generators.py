"""Fingerprints of residual generators, conditional GANs, projections and what is measured of them."""

from collections.abc import Callable
from typing import Any

import torch
from fingerprint_tools import (
    CPU,
    Cases,
    build,
    field_cases,
    image_request,
    images,
    measured,
    module_and_config,
    numbers,
    pattern,
    resolved,
)
from networks import CLASSES, IMAGE
from torch import nn

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.load import freeze
from pagrepro.request import FieldRequest, LoadedField, LoadedResult, LoadedRun
from pagrepro.task import LoopState, TaskSetup

SHAPE = (1, 7, 6)


def generator_cases(name: str, variants: dict[str, dict[str, Any]]) -> Cases:
    cases = {}
    x, y = pattern(4, *SHAPE), torch.arange(4) % 2
    for case, options in variants.items():
        torch.manual_seed(0)
        generator = build("generators", name, SHAPE, 2, **options)
        cases[f"{case}: initial weights"] = numbers(list(generator.parameters()))
        cases[f"{case}: train"] = numbers(generator(x, 1 - y, y))
        cases[f"{case}: eval"] = numbers(generator.eval()(x, 1 - y, y))
    return cases


def unet() -> Cases:
    variants = {"small": {"width": 2, "levels": 2}}
    variants["two channels, scaled"] = {
        "width": 2, "levels": 1, "cond_channels": 2, "centre": 0.5, "scale": 0.5,
    }  # fmt: skip
    return generator_cases("unet", variants)


def residual_mlp() -> Cases:
    return generator_cases("residual_mlp", {"scaled": {"hidden": [5, 4], "centre": 0.5, "scale": 0.5}})


def task_cases(name: str, classes: int, variants: dict[str, dict[str, Any]]) -> Cases:
    x, y, cases = pattern(9, *SHAPE), torch.arange(9) % classes, {}
    for case, options in variants.items():
        torch.manual_seed(1)
        setup = TaskSetup(SHAPE, classes, 0.0, 1.0, 0, 3, CPU)
        task = plugins.instantiate("tasks", resolved("tasks", name, **options), setup)
        found, state = [], LoopState(0, 3, CPU)
        for state.step in range(3):
            found.append(task.step(state, Batch(x, y, torch.arange(9))))
        cases[f"{case}: metrics"] = numbers(found)
        cases[f"{case}: weights"] = numbers(task.network.state_dict())
    return cases


def residual_generator() -> Cases:
    common = {
        "generator": {"name": "unet", "width": 2, "levels": 1},
        "discriminator": {"name": "toy_mlp", "hidden": [4]},
        "unit": 0.5,
    }
    variants = {update: {**common, "update": update} for update in ("simultaneous", "alternating")}
    return task_cases("residual_generator", 2, variants)


GAN = {"width": 3, "latent": 2, "blocks": 2, "halvings": 1, "pad_to": 8}


def conditional_gan() -> Cases:
    return task_cases("conditional_gan", 3, {"small": {**GAN, "d_steps": 2}, "published steps": GAN})


def gan_projection() -> Cases:
    torch.manual_seed(2)
    setup = TaskSetup(IMAGE, 3, 0.0, 1.0, 0, 1, CPU)
    network = plugins.instantiate("tasks", resolved("tasks", "conditional_gan", **GAN), setup).network
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Embedding):
                module.weight.mul_(30)
    run = LoadedRun("gan", freeze(network), {})
    options = {"weight": 0.5, "steps": 4, "regularised_steps": 3}
    variants = {"all": options, "by pixels": {**options, "z_penalty_div": "x", "batch": 5, "lr": 0.2}}
    cases = field_cases("gan_projection", variants, torch.float64, generator=run)
    closest = (torch.arange(12) + 1)[:, None] % 3
    pairs = LoadedResult("closest", "run", {}, {"closest": closest.numpy()})
    some = field_cases("gan_projection", {"closest": options}, torch.float64, generator=run, pairs=pairs)
    return cases | some


class Residual(nn.Module):
    """Any function of the image and the classes."""

    def forward(self, x: torch.Tensor, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        return (0.3 + target - 2 * source)[:, None, None, None] * x.flip(-1)


def generator_residual() -> Cases:
    run = LoadedRun("g", Residual(), {})
    request = FieldRequest(
        pattern(12, *IMAGE), torch.arange(12) % 2, 2, torch.arange(12), 0, 0.0, 1.0, CPU, {"generator": run}
    )
    module, config = module_and_config("fields", "generator_residual", batch_size=5)
    tensors = module.compute(config, request)
    read = module.read(config, tensors, torch.tensor([7, 0, 3]), images()[0][:3])
    return {"field": numbers(tensors), "read": numbers(read)}


def direction_similarity() -> Cases:
    y = torch.arange(6) % CLASSES
    fields = {}
    for start, role in enumerate(("estimate", "truth")):
        directions = pattern(6, CLASSES, *IMAGE, start=start) - 0.5
        directions[torch.arange(6), y] = 0
        fields[role] = LoadedField(role, lambda rows, x, directions=directions: directions[rows].to(x), {})
    both = measured("direction_similarity", image_request(inputs=fields), {"both": {"examples": 1}})
    del fields["truth"]
    return both | measured("direction_similarity", image_request(inputs=fields), {"estimate": {}})


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "evaluations.direction_similarity": direction_similarity,
    "fields.gan_projection": gan_projection,
    "fields.generator_residual": generator_residual,
    "generators.residual_mlp": residual_mlp,
    "generators.unet": unet,
    "tasks.conditional_gan": conditional_gan,
    "tasks.residual_generator": residual_generator,
}
