"""Training images with Gaussian noise, drawn anew for every image and step."""

import torch
from torch import Tensor

REVISION = 1


def noisy(x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """x + e with e ~ N(0, sigma^2) for every entry of x (B, *shape), in the units of x and not clipped.
    generator: on any device."""
    return x + sigma * torch.randn(x.shape, generator=generator, device=generator.device).to(x)
