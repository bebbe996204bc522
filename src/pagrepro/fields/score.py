"""Score maps: the gradient of the log density of the data, from a denoiser, at the images of a split.

Srinivas et al. (2023), section 4.2 (`score.py`): (D(x; sigma) - x) / sigma^2 with x mapped to [-1, 1] and
given to D as it is. sigma is in these coordinates: 0.5 for CIFAR-10 and 1.2 for ImageNet at 64x64. Maps are
not normalised.
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.dataset import to_float
from pagrepro.errors import DataError
from pagrepro.image_noise import image_noise
from pagrepro.options import Number, Strict
from pagrepro.request import FieldRequest
from pagrepro.score import score

REVISION = 1

# Axes of what is stored, for the estimate of disk space. With `resize` it is less.
STORES = ("rows", "pixels")

ROLES = {"denoiser": "run"}

# Roles whose run has to be fitted on the very data set of the field, but for `fitted_on`.
SAME_DATA = ("denoiser",)


class Config(Strict):
    """conditional: label, for a denoiser that takes classes: the true one of the image. resize: side that
    images are resized to before (bilinear, antialiased); the maps are of that size. average: D is the mean
    over so many noised versions of x; 0: D at x itself. fitted_on: data set of the denoiser, where that is
    not the field's own; it has to have the same range, and the same classes if it takes labels. batch_size:
    images per pass."""

    sigma: Number = Field(0.5, gt=0)
    conditional: Literal["none", "label"] = "none"
    resize: Annotated[int, Field(ge=1)] | None = None
    average: int = Field(0, ge=0)
    fitted_on: str | None = None
    dtype: Literal["float32", "float16"] = "float32"
    batch_size: Annotated[int, Field(ge=1)] = 128


@torch.no_grad()
def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """scores (n, *shape) for the n rows of this shard; with `resize` (n, C, resize, resize).

    Raises DataError when the run is no denoiser, one for other shapes, classes or labels than these, or when
    the data have no range.
    """
    denoiser, maps = request.inputs["denoiser"].model, []
    _check(config, request)
    for rows in request.rows.split(config.batch_size):
        x = to_float(request.x[rows].to(request.device))
        check_range(x, request.low, request.high, "images given to the denoiser")
        x = _resized(config, x)
        y = request.y[rows].to(request.device) if config.conditional == "label" else None
        noise = None
        if config.average:
            noise = image_noise(request.seed, "score", rows, (config.average, *x.shape[1:]))
        found = score(denoiser, x, config.sigma, request.low, request.high, y, noise)
        maps.append(found.to("cpu", getattr(torch, config.dtype)))
    return {"scores": torch.cat(maps)}


def _resized(config: Config, x: Tensor) -> Tensor:
    if config.resize is None:
        return x
    side = (config.resize, config.resize)
    return F.interpolate(x, side, mode="bilinear", antialias=True, align_corners=False)


def _check(config: Config, request: FieldRequest) -> None:
    run = request.inputs["denoiser"]
    if not hasattr(run.model, "denoise"):
        raise DataError(f"score: role denoiser: {run.name} has no `denoise`; expected a run of a denoiser")
    shape = tuple(_resized(config, to_float(request.x[:1])).shape[1:])
    if shape != run.model.shape:
        raise DataError(
            f"score: role denoiser: {run.name} is for examples {run.model.shape}, these are {shape}"
        )
    classes = request.classes if config.conditional == "label" else 0
    if classes != run.model.classes:
        raise DataError(
            f"score: role denoiser: {run.name} takes {run.model.classes} classes (0: no labels), but with"
            f" conditional: {config.conditional} it would be given {classes}"
        )


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """The stored maps (B, *shape) in the dtype of x, whatever version of these rows x is."""
    return tensors["scores"][rows.to(tensors["scores"].device)].to(x)
