"""Target directions from a frozen (robust) teacher: g(x, t) = grad_x f*_t(x), as unit vectors.

Ganz et al. (2022), section 4.1 "Robust Input Gradient Distillation": the teacher in eval mode, un-augmented
x. The objective takes cosines, so only directions are stored. In the paper this is an upper bound and no
evidence: the teacher was trained adversarially.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.dataset import to_float
from pagrepro.gradients import class_gradients
from pagrepro.options import Strict
from pagrepro.request import FieldRequest

REVISION = 1

# Axes of what is stored, for the estimate of disk space.
STORES = ("rows", "classes", "pixels")

ROLES = {"teacher": "run"}

# Gradients below this norm have no direction in single precision: they are stored as zero (no target).
SMALLEST_NORM = 1e-30


class Config(Strict):
    """gradient_of: the class score that is differentiated, the same as in the objective; dtype: of the stored
    unit vectors (float16 keeps 3 digits of each entry); batch_size: images per backward pass."""

    gradient_of: Literal["logit", "log_probability"] = "logit"
    dtype: Literal["float16", "float32"] = "float16"
    batch_size: Annotated[int, Field(ge=1)] = 256


def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """directions (n, C, *shape) float16 or float32: unit vectors for the n rows of this shard, zero where the
    gradient is zero or not finite."""
    teacher = request.inputs["teacher"].model
    found = []
    for rows in request.rows.split(config.batch_size):
        x = to_float(request.x[rows].to(request.device))
        check_range(x, request.low, request.high, "images given to the teacher")
        gradients = class_gradients(teacher, x, config.gradient_of).detach()
        found.append(_unit(gradients).to(getattr(torch, config.dtype)).cpu())
    return {"directions": torch.cat(found)}


def _unit(gradients: Tensor) -> Tensor:
    """gradients (B, C, *shape) divided by their norms."""
    flat = gradients.flatten(2)
    # The largest entry is divided out first: squares of small entries would underflow in the norm.
    flat = flat / flat.abs().amax(2, keepdim=True).clamp_min(SMALLEST_NORM)
    flat = flat / flat.norm(dim=2, keepdim=True).clamp_min(0.5)
    return flat.nan_to_num(0.0, 0.0, 0.0).view_as(gradients)


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """The stored unit vectors (B, C, *shape) in the dtype of x, whatever version of these rows x is."""
    return tensors["directions"][rows.to(tensors["directions"].device)].to(x)
