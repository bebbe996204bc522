"""Target directions towards the nearest neighbour of each class: g(x, t) = r(x, t) - x, Eq. 3.

Ganz et al. (2022), section 4.2 "Nearest Neighbor": r(x, t) = argmin over D_t without x of ||x' - x||_2,
with D_t a small sample of the training images of class t (its size is not given).

"Without x" is read as a statement about sets: every member of D_t that equals x in all its values is left
out, be it x's own row or a copy of it; a copy would give g = 0, which is no target. Equal means distance
exactly zero, which the exact distances of `representatives.squared_distances` decide.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.errors import DataError
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
STORES = ("rows", "classes")

# These tensors are the same in every shard; `neighbours` has one row per example.
SHARED = ("pool", "pool_rows")


class Config(Strict):
    """pool: size of D_t per class, drawn once without replacement from the field's seed, or "all" images.
    coordinates, mean, std: see `representatives.in_coordinates` (of the direction; neighbours are found by
    pixel distance, which a common mean and std do not change)."""

    pool: Annotated[int, Field(ge=2)] | Literal["all"] = 100
    coordinates: Literal["normalised", "unit", "raw"] = "normalised"
    mean: tuple[Number, ...] = (0.5,)
    std: tuple[Number, ...] = (0.5,)


def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """neighbours (n, C) int32: place in the pool of r(x, t), for the n rows of this shard; pool (P, *shape):
    the examples of all D_t, as stored; pool_rows (P,) int64: their rows in the split.

    Raises DataError when a class has fewer images than the pool, or D_t holds nothing but x.
    """
    check_coordinates(request, config.coordinates)
    members = _draw_pool(config, request)
    pool_rows = torch.cat(members)
    pool = request.x[pool_rows]
    ends = torch.tensor([len(m) for m in members]).cumsum(0)
    starts = [0, *ends[:-1].tolist()]
    on_device = pool.to(request.device)
    neighbours = []
    for rows in blocks(request.rows, len(pool)):
        distances = squared_distances(request.x[rows].to(request.device), on_device)
        distances.masked_fill_(distances == 0, torch.inf)  # x itself and its copies
        best = [distances[:, a:b].min(1) for a, b in zip(starts, ends.tolist())]
        for t, nearest in enumerate(best):
            if not bool(nearest.values.isfinite().all()):
                row = int(rows[nearest.values.isinf().cpu()][0])
                raise DataError(f"nearest neighbour of row {row}: the pool of class {t} holds no other image")
        places = torch.stack([a + nearest.indices for a, nearest in zip(starts, best)], 1)
        neighbours.append(places.int().cpu())
    return {"neighbours": torch.cat(neighbours), "pool": pool.cpu(), "pool_rows": pool_rows}


def _draw_pool(config: Config, request: FieldRequest) -> list[Tensor]:
    """Rows of D_t for every class, ascending: the same for all shards of one seed."""
    members = []
    for t, rows in enumerate(class_rows(request.y, request.classes)):
        if config.pool != "all":
            if len(rows) < config.pool:
                raise DataError(
                    f"nearest_neighbour: a pool of {config.pool} asked for, but class {t} has {len(rows)}"
                    " examples in the split; lower `pool` or write `pool: all`"
                )
            order = torch.randperm(len(rows), generator=generator(request.seed, "nearest_neighbour", t))
            rows = rows[order[: config.pool]].sort().values
        members.append(rows)
    return members


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """r(row, t) - x (B, C, *shape): the neighbours of the stored rows, seen from the x (B, *shape) given.

    x may be an augmented or attacked version of the row: the neighbour stays the one of the clean row.
    """
    places = tensors["neighbours"][rows.to(tensors["neighbours"].device)].long()  # (B, C)
    found = tensors["pool"][places.flatten().to(tensors["pool"].device)].to(x.device)  # (B*C, *shape)
    coordinates = (config.coordinates, config.mean, config.std)
    found = in_coordinates(found, *coordinates).unflatten(0, places.shape)
    return directions(found, in_coordinates(x, *coordinates))
