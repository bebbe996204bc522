"""What fingerprints are made with: numbers from tensors, tiny inputs by formula, one call per kind of plugin.

A fingerprint is {case: [sum, dot product with a fixed vector, sum of magnitudes]}; `fingerprints.py` holds
and compares them.
"""

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import official_files
import torch
from networks import CLASSES, IMAGE, examples, flat_gradient, smooth_convnet
from torch import nn

from pagrepro import augment, plugins
from pagrepro.augment_options import Augment
from pagrepro.batch import Batch
from pagrepro.request import FieldRequest, MeasureRequest

CPU = torch.device("cpu")
Cases = dict[str, list[float]]
# case -> options of the plugin
Variants = dict[str, dict[str, Any]]
L2_ATTACK = {"name": "pgd", "norm": "l2", "eps": 0.5, "steps": 3, "relative_step": 2}


def pattern(*shape: int, start: int = 0) -> torch.Tensor:
    """Values in [0, 1) that look random, by a formula."""
    k = torch.arange(start + 1, start + math.prod(shape) + 1, dtype=torch.float64)
    return (k * 0.6180339887498949 + k * k * 0.0137035999).frac().view(shape)


def numbers(*values: Any) -> list[float]:
    """Fingerprint of tensors, arrays, numbers, and dictionaries and lists of them."""
    flat = list(_flat(values))
    weights = (pattern(len(flat)) - 0.5).tolist()
    dot = math.fsum(v * w for v, w in zip(flat, weights))
    return [math.fsum(flat), dot, math.fsum(map(abs, flat))]


def _flat(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = [value[key] for key in sorted(value)]
    if isinstance(value, torch.Tensor):
        value = value.detach().double().numpy()
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flat(part)
    else:
        # Not a number and infinities are outcomes too.
        array = np.nan_to_num(np.asarray(value, np.float64), nan=-7.25, posinf=1e3, neginf=-1e3)
        yield from array.flatten().tolist()


def resolved(kind: str, name: str, **options: Any) -> dict[str, Any]:
    return plugins.resolve(kind, {"name": name, **options})


def build(kind: str, name: str, *arguments: Any, **options: Any) -> Any:
    return plugins.instantiate(kind, resolved(kind, name, **options), *arguments)


def module_and_config(kind: str, name: str, **options: Any) -> tuple[Any, Any]:
    module = plugins.load(kind, name)
    return module, module.Config(**options)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """x (6, *IMAGE) in (0, 1), y (6,)."""
    return 0.05 + 0.9 * pattern(6, *IMAGE), torch.arange(6) % CLASSES


def plane() -> tuple[torch.Tensor, torch.Tensor]:
    """Points (12, 2) of a plane, labels (12,)."""
    return 6 * pattern(12, 2) - 3, torch.arange(12) % 2


def plane_model() -> nn.Module:
    torch.manual_seed(4)
    return build("models", "toy_mlp", (2,), 2, hidden=[6, 6]).eval().requires_grad_(False)


def frozen_convnet(seed: int = 0) -> nn.Module:
    return smooth_convnet(seed).eval().requires_grad_(False)


def objective_cases(name: str, variants: Variants, augmented: Augment | None = None) -> Cases:
    x, y, g = examples(5)
    cases = {}
    for case, options in variants.items():
        model = smooth_convnet()
        draw = augment.draw(augmented, len(x), IMAGE, generator(5)) if augmented else None
        # Towards a point, so that reading at another x matters.
        fields = {"targets": lambda index, x: g[index] - 0.3 * x[:, None]}
        batch = Batch(x, y, torch.arange(len(x)), draw, fields)
        terms = build("objectives", name, **options)(model, batch, generator(2))
        cases[case] = numbers(terms)
        cases[f"{case}: gradient"] = numbers(flat_gradient(terms["loss"].mean(), model))
    return cases


def model_cases(name: str, shape: tuple[int, ...], variants: Variants) -> Cases:
    cases = {}
    for case, options in variants.items():
        torch.manual_seed(0)
        model = build("models", name, shape, 3, **options)
        x = pattern(4, *shape).requires_grad_()
        cases[f"{case}: initial weights"] = numbers(list(model.parameters()))
        cases[f"{case}: train"] = numbers(model(x))
        logits = model.eval()(x)
        cases[f"{case}: eval"] = numbers(logits)
        cases[f"{case}: input gradient"] = numbers(torch.autograd.grad(logits[:, 1].sum(), x))
    return cases


def field_cases(name: str, variants: Variants, stored: torch.dtype = torch.uint8, **inputs: Any) -> Cases:
    """The tensors of a field, and what is read from it at another x."""
    x, y = pattern(12, *IMAGE), torch.arange(12) % 3
    x = (256 * x).to(torch.uint8) if stored == torch.uint8 else x
    request = FieldRequest(x, y, 3, torch.arange(12), 0, 0.0, 1.0, CPU, inputs)
    cases = {}
    for case, options in variants.items():
        module, config = module_and_config("fields", name, **options)
        tensors = module.compute(config, request)
        cases[f"{case}: field"] = numbers(tensors)
        cases[f"{case}: read"] = numbers(
            module.read(config, tensors, torch.tensor([7, 0, 3]), images()[0][:3])
        )
    return cases


def measured(name: str, request: MeasureRequest, variants: Variants) -> Cases:
    cases = {}
    for case, options in variants.items():
        module, config = module_and_config("evaluations", name, **options)
        found = module.measure(config, request)
        cases[f"{case}: values"] = numbers(found.values)
        if found.arrays:
            cases[f"{case}: arrays"] = numbers(found.arrays)
    return cases


def image_request(**more: Any) -> MeasureRequest:
    x, y = images()
    return MeasureRequest(frozen_convnet(), x, y, torch.arange(6), CLASSES, 0, 0.0, 1.0, CPU, 4, **more)


def plane_request(kind: type = MeasureRequest, **more: Any) -> Any:
    x, y = plane()
    return kind(plane_model(), x, y, torch.arange(12), 2, 0, None, None, CPU, 5, **more)


class Formula:
    """Stands for the random numbers of `official_files`: integers by a formula."""

    def __init__(self) -> None:
        self.start = 0

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        values = low + ((high - low) * pattern(*shape, start=self.start)).long().numpy()
        self.start += math.prod(shape)
        return values


def data_cases(name: str, files: dict[str, Path], variants: Variants, seed: int = 0) -> Cases:
    cases = {}
    for case, options in variants.items():
        parts = build("data", name, files, seed, **options)
        cases[case] = numbers([[part.x, part.y] for _, part in sorted(parts.items())])
    return cases


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path, mock.patch.object(official_files, "RNG", Formula()):
        yield Path(path)
