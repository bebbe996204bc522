"""Exact directions on Spheres: g(x, c) = (r_c / |x| - 1) x, to the nearest point of the sphere of class c.

Bigolin Lanfredi et al. (2020), section 4, "Spheres": the residual from one class to the other is radial. The
own class of x is the one whose radius is nearest to |x|; its direction is exactly zero. Nothing depends on a
row, so fresh and attacked examples can be read.
"""

import torch
from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.options import Number, Strict
from pagrepro.request import FieldRequest

REVISION = 1

# Axes of what is stored, for the estimate of disk space.
STORES = ("classes",)

# These tensors are the same in every shard, and no value depends on the row: any examples can be read.
SHARED = ("radii",)
ANY_ROWS = True

# Relative difference between a radius and the length of an example that rounding can explain.
TOLERANCE = 1e-3


class Config(Strict):
    """radii: of class 0 and class 1; they have to be those of the data."""

    radii: tuple[Number, Number] = (1.0, 1.3)


def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """radii (2,). Raises DataError where examples of the split do not lie on the spheres of their classes."""
    radii = torch.tensor(config.radii)
    if request.x.dim() != 2 or request.classes != len(radii):
        raise DataError(
            f"field sphere_direction: expected vectors of {len(radii)} classes, found examples of shape"
            f" {tuple(request.x.shape[1:])} of {request.classes} classes"
        )
    lengths = request.x.double().norm(dim=1).cpu()
    difference = (lengths / radii.double()[request.y.cpu()] - 1).abs()
    if bool((difference > TOLERANCE).any()):
        row = int(difference.argmax())
        raise DataError(
            f"field sphere_direction: radii {list(config.radii)}, but row {row} of the split, of class"
            f" {int(request.y[row])}, has length {float(lengths[row])}"
        )
    return {"radii": radii}


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """(B, 2, n) for any x (B, n), zero for the own class; `rows` play no part."""
    radii = tensors["radii"].to(x)
    length = x.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)  # (B, 1)
    own = (length - radii).abs().argmin(1)
    scale = (radii / length - 1).scatter(1, own[:, None], 0.0)  # (B, 2)
    return scale[:, :, None] * x[:, None]
