"""Accuracy under an attack that was made for another network.

Rodriguez-Munoz, Wang and Torralba (2024), appendix C: PGD-100 on the adversarially trained network, its
perturbed images given to the one trained with the gradient norm. If these broke more images than the same
attack on the network itself, its gradients would be masked.
"""

import torch

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.options import Strict, plugin
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1
ROLES = {"source": "run"}


class Config(Strict):
    """attack: an untargeted attack, on the network of the role `source`."""

    attack: plugin("attacks")


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: accuracy (share classified correctly at the source's x_adv), clean_accuracy, source_accuracy
    (of the source at x_adv). arrays: correct, source_correct (N,) bool. The source sees the noise that
    `pgd_accuracy` would draw for it with this seed and batch size."""
    check_range(request.x, request.low, request.high)
    attack, source = plugins.instantiate("attacks", config.attack), request.inputs["source"].model
    parts = []
    for start, x, y in batches(request):
        noise = seeding.generator(request.seed, "attack", start, device=x.device)
        x_adv = attack.perturb(source, x, y, noise, low=request.low, high=request.high)
        parts.append(
            {
                "correct": predicted(logits(request.model, x_adv, len(x))) == y,
                "source_correct": predicted(logits(source, x_adv, len(x))) == y,
                "clean": predicted(logits(request.model, x, len(x))) == y,
            }
        )
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    values = {
        "accuracy": found["correct"].double().mean().item(),
        "clean_accuracy": found.pop("clean").double().mean().item(),
        "source_accuracy": found["source_correct"].double().mean().item(),
    }
    return Measurement(values, {name: value.numpy() for name, value in found.items()})
