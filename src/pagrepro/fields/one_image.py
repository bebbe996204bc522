"""Target directions towards one image per class: g(x, t) = r_t - x, with r_t a training image.

Ganz et al. (2022), section 4.2 "One Image": one arbitrary training image of each class, the same for
all x. Where x is its own class's representative, g is exactly zero (and carries no target).
"""

from typing import Literal

import torch
from torch import Tensor

from pagrepro.options import Number, Strict
from pagrepro.representatives import (
    blocks,
    check_coordinates,
    class_rows,
    directions,
    in_coordinates,
    squared_distances,
)
from pagrepro.request import FieldRequest
from pagrepro.seeding import generator

REVISION = 1

# Axes of what is stored, for the estimate of disk space.
STORES = ("classes", "pixels")

# These tensors are the same in every shard, and no value depends on the row: any examples can be read.
SHARED = ("rows", "images")
ANY_ROWS = True


class Config(Strict):
    """pick: a seeded draw; the first image of the class; or the medoid, the image with the least sum of L2
    distances to the others of its class. coordinates, mean, std: see `representatives.in_coordinates`."""

    pick: Literal["random", "first", "medoid"] = "random"
    coordinates: Literal["normalised", "unit", "raw"] = "normalised"
    mean: tuple[Number, ...] = (0.5,)
    std: tuple[Number, ...] = (0.5,)


def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """rows (C,) int64: the chosen rows of the split; images (C, *shape): those examples as stored."""
    check_coordinates(request, config.coordinates)
    chosen = []
    for t, rows in enumerate(class_rows(request.y, request.classes)):
        if config.pick == "random":
            place = int(torch.randint(len(rows), (), generator=generator(request.seed, "one_image", t)))
        elif config.pick == "first":
            place = 0
        else:
            place = _medoid(request.x[rows], request.device)
        chosen.append(int(rows[place]))
    return {"rows": torch.tensor(chosen), "images": request.x[chosen].cpu()}


def _medoid(x: Tensor, device: torch.device) -> int:
    x = x.to(device)
    sums = [squared_distances(x[part], x).sqrt().sum(1) for part in blocks(torch.arange(len(x)), len(x))]
    return int(torch.cat(sums).argmin())


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """r_t - x (B, C, *shape) for any x (B, *shape); `rows` play no part."""
    images = tensors["images"].to(x.device)
    coordinates = (config.coordinates, config.mean, config.std)
    return directions(in_coordinates(images, *coordinates), in_coordinates(x, *coordinates))
