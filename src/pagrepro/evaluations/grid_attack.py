"""Worst case over a grid of perturbations of points of a plane, as a check on gradient-based attacks.

Not in Ganz et al. (2022), for the classifiers of their Figure 3: PGD from a point far from the boundary of a
piecewise linear toy classifier can walk the wrong way, so that its accuracy flatters the classifier; a grid
has no such blind spot.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.options import Number, Strict
from pagrepro.predictions import batches, circle, logits, predicted, require_plane
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """directions: evenly spaced unit vectors; radii: L2 lengths tried along each; slope: the first direction
    is (1, slope)."""

    directions: Annotated[int, Field(ge=1)] = 36
    radii: tuple[Annotated[Number, Field(gt=0)], ...] = (3.0, 6.0, 9.0, 12.0, 15.0)
    slope: Number = 0.0


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: accuracy, the share of examples classified correctly at x and at every grid point around it
    (data without bounds: no clipping); clean_accuracy. arrays: correct (N,), clean_correct (N,) bool.

    Raises DataError for data that are not points of a plane.
    """
    require_plane(request, "grid_attack")
    rays = circle(config.directions, config.slope)
    steps = torch.cat([rays * radius for radius in config.radii]).to(request.x.dtype)
    clean, robust = [], []
    for _, x, y in batches(request):
        right = predicted(logits(request.model, x, len(x))) == y
        clean.append(right.cpu())
        robust.append((right & _right_everywhere(request, x, y, steps.to(x))).cpu())
    correct, clean_correct = torch.cat(robust), torch.cat(clean)
    return Measurement(
        {"accuracy": correct.double().mean().item(), "clean_accuracy": clean_correct.double().mean().item()},
        {"correct": correct.numpy(), "clean_correct": clean_correct.numpy()},
    )


def _right_everywhere(request: MeasureRequest, x: Tensor, y: Tensor, steps: Tensor) -> Tensor:
    """Whether every point x + step is classified as y. x: (B, 2); steps: (K, 2) -> (B,)."""
    around = (x[:, None] + steps).flatten(0, 1)
    predictions = predicted(logits(request.model, around, 1 << 16)).view(len(x), len(steps))
    return (predictions == y[:, None]).all(1)
