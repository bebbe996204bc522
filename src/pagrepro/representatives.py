"""Directions from an image to representatives of classes: g(x, t) = r_t - x.

Ganz et al. (2022), section 4.2. The fields that use representatives differ in how r_t is found; what
they share is here: the coordinates in which the difference is taken, and exact distances.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pagrepro.dataset import to_float
from pagrepro.errors import DataError
from pagrepro.request import FieldRequest

REVISION = 1

# Elements of one block of distances: 8 MiB of doubles stay near the processor.
BLOCK = 1 << 20


def check_coordinates(request: FieldRequest, coordinates: str) -> None:
    """`normalised` and `unit` are made for values in [0, 1], `raw` for data that are not stored images.

    Raises DataError for the other combinations.
    """
    images = request.x.dtype == torch.uint8 or (request.low, request.high) == (0.0, 1.0)
    if coordinates != "raw" and not images:
        raise DataError(
            f"field with coordinates {coordinates!r} on data with range [{request.low}, {request.high}]:"
            " only data in [0, 1] have such coordinates; write `coordinates: raw`"
        )
    if coordinates == "raw" and request.x.dtype == torch.uint8:
        raise DataError(
            "field with coordinates 'raw' on images stored as uint8: write `unit` or `normalised`"
        )


def in_coordinates(x: Tensor, coordinates: str, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """x (N, *shape), as stored or as float, in the coordinates in which directions are measured.

    normalised: (x - mean) / std, channel by channel, with x in [0, 1]; mean and std hold one value, or one
    per channel (axis 1). With the default 0.5 that is [-1, 1]. unit, raw: x itself (uint8 becomes [0, 1]).
    """
    x = to_float(x)
    if coordinates != "normalised":
        return x
    ones = (1,) * (x.dim() - 2)
    center, width = (
        torch.as_tensor(v, dtype=x.dtype, device=x.device).view(1, -1, *ones) for v in (mean, std)
    )
    return (x - center) / width


def directions(representatives: Tensor, x: Tensor) -> Tensor:
    """r_t - x for every class: (C, *shape) or (B, C, *shape) minus (B, *shape) -> (B, C, *shape)."""
    return representatives.to(x) - x.unsqueeze(1)


def class_rows(y: Tensor, classes: int) -> list[Tensor]:
    """Rows of every class, ascending. Raises DataError for a class without any example."""
    rows = [(y == t).nonzero().flatten() for t in range(classes)]
    empty = [t for t, found in enumerate(rows) if len(found) == 0]
    if empty:
        raise DataError(f"classes {empty} have no example in the split: they have no representative")
    return rows


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared L2 distances (len(a), len(b)) of flattened examples, float64, zero exactly for equal ones.

    Stored images are integers, whose sums of products float64 holds exactly: the matrix form is exact. On
    floating point data that form cancels (in float32 it picks wrong neighbours for examples far from the
    origin), so there the differences are taken first.
    """
    exact = a.dtype == torch.uint8 and b.dtype == torch.uint8
    a, b = a.flatten(1).double(), b.flatten(1).double()
    if exact:
        return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * (a @ b.T)
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()


def blocks(rows: Tensor, columns: int) -> Iterator[Tensor]:
    """`rows` in pieces whose distances to `columns` examples fit into one block."""
    return iter(rows.split(max(1, BLOCK // max(1, columns))))
