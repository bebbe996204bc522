"""Noise on the signal or on the distractor of an image alone, for data that say which is which.

Srinivas et al. (2023), Definition 3 and section 4.3: an example x with mask m is m x (signal) + (1 - m) x
(distractor).
"""

import torch
from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.request import MeasureRequest

REVISION = 1


def signal_mask(request: MeasureRequest, measure: str) -> Tensor:
    """The request's mask, (N, *shape) bool, True on the signal. Raises DataError for data without one."""
    if request.mask is None:
        name = request.spec.get("dataset", {}).get("name", "these data")
        raise DataError(
            f"{measure} needs to know which pixels are the signal; {name} do not say. Data sets with a"
            " distractor do: mnist_distractor, digits_distractor"
        )
    return request.mask


def add_noise(x: Tensor, noise: Tensor, sigma: float, where: Tensor) -> Tensor:
    """x + sigma * noise where `where` is True, x to the last bit elsewhere; all (B, *shape). Not clipped."""
    return torch.where(where, x + sigma * noise, x)
