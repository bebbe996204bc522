"""Fingerprints of data with a distractor, of downsampled ImageNet, of the network for tiny images, and of
what measures signal against distractor."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import official_files
import test_imagenet64
import torch
from fingerprint_tools import (
    Cases,
    Variants,
    data_cases,
    folder,
    image_request,
    measured,
    model_cases,
    numbers,
)
from networks import IMAGE

from pagrepro.data import digits_distractor, mnist_distractor
from pagrepro.dataset import Part


def masks(parts: dict[str, Part]) -> list[float]:
    """Of masks, digits and labels, but not of the letters: other versions of the library that draws them may
    differ by a level."""
    return numbers([[part.mask, part.x * part.mask, part.y] for _, part in sorted(parts.items())])


def digits() -> Cases:
    variants: Variants = {"A": {}, "other places": {"placement_seed": 3}}
    built = {
        case: digits_distractor.build(digits_distractor.Config(**options), {}, 0)
        for case, options in variants.items()
    }
    return {case: masks(parts) for case, parts in built.items()}


def mnist() -> Cases:
    with folder() as path:
        files = official_files.mnist_folder(path)
        return {"files": masks(mnist_distractor.build(mnist_distractor.Config(), files, 0))}


def imagenet64() -> Cases:
    with tempfile.TemporaryDirectory() as path:
        return data_cases("imagenet64", test_imagenet64.write(Path(path)), {"archives": {}})


def convnet() -> Cases:
    variants = {
        "defaults": {"widths": (3, 4)},
        "others": {
            "widths": (3, 4, 2), "activation": "softplus", "batchnorm": True, "down": "pool", "head": "mean",
            "mean": [0.3], "std": [0.7],
        },
        "gelu": {"widths": (3,), "activation": "gelu"},
        "silu": {"widths": (3,), "activation": "silu"},
    }  # fmt: skip
    return model_cases("convnet", (1, 6, 5), variants)


def signal_on_the_left() -> torch.Tensor:
    """Masks (6, *IMAGE): the left half is the signal."""
    return (torch.arange(IMAGE[-1]) < IMAGE[-1] // 2).expand(6, *IMAGE)


def distractor_noise() -> Cases:
    request = replace(image_request(), mask=signal_on_the_left())
    variants = {"default": {}, "few": {"sigmas": (0.05, 0.3, 2), "middle": (0.2, 0.5)}}
    return measured("distractor_noise", request, variants)


def signal_share() -> Cases:
    request = replace(image_request(), mask=signal_on_the_left())
    return measured("signal_share", request, {"default": {}, "loss": {"gradient": "loss", "examples": 3}})


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "data.digits_distractor": digits,
    "data.imagenet64": imagenet64,
    "data.mnist_distractor": mnist,
    "evaluations.distractor_noise": distractor_noise,
    "evaluations.signal_share": signal_share,
    "models.convnet": convnet,
}
