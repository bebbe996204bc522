"""Fingerprints of the alignment penalty, of measurements of gradients of ell, and of their networks."""

from collections.abc import Callable

import torch
from fingerprint_tools import (
    CPU,
    Cases,
    build,
    frozen_convnet,
    image_request,
    measured,
    model_cases,
    module_and_config,
    numbers,
    objective_cases,
    pattern,
    plane_request,
)  # fmt: skip
from networks import CLASSES, IMAGE

from pagrepro.augment_options import Augment
from pagrepro.batch import Batch
from pagrepro.request import LoadedField, MeasureRequest


def alignment_penalty() -> Cases:
    variants = {"signed": {"weight": 0.7}, "abs, floor": {"weight": 0.7, "ctilde": "abs", "cosine_eps": 0.5}}
    cases = objective_cases("alignment_penalty", variants)
    cases |= objective_cases(
        "alignment_penalty", {"augmented": {"weight": 0.7}}, Augment(crop_padding=2, flip=True)
    )
    x, y, g = 4 * pattern(6, 5) - 2, torch.arange(6) % 2, pattern(6, 2, 5) - 0.5
    for gradient in ("ell", "loss"):
        torch.manual_seed(2)
        model = build("models", "spheres_mlp", (5,), 2, hidden=[6, 6])
        batch = Batch(x, y, torch.arange(6), None, {"targets": lambda index, x: g[index]}, None, None)
        terms = build("objectives", "alignment_penalty", weight=0.3, gradient=gradient)(model, batch, None)
        slopes = torch.autograd.grad(terms["loss"].mean(), list(model.parameters()), allow_unused=True)
        cases[f"two classes, {gradient}"] = numbers(terms, [s for s in slopes if s is not None])
    return cases


def spheres_mlp() -> Cases:
    variants = {
        "scale and shift": {"hidden": [6, 5], "single_logit": False},
        "plain": {"hidden": [6], "single_logit": False, "frozen_bn_affine": False},
    }
    cases = model_cases("spheres_mlp", (4,), variants)
    torch.manual_seed(0)
    model = build("models", "spheres_mlp", (4,), 2, hidden=[6, 5])
    return cases | {"single logit": numbers(model(pattern(4, 4)))}


def resnet18() -> Cases:
    cases = {}
    for case, options in {"frozen": {"bn": "frozen"}, "removed": {"bn": "removed"}}.items():
        torch.manual_seed(0)
        model = build("models", "resnet18", (1, 8, 8), 3, **options)
        # Not all of eleven million weights: the last layer's, and what every layer does.
        cases[f"{case}: last layer"] = numbers(list(model.network.fc.parameters()))
        cases[f"{case}: logits"] = numbers(model(pattern(2, 1, 8, 8)))
    return cases


def targets() -> dict[str, LoadedField]:
    directions = pattern(6, CLASSES, *IMAGE) - 0.5
    directions[1] = 0
    return {"targets": LoadedField("t", lambda rows, x: directions[rows], {})}


def closest_class() -> Cases:
    variants = {"one": {}, "three, abs": {"most": 3, "ctilde": "abs", "unit": 0.5, "gradient_batch": 3}}
    cases = measured("closest_class", image_request(), variants)
    two = measured("closest_class", plane_request(), {"two classes": {}})
    return cases | two


def direction_alignment() -> Cases:
    variants = {"signed": {"origin": 0.5}, "abs": {"ctilde": "abs", "gradient_batch": 3}}
    cases = measured("direction_alignment", image_request(inputs=targets()), variants)
    return cases | measured("direction_alignment", plane_request(), {"two classes, no directions": {}})


def gradient_shape() -> Cases:
    cases = measured("gradient_shape", image_request(), {"images": {"images": 5, "ctilde": "abs"}})
    return cases | measured("gradient_shape", plane_request(), {"vectors": {"images": 0}})


def exact_models() -> Cases:
    """Deviations are rounding errors, which differ between processors."""
    y = torch.arange(8) % 2
    x = torch.nn.functional.normalize(pattern(8, 5) - 0.5, dim=1) * torch.where(y == 0, 1.0, 1.3)[:, None]
    request = MeasureRequest(frozen_convnet(), x, y, torch.arange(8), 2, 0, None, None, CPU, 3)
    module, config = module_and_config("evaluations", "exact_models")
    found = module.measure(config, request).values
    errors = {name: value < 1e-9 for name, value in found.items() if name.endswith("_error")}
    return {
        "errors below 1e-9": numbers(errors),
        "spheres": numbers(found["optimal_alpha"], found["optimal_rho"]),
    }


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "evaluations.closest_class": closest_class,
    "evaluations.direction_alignment": direction_alignment,
    "evaluations.exact_models": exact_models,
    "evaluations.gradient_shape": gradient_shape,
    "models.resnet18": resnet18,
    "models.spheres_mlp": spheres_mlp,
    "objectives.alignment_penalty": alignment_penalty,
}
