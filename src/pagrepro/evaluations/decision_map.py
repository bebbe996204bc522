"""Decision regions of a classifier of the plane (Ganz et al. 2022, Figure 3)."""

from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from pagrepro.options import Number, Strict
from pagrepro.predictions import logits, predicted, require_plane
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """x_bounds, y_bounds: rectangle to map; resolution: grid cells along each axis."""

    x_bounds: tuple[Number, Number] = (-60.0, 60.0)
    y_bounds: tuple[Number, Number] = (-120.0, 120.0)
    resolution: Annotated[int, Field(ge=2)] = 400


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: accuracy on the points (fraction).

    arrays: grid (h, w) int8, the class at the centre of each cell, row 0 at the lower y bound (-1: logits not
    finite); x_bounds, y_bounds (2,); points (N, 2) float32, labels (N,), predictions (N,): the examples.
    Raises DataError for data that are not points of a plane.
    """
    require_plane(request, "decision_map")
    across, up = (_centres(bounds, config.resolution) for bounds in (config.x_bounds, config.y_bounds))
    cells = torch.cartesian_prod(up, across).flip(1).to(request.x.dtype).to(request.device)
    size = max(request.batch_size, 1 << 15)  # a plane is small: larger batches than for images
    grid = predicted(logits(request.model, cells, size)).view(config.resolution, config.resolution)
    predictions = predicted(logits(request.model, request.x.to(request.device), size)).cpu()
    return Measurement(
        {"accuracy": (predictions == request.y.cpu()).double().mean().item()},
        {
            "grid": grid.to(torch.int8).cpu().numpy(),
            "x_bounds": np.array(config.x_bounds),
            "y_bounds": np.array(config.y_bounds),
            "points": request.x.float().cpu().numpy(),
            "labels": request.y.cpu().numpy(),
            "predictions": predictions.numpy(),
        },
    )


def _centres(bounds: tuple[float, float], cells: int) -> torch.Tensor:
    low, high = bounds
    return low + (torch.arange(cells, dtype=torch.float64) + 0.5) * ((high - low) / cells)
