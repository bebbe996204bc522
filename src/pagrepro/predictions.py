"""Predictions of a classifier, batch by batch: what most measurements begin with."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pagrepro.errors import DataError
from pagrepro.request import MeasureRequest

REVISION = 1


def batches(request: MeasureRequest) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(start, x, y) of consecutive batches, on the request's device."""
    for start in range(0, len(request.x), request.batch_size):
        part = slice(start, start + request.batch_size)
        yield start, request.x[part].to(request.device), request.y[part].to(request.device)


@torch.no_grad()
def logits(model: nn.Module, x: Tensor, batch_size: int) -> Tensor:
    """Class scores (N, classes) of x (N, *shape), without a graph."""
    return torch.cat([model(part) for part in x.split(batch_size)])


def predicted(scores: Tensor) -> Tensor:
    """Class of the largest score (N,) int64; -1 where a score is not finite, which is never right.

    (argmax alone would call such an example class 0, or any other, and correct when that is its label.)
    """
    return scores.argmax(1).where(scores.isfinite().all(1), -1)


def require_plane(request: MeasureRequest, measure: str) -> None:
    """Raises DataError unless the data are points of a plane."""
    if tuple(request.x.shape[1:]) != (2,):
        raise DataError(
            f"{measure} is for points of a plane, found examples of shape {tuple(request.x.shape[1:])}"
        )


def circle(directions: int, slope: float = 0.0) -> Tensor:
    """Evenly spaced unit vectors (directions, 2), the first along (1, slope)."""
    first = torch.atan(torch.tensor(float(slope), dtype=torch.float64))
    angles = first + torch.arange(directions, dtype=torch.float64) * (2 * torch.pi / directions)
    return torch.stack([angles.cos(), angles.sin()], 1)
