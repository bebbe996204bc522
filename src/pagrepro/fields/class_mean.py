"""Target directions towards scaled class means: g(x, t) = k_t mu_t - x.

Ganz et al. (2022), section 4.2 "Class Mean": the mean of all training images of class t times a constant
that gives it the norm of an image; the paper does not say which. Where the origin lies matters: with
coordinates in [0, 1] scaling brightens the mean, in [-1, 1] it raises its contrast.
"""

from typing import Literal

import torch
from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.options import Number, Strict
from pagrepro.representatives import check_coordinates, class_rows, directions, in_coordinates
from pagrepro.request import FieldRequest

REVISION = 1

# Axes of what is stored, for the estimate of disk space.
STORES = ("classes", "pixels")

# These tensors are the same in every shard, and no value depends on the row: any examples can be read.
SHARED = ("means", "scales")
ANY_ROWS = True


class Config(Strict):
    """scale: the constant k_t. norm: mean ||x_i|| / ||mu_t|| over the images of class t; global: mean ||x_i||
    over all images divided by the mean ||mu_t|| over the classes; none: 1; or a number.
    coordinates, mean, std: see `representatives.in_coordinates`."""

    scale: Literal["norm", "global", "none"] | Number = "norm"
    coordinates: Literal["normalised", "unit", "raw"] = "normalised"
    mean: tuple[Number, ...] = (0.5,)
    std: tuple[Number, ...] = (0.5,)


def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """means (C, *shape) float32: k_t mu_t in the field's coordinates; scales (C,) float64: the k_t."""
    check_coordinates(request, config.coordinates)
    means, sizes, counts = [], [], []
    for rows in class_rows(request.y, request.classes):
        x = request.x[rows].to(request.device)
        x = in_coordinates(x, config.coordinates, config.mean, config.std).double()
        means.append(x.mean(0))
        sizes.append(x.flatten(1).norm(dim=1).mean())
        counts.append(len(rows))
    mean = torch.stack(means)
    scales = _scales(config, mean, torch.stack(sizes), torch.tensor(counts).to(mean))
    scaled = mean * scales.view(-1, *(1,) * (mean.dim() - 1))
    return {"means": scaled.float().cpu(), "scales": scales.cpu()}


def _scales(config: Config, mean: Tensor, size: Tensor, count: Tensor) -> Tensor:
    """k_t per class. mean: (C, *shape); size: (C,) mean norm of the images of a class; count: (C,)."""
    norm = mean.flatten(1).norm(dim=1)
    if config.scale in ("norm", "global") and not bool((norm > 0).all()):
        raise DataError(
            f"the mean image of class {int(norm.argmin())} is zero: it cannot be scaled to a norm"
        )
    if config.scale == "norm":
        return size / norm
    if config.scale == "global":
        return ((size * count).sum() / count.sum() / norm.mean()).expand_as(norm).clone()
    return torch.full_like(norm, 1.0 if config.scale == "none" else float(config.scale))


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """k_t mu_t - x (B, C, *shape) for any x (B, *shape); `rows` play no part."""
    return directions(tensors["means"].to(x), in_coordinates(x, config.coordinates, config.mean, config.std))
