"""Fingerprints of synthetic data, of chest X-rays and of exact directions."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import chest_files
import torch
from fingerprint_tools import CPU, Cases, data_cases, generator, module_and_config, numbers, pattern

from pagrepro import squares as geometry
from pagrepro.request import FieldRequest

SMALL = {"train": 5, "val": 3, "test": 4}


def spheres() -> Cases:
    cases = data_cases("spheres", {}, {"parts": {**SMALL, "dimension": 6}}, seed=3)
    module, config = module_and_config("data", "spheres", dimension=4, radii=(0.5, 2))
    return {**cases, "draw": numbers(*module.draw(config, 7, generator(2)))}


def squares() -> Cases:
    noisy = {"size": 16, "sigma": 0.5, "noise_std": 0.25, **SMALL}
    cases = data_cases("squares", {}, {"noise": noisy, "clipped": {**noisy, "clip": 0.3}}, seed=3)
    return {**cases, "clean": numbers(geometry.clean_squares(32))}


def chest_xray() -> Cases:
    with tempfile.TemporaryDirectory() as path:
        files = chest_files.write(Path(path), chest_files.manifest_rows())
        variants = {"all": {"size": 14}, "close": {"size": 7, "max_days": 6, "below_ratio": "5/6"}}
        return data_cases("chest_xray", files, variants)


def directions(name: str, x: torch.Tensor, y: torch.Tensor, at: torch.Tensor) -> Cases:
    module, config = module_and_config("fields", name)
    tensors = module.compute(config, FieldRequest(x, y, 2, torch.arange(len(x)), 0, None, None, CPU))
    read = module.read(config, tensors, torch.tensor([2, 0, 1]), at)
    return {"field": numbers(tensors), "read": numbers(read)}


def sphere_direction() -> Cases:
    x, y = pattern(4, 5) - 0.5, torch.tensor([1, 0, 1, 0])
    x = x / x.norm(dim=1, keepdim=True) * torch.tensor([1.0, 1.3])[y][:, None]
    return directions("sphere_direction", x, y, pattern(3, 5, start=90) - 0.5)


def square_direction() -> Cases:
    y = torch.tensor([1, 0, 1])
    x = geometry.clean_squares(12)[y]
    return directions("square_direction", x, y, pattern(3, 1, 12, 12))


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "data.chest_xray": chest_xray,
    "data.spheres": spheres,
    "data.squares": squares,
    "fields.sphere_direction": sphere_direction,
    "fields.square_direction": square_direction,
}
