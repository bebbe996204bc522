"""Noise that belongs to an image: the same for every model it is given to.

Srinivas, Bordt and Lakkaraju (2023), section 4.1 and Figure 2, compare models under random perturbations.
Here a perturbation depends on the image's row, not on a stream that runs on from model to model: models are
compared on the same noise, and a part of the images gets what it gets among all of them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pagrepro.seeding import generator

REVISION = 1


def image_noise(seed: int, name: str, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (N, *shape) float32, on the CPU; row i depends only on seed, name, index[i] and
    shape.

    index: (N,) integers, rows of a data set. shape: of one image, or (draws, *image) for several draws.
    Raises ValueError for an index of another form.
    """
    return _rows(torch.randn, seed, name, index, shape)


def uniform_noise(seed: int, name: str, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same, uniform in [0, 1)."""
    return _rows(torch.rand, seed, name, index, shape)


def _rows(draw: Callable[..., Tensor], seed: int, name: str, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    if index.dim() != 1 or index.is_floating_point():
        raise ValueError(f"index {tuple(index.shape)} {index.dtype}: expected (N,) integers")
    noise = torch.empty(len(index), *shape, dtype=torch.float32)
    for row, place in zip(noise, index.tolist(), strict=True):
        row.copy_(draw(shape, generator=generator(seed, name, place), dtype=torch.float32))
    return noise
