"""The score of noised data, grad_x log p_sigma(x), from a denoiser.

Srinivas et al. (2023), section 4.2, with Vincent (2011): score(x; sigma) = (D(x; sigma) - x) / sigma^2, in
the coordinates [-1, 1] of the denoiser. D is given x itself, as the paper's code does, or several noised
versions of it.
"""

import torch
from torch import Tensor, nn

from pagrepro.errors import DataError

REVISION = 1


def check_bounded(low: float | None, high: float | None) -> None:
    """Raise DataError for data without a range."""
    if low is None or high is None:
        raise DataError(f"denoisers work on [-1, 1]: the data need a range, found [{low}, {high}]")


def to_coordinates(x: Tensor, low: float | None, high: float | None) -> Tensor:
    """x in [low, high] -> [-1, 1]. Raises DataError for data without a range."""
    check_bounded(low, high)
    return 2 * (x - low) / (high - low) - 1


def score(
    denoiser: nn.Module,
    x: Tensor,
    sigma: float,
    low: float | None,
    high: float | None,
    y: Tensor | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """Score (B, *shape) in units of the denoiser's coordinates, at x (B, *shape) in [low, high].

    sigma: > 0, in the denoiser's coordinates; y: labels (B,) int64 for a denoiser with classes; noise
    (B, K, *shape), standard normal: D is the mean over the K versions x + sigma noise, else it is D(x).
    """
    if sigma <= 0:
        raise DataError(f"the score needs a noise level above 0, found sigma {sigma}")
    x = to_coordinates(x, low, high)
    if noise is None:
        denoised = denoiser.denoise(x, sigma, y)
    else:
        versions = noise.to(x).unbind(1)
        denoised = torch.stack([denoiser.denoise(x + sigma * n, sigma, y) for n in versions]).mean(0)
    return (denoised - x) / sigma**2
