"""Oriented energy of an image: where its edges are, as one map.

Rodriguez-Munoz, Wang and Torralba (2024), Eq. 3 and Table 5, in three forms; sums run over the channels c:
    sobel_squared      sum_c (S_u * x_c)^2 + (S_v * x_c)^2, S_u and S_v the Sobel filters (caption of Table 5)
    gaussian_squared   the same of the blurred image with the derivative filter K (Eq. 3: derivatives of a
                       Gaussian)
    blurred_root       G * sqrt(sum_c (K_u * G * x_c)^2 + (K_v * G * x_c)^2), of the public code
with K_u[v, u] = u / (u^2 + v^2) on {-1, 0, 1}^2, half a Sobel filter, and G the discrete Gaussian of variance
1, exp(-1) I_n(1) for |n| <= 3, normalised. Every convolution pads by reflection, which makes the derivative
across a border zero at it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.map_options import Energy

REVISION = 1

VARIANCE, REACH = 1.0, 3
DERIVATIVE = ((-0.5, 0.0, 0.5), (-1.0, 0.0, 1.0), (-0.5, 0.0, 0.5))


def oriented_energy(x: Tensor, form: Energy = "blurred_root") -> Tensor:
    """Energy (B, H, W) >= 0 of images x (B, C, H, W) of any range; scales with the contrast (blurred_root) or
    its square. Differentiable, but for blurred_root not where an image is flat.

    Raises DataError for anything but images of at least 4 x 4 pixels, ValueError for another form.
    """
    if x.dim() != 4 or min(x.shape[2:]) <= REACH:
        raise DataError(
            f"oriented energy of examples of shape {tuple(x.shape[1:])}: expected images of at least"
            f" {REACH + 1} x {REACH + 1} pixels"
        )
    if form == "sobel_squared":
        return _squared(2 * derivatives(x))
    if form == "gaussian_squared":
        return _squared(derivatives(blur(x)))
    if form == "blurred_root":
        return blur(_squared(derivatives(blur(x))).sqrt()[:, None])[:, 0]
    raise ValueError(f"oriented energy {form!r}; allowed: blurred_root, gaussian_squared, sobel_squared")


def gaussian_taps() -> list[float]:
    """Weights of the discrete Gaussian at -3..3, which sum to 1."""
    taps = [_bessel(abs(n), VARIANCE) for n in range(-REACH, REACH + 1)]
    return [tap / sum(taps) for tap in taps]


def blur(x: Tensor) -> Tensor:
    """x (B, C, H, W) with every channel blurred by the discrete Gaussian, both ways."""
    taps = torch.tensor(gaussian_taps(), dtype=x.dtype, device=x.device)
    return _each(_each(x, taps[None, :]), taps[:, None])


def derivatives(x: Tensor) -> Tensor:
    """Derivatives of x (B, C, H, W) along width and height by the filter K, (B, 2, C, H, W); 4 per pixel of
    a ramp of slope 1 (a Sobel filter gives 8)."""
    along = torch.tensor(DERIVATIVE, dtype=x.dtype, device=x.device)
    return torch.stack([_each(x, along), _each(x, along.T)], 1)


def _squared(d: Tensor) -> Tensor:
    """(B, H, W) sum of the squares of derivatives (B, 2, C, H, W)."""
    return d.square().sum((1, 2))


def _each(x: Tensor, kernel: Tensor) -> Tensor:
    """Every channel of x (B, C, H, W) correlated with the kernel (odd sides), padded by reflection."""
    high, wide = (side // 2 for side in kernel.shape)
    channels = x.flatten(0, 1)[:, None]
    padded = F.pad(channels, (wide, wide, high, high), mode="reflect")
    return F.conv2d(padded, kernel[None, None]).view_as(x)


def _bessel(order: int, t: float) -> float:
    """Modified Bessel function I_n(t), by its series; exact to rounding for t near 1."""
    terms = ((t / 2) ** (2 * k + order) / (math.factorial(k) * math.factorial(k + order)) for k in range(25))
    return math.fsum(terms)
