"""Fingerprint of AutoAttack: who breaks which image, in float32, the only type that the library knows.

Float32 differs between processors, but hardly which attack breaks an image: that stays the same when eps
changes by a thousandth.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from fingerprint_tools import Cases, Variants, image_request, module_and_config, numbers, pattern
from networks import CLASSES, IMAGE
from torch import nn

IMAGES = 12
FEW = {"version": "custom", "steps": 8, "queries": 40}


def steep(classes: int) -> nn.Module:
    """A network whose boundaries are at many distances from the images."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, classes))
    with torch.no_grad():
        first = pattern(8, 36) - 0.5
        model[1].weight.copy_(first)
        model[1].bias.copy_(-first.sum(1) / 2)
        model[3].weight.copy_(pattern(classes, 8, start=400) - 0.5)
        model[3].bias.zero_()
    return model.float().eval().requires_grad_(False)


def cases(classes: int, variants: Variants) -> Cases:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        model, x = steep(classes), pattern(IMAGES, *IMAGE).float()
        y = model(x).argmax(1)
        y[0] = (y[0] + 1) % classes
        request = replace(image_request(), model=model, x=x, y=y, classes=classes, index=torch.arange(IMAGES))
        found = {}
        for case, options in variants.items():
            module, config = module_and_config("evaluations", "autoattack", **options)
            measurement = module.measure(config, request)
            # Not the size of the perturbations, which is rounded to float32.
            shares = {name: value for name, value in measurement.values.items() if name != "max_norm"}
            found[case] = numbers(shares, measurement.arrays, len(measurement.flags))
        return found
    finally:
        torch.set_default_dtype(before)


def autoattack() -> Cases:
    all_of_them = ["apgd_ce", "apgd_dlr", "apgd_t", "fab", "fab_t", "square"]
    found = cases(
        CLASSES,
        {
            "cheap": {"version": "apgd_ce_t", "eps": 0.03, "steps": 8},
            "square first": {**FEW, "eps": 0.03, "attacks": ["square", "fab"]},
            "all, l2": {**FEW, "norm": "l2", "eps": 0.15, "attacks": all_of_them},
        },
    )
    few = {**FEW, "eps": 0.04, "attacks": ["apgd_t", "square"], "few_classes": "cross_entropy"}
    return found | cases(3, {"few classes": few})


FINGERPRINTS: dict[str, Callable[[], Cases]] = {"evaluations.autoattack": autoattack}
