"""Fingerprints of the statistics of input gradients on natural images, and of the patches of photographs."""

from collections.abc import Callable
from unittest import mock

import torch
from fingerprint_tools import L2_ATTACK, Cases, data_cases, image_request, measured, pattern

from pagrepro.data import photo_patches as patches


def photo_patches() -> Cases:
    """Of made-up pictures: decoders of JPEG files may differ in a level."""
    pictures = {
        name: (256 * pattern(3, 40, 640, start=7 * k)).to(torch.uint8) for k, name in enumerate(patches.NAMES)
    }
    variants = {"16": {}, "16, overlapping": {"stride": 12}, "32": {"size": 32, "stride": 8}}
    with mock.patch.object(patches, "_photograph", pictures.__getitem__):
        return data_cases("photo_patches", {}, variants)


def gradient_statistics() -> Cases:
    variants = {
        "clean": {"entries": 5},
        "attacked": {"attack": L2_ATTACK, "small": 1e-3, "log10_low": -6, "per_decade": 2},
    }
    return measured("gradient_statistics", image_request(), variants)


def edge_correlation() -> Cases:
    forms = ("blurred_root", "gaussian_squared", "sobel_squared")
    variants = {form: {"energy": form} for form in forms}
    variants["floors, examples"] = {"energy_floor": 0.2, "gradient_floor": 0.01, "examples": 3}
    return measured("edge_correlation", image_request(), variants)


def curvature() -> Cases:
    variants = {"default": {}, "few": {"iterations": 3, "also": [0, 2], "gradient_batch": 3}}
    return measured("curvature", image_request(), variants)


def linearity_error() -> Cases:
    return measured("linearity_error", image_request(), {"default": {}, "wide": {"eps": 0.2}})


def attack_profile() -> Cases:
    variants = {"default": {"attack": L2_ATTACK, "points": 5}}
    variants["far"] = {"attack": L2_ATTACK, "points": 3, "reach": 4, "iterations": 5, "gradient_batch": 3}
    return measured("attack_profile", image_request(), variants)


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "data.photo_patches": photo_patches,
    "evaluations.attack_profile": attack_profile,
    "evaluations.curvature": curvature,
    "evaluations.edge_correlation": edge_correlation,
    "evaluations.gradient_statistics": gradient_statistics,
    "evaluations.linearity_error": linearity_error,
}
