"""Fingerprints of the pre-activation network and of the objectives that shape natural input gradients."""

from collections.abc import Callable

import torch
from fingerprint_tools import (
    Cases,
    Variants,
    build,
    generator,
    model_cases,
    numbers,
    objective_cases,
    pattern,
)
from networks import flat_gradient

from pagrepro.augment_options import Augment
from pagrepro.batch import Batch

ATTACK = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 2, "relative_step": 2}


def normalised_cases(name: str, variants: Variants) -> Cases:
    """An objective of a colour network with a normalisation, at 0.4 of the training."""
    x, y, cases = 0.05 + 0.9 * pattern(4, 3, 8, 8), torch.arange(4) % 3, {}
    for case, options in variants.items():
        torch.manual_seed(0)
        model = build("models", "preact_resnet18", (3, 8, 8), 3, width=2)
        batch = Batch(x, y, torch.arange(4), progress=0.4)
        terms = build("objectives", name, **options)(model, batch, generator(2))
        cases[case] = numbers(terms)
        cases[f"{case}: gradient"] = numbers(flat_gradient(terms["loss"].mean(), model))
    return cases


def preact_resnet18() -> Cases:
    variants = {
        "default": {"width": 2},
        "relu": {"width": 2, "activation": "relu", "bn": "train"},
        "silu": {"width": 2, "activation": "silu", "bn": "removed", "mean": [0.4], "std": [0.2]},
    }
    return model_cases("preact_resnet18", (3, 16, 16), variants)


def l1_gradient_norm() -> Cases:
    """Cases of objectives.gradient_norm that `fingerprints_objectives` adds to its own."""
    variants = {
        "clean": {},
        "logits": {"of": "probability_jacobian"},
        "gaussian": {"at": "gaussian", "noise": 0.1},
        "uniform": {"at": "uniform", "noise": 0.1},
        "adversarial": {"at": "adversarial", "attack": ATTACK},
    }
    common = {"weight": 0.7, "norm": "l1"}
    cases = objective_cases("gradient_norm", {f"l1 {k}": {**common, **v} for k, v in variants.items()})
    equation = {"scale": "4/255", "sigma": 0.225, "space": "normalized", "cross_entropy_weight": 0.8}
    green = {**equation, "channel_weights": [1, 2, 1], "ramp": 0.5}
    named = {"l1 equation": {**common, **equation}, "l1 green, ramp": {**common, **green}}
    return cases | normalised_cases("gradient_norm", named)


def edge_alignment() -> Cases:
    variants = {
        "default": {},
        "cosine, gaussian": {"loss": "cosine", "energy": "gaussian_squared"},
        "saliency": {"gradient_of": "saliency", "class_choice": "label"},
        "loss, sobel": {"gradient_of": "loss", "energy": "sobel_squared"},
        "cold": {"temperature": 0.01},
    }
    weighted = {case: {"weight": 0.7, **options} for case, options in variants.items()}
    augmented = {"augmented": {"weight": 0.7}}
    cases = objective_cases("edge_alignment", weighted)
    cases |= objective_cases("edge_alignment", augmented, Augment(crop_padding=2, flip=True))
    public = {"colour": {"weight": 1, "growth": 9, "space": "normalized"}}
    return cases | normalised_cases("edge_alignment", public)


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "models.preact_resnet18": preact_resnet18,
    "objectives.edge_alignment": edge_alignment,
}
