"""Gradients, edges and perturbations of a few images, as pictures.

Rodriguez-Munoz, Wang and Torralba (2024), Figures 1 (gradient of the loss), 3 (perturbation of PGD-10) and
14 (gradient of the label's logit, edges).
"""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.input_gradients import classifier_gradient
from pagrepro.map_options import Energy
from pagrepro.options import Strict, plugin
from pagrepro.oriented_energy import oriented_energy
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """attack: an untargeted attack; energy: form of the edges (`oriented_energy.py`); examples: how many
    images, from the first on."""

    attack: plugin("attacks")
    energy: Energy = "blurred_root"
    examples: Annotated[int, Field(ge=1)] = 5


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """arrays, of the first k = `examples` images: images, loss_gradients, class_gradients (of the label's
    logit), perturbations (x_adv - x) (k, C, H, W), edges (k, H, W), l1 (k,) float32 (of the loss gradient);
    clean_correct, attack_correct (k,) bool; an image that is wrong without the attack counts as broken.
    values: l1, its mean; attack_accuracy. Raises DataError for data that are not images of at least 4 x 4
    pixels."""
    check_range(request.x, request.low, request.high)
    attack = plugins.instantiate("attacks", config.attack)
    parts = []
    for start, x, y in batches(request):
        if start < config.examples:
            count = config.examples - start
            parts.append(_batch(config, request, attack, start, x[:count], y[:count]))
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    values = {
        "l1": found["l1"].double().mean().item(),
        "attack_accuracy": found["attack_correct"].double().mean().item(),
    }
    arrays = {k: (v.float() if v.is_floating_point() else v).numpy() for k, v in found.items()}
    return Measurement(values, arrays)


def _batch(
    config: Config, request: MeasureRequest, attack: Any, start: int, x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    noise = seeding.generator(request.seed, "attack", start, device=x.device)
    x_adv = attack.perturb(request.model, x, y, noise, low=request.low, high=request.high)
    gradient = classifier_gradient(request.model, x, y, "loss")
    clean, attacked = (predicted(logits(request.model, z, len(z))) == y for z in (x, x_adv))
    return {
        "images": x,
        "edges": oriented_energy(x, config.energy),
        "loss_gradients": gradient,
        "class_gradients": classifier_gradient(request.model, x, y, "label_logit"),
        "perturbations": x_adv - x,
        "l1": gradient.flatten(1).abs().sum(1),
        "clean_correct": clean,
        "attack_correct": clean & attacked,
    }
