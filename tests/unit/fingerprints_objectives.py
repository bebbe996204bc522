"""Fingerprints of objectives for robust training, of their attack, and of the smoothed classifier."""

from collections.abc import Callable

from fingerprint_tools import (
    Cases,
    build,
    frozen_convnet,
    generator,
    image_request,
    images,
    measured,
    numbers,
    objective_cases,
)  # fmt: skip
from fingerprints_natural import l1_gradient_norm

from pagrepro.augment_options import Augment

CROP_FLIP = Augment(crop_padding=2, flip=True)


def gradient_norm() -> Cases:
    of = ("loss", "logit_label", "logit_sum", "probability_label", "probability_jacobian")
    cases = objective_cases("gradient_norm", {name: {"weight": 0.7, "of": name} for name in of})
    scaled = {"scaled, augmented": {"weight": 0.1, "scale": 6.103515625}}
    return cases | objective_cases("gradient_norm", scaled, CROP_FLIP) | l1_gradient_norm()


def smoothness() -> Cases:
    variants = {"logits": {"weight": 0.7}, "probabilities": {"weight": 0.7, "output": "probabilities"}}
    return objective_cases("smoothness", variants)


def gaussian_noise() -> Cases:
    return objective_cases("gaussian_noise", {"augmented": {"sigma": 0.3}}, CROP_FLIP)


def batch_pgd() -> Cases:
    (x, y), cases = images(), {}
    variants = {"no box": {"relative_step": 2.5}, "data": {"box": "data"}, "one step": {"steps": 1}}
    for case, options in variants.items():
        attack = build("attacks", "batch_pgd", **{"eps": 3, "steps": 4, **options})
        cases[case] = numbers(attack.perturb(frozen_convnet(), x, y, generator(1)))
    return cases


def smoothed_accuracy() -> Cases:
    return measured("smoothed_accuracy", image_request(), {"few draws": {"sigma": 0.5, "draws": 3}})


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "attacks.batch_pgd": batch_pgd,
    "evaluations.smoothed_accuracy": smoothed_accuracy,
    "objectives.gaussian_noise": gaussian_noise,
    "objectives.gradient_norm": gradient_norm,
    "objectives.smoothness": smoothness,
}
