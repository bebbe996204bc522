"""Target directions towards the projection of x to the manifold of other classes: g(x, c) = G(z*, c) - x.

Bigolin Lanfredi et al. (2020), section 2.3.2, Eq. 14-16 (`projection.py`). All pairs of an image and a class
are independent and projected together, as many at a time as fill a GPU (`batch`). Only pairs that are used
need to be there: all other classes of each image, or those that a measurement `pairs` names for it (the
closest classes to the images, of some model).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.dataset import to_float
from pagrepro.errors import DataError
from pagrepro.gan_networks import ConditionalGan
from pagrepro.options import Number, Strict
from pagrepro.projection import project
from pagrepro.request import FieldRequest

REVISION = 1

# Of the images that `batch` counts.
PIXELS = 32 * 32

# Axes of what is stored, for the estimate of disk space. With `pairs` it is less.
STORES = ("rows", "classes", "pixels")

# The same in every shard.
SHARED = ("class_count",)

ROLES = {"generator": "run", "pairs": "evaluation?"}


class Config(Strict):
    """weight: lambda of Eq. 15. steps, regularised_steps: Adam iterations without and then with the
    penalty; lr: of both. z_penalty_div: the penalty is divided by dim(z), as in the code, or by the number
    of pixels, as in Eq. 15. dtype: of the stored images; batch: pairs projected at a time, fewer of images
    with more than 32 x 32 pixels in proportion. At the paper's width 1024 of them take about 10 GB and some
    6.5 TFLOP per step. Results do not depend on it but for rounding."""

    weight: Number = Field(ge=0)
    steps: int = Field(600, ge=0)
    regularised_steps: int = Field(150, ge=0)
    lr: Number = Field(0.1, gt=0)
    z_penalty_div: Literal["z", "x"] = "z"
    dtype: Literal["float32", "float16"] = "float32"
    batch: int = Field(1024, ge=1)


def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """classes (n, P) int32: the classes each of the shard's n rows is projected to; images (n, P, *shape):
    the projections, in the data's range; losses (n, P) float32: final values of Eq. 15; class_count (1,)
    int64.

    Raises DataError when the run is no class-conditional generator, or `pairs` are not of this split.
    """
    generator = request.inputs["generator"].model
    if not isinstance(generator, ConditionalGan):
        raise DataError("gan_projection: role generator: expected a run of task conditional_gan")
    classes = _classes(request)
    per_row = classes.shape[1]
    images = torch.empty(*classes.shape, *request.x.shape[1:], dtype=getattr(torch, config.dtype))
    losses = torch.empty(classes.shape)
    options = config.model_dump(exclude={"dtype", "batch"})
    for pairs in torch.arange(classes.numel()).split(at_a_time(config.batch, tuple(request.x.shape[1:]))):
        x = to_float(request.x[request.rows[pairs // per_row]].to(request.device))
        check_range(x, request.low, request.high, "images to be projected")
        wanted = classes.flatten()[pairs].long().to(request.device)
        made, loss = project(generator, x, wanted, **options)
        images.flatten(0, 1)[pairs] = made.to("cpu", images.dtype)
        losses.view(-1)[pairs] = loss.to("cpu", losses.dtype)
    count = torch.tensor([request.classes])
    return {"classes": classes, "images": images, "losses": losses, "class_count": count}


def at_a_time(batch: int, shape: tuple[int, ...]) -> int:
    """Pairs of images of this shape (C, H, W) that are projected together."""
    return max(1, batch * PIXELS // max(PIXELS, shape[-2] * shape[-1]))


def _classes(request: FieldRequest) -> Tensor:
    """Classes (n, P) int32 to project the rows of this shard to, never their own."""
    own = request.y[request.rows].cpu()
    if "pairs" not in request.inputs:
        every = torch.arange(request.classes, dtype=torch.int32).expand(len(own), -1)
        return every[every != own[:, None]].view(len(own), request.classes - 1)
    closest = torch.as_tensor(request.inputs["pairs"].arrays["closest"]).int()
    if len(closest) != len(request.y):
        raise DataError(
            f"gan_projection: role pairs: classes of {len(closest)} examples, but the split has"
            f" {len(request.y)}; measure it on the split of the field"
        )
    chosen = closest.reshape(len(closest), -1)[request.rows]
    if bool(((chosen == own[:, None]) | (chosen < 0) | (chosen >= request.classes)).any()):
        raise DataError("gan_projection: role pairs: names an example's own class, or one that is not there")
    return chosen


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """Projection of the stored row minus the x (B, *shape) given, at the classes that were projected to; zero
    (B, C, *shape) at all others. x may be an augmented or attacked version of the row."""
    rows = rows.to(tensors["images"].device)
    places = tensors["classes"][rows].long().to(x.device)  # (B, P)
    directions = x.new_zeros(len(x), int(tensors["class_count"][0]), *x.shape[1:])
    examples = torch.arange(len(x), device=x.device)[:, None]
    directions[examples, places] = tensors["images"][rows].to(x) - x[:, None]
    return directions
