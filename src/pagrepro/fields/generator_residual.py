"""Target directions made by a residual generator: g(x, y') = G(x, y') for the other of two classes.

Bigolin Lanfredi et al. (2020), section 2.3.1, Eq. 10: the estimate of the step from x to the closest example
of the other class. In eval mode, at un-augmented x.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.dataset import to_float
from pagrepro.errors import DataError
from pagrepro.options import Strict
from pagrepro.request import FieldRequest

REVISION = 1

# Axes of what is stored, for the estimate of disk space.
STORES = ("rows", "pixels")

ROLES = {"generator": "run"}


class Config(Strict):
    """dtype: of the stored residuals; batch_size: examples per forward pass."""

    dtype: Literal["float32", "float16"] = "float32"
    batch_size: Annotated[int, Field(ge=1)] = 256


@torch.no_grad()
def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """residuals (n, *shape) in the data's units, for the n rows of this shard; targets (n,) int64: the class
    each leads to. Raises DataError unless the data have two classes."""
    if request.classes != 2:
        raise DataError(f"generator_residual is for data of 2 classes, found {request.classes}")
    generator, residuals = request.inputs["generator"].model, []
    for rows in request.rows.split(config.batch_size):
        x = to_float(request.x[rows].to(request.device))
        check_range(x, request.low, request.high, "examples given to the generator")
        y = request.y[rows].to(request.device)
        residuals.append(generator(x, 1 - y, y).to("cpu", getattr(torch, config.dtype)))
    return {"residuals": torch.cat(residuals), "targets": 1 - request.y[request.rows].cpu()}


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """(B, 2, *shape): the stored residual towards the other class, zero for the row's own, whatever version
    of these rows x (B, *shape) is."""
    rows = rows.to(tensors["residuals"].device)
    directions = x.new_zeros(len(x), 2, *x.shape[1:])
    examples = torch.arange(len(x), device=x.device)
    directions[examples, tensors["targets"][rows].to(x.device)] = tensors["residuals"][rows].to(x)
    return directions
