"""What the gradient of ell looks like: how rough it is, and on how many inputs it is spread; with examples.

Lanfredi et al. (2020), section 3.3 and Figure 6, describe the gradients of their models as images in words
(smoother with either training, more localised after PGD). The two numbers are this project's, not the
paper's, for an image g (channels, height, width) with n entries:
    total variation      sum_{c,i,j} |g[c,i+1,j] - g[c,i,j]| + |g[c,i,j+1] - g[c,i,j]|, over sum |g|
                         (anisotropic; differences inside the image; 0 for a constant image),
    participation ratio  (sum g^2)^2 / (n sum g^4), from 1/n (a single entry) to 1 (all of one magnitude).
Neither depends on the scale of g.
"""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.closest_class import class_distances, closest_class, ell_gradient, is_zero, linearised
from pagrepro.options import Strict
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """images: how many examples, from the first on, are kept with their gradients; ctilde: the closest class
    by signed distances, or by their magnitude (Eq. 5); gradient_batch: examples per backward pass, where it
    has to be smaller than the evaluation's batch size."""

    images: Annotated[int, Field(ge=0)] = 8
    ctilde: Literal["signed", "abs"] = "signed"
    gradient_batch: Annotated[int, Field(ge=1)] | None = None


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: total_variation and participation_ratio, means over the examples with a gradient;
    zero_gradient, the share of examples without one. Total variation is NaN, with a flag, for data that are
    not images.

    arrays: total_variation, participation_ratio (N,) float32, NaN without a gradient; of the first k =
    `images` examples: images and gradients (k, *shape) float32, labels and closest (k,) int64.
    """
    check_range(request.x, request.low, request.high)
    parts, kept = [], []
    for start, x, y in batches(replace(request, batch_size=config.gradient_batch or request.batch_size)):
        logits, gradients = linearised(request.model, x)
        c = closest_class(class_distances(logits, gradients, y), y, config.ctilde)
        g = ell_gradient(gradients, y, c)
        parts.append((total_variation(g), participation_ratio(g), is_zero(g)))
        if start < config.images or start == 0:
            kept.append((x, g, y, c))
    variation, participation, empty = (torch.cat(part).cpu() for part in zip(*parts))
    values = {
        "total_variation": variation.nanmean().item(),
        "participation_ratio": participation.nanmean().item(),
        "zero_gradient": empty.double().mean().item(),
    }
    arrays = {
        "total_variation": variation.float().numpy(),
        "participation_ratio": participation.float().numpy(),
    }
    shown = (torch.cat(part)[: config.images].cpu() for part in zip(*kept))
    for name, value in zip(("images", "gradients", "labels", "closest"), shown):
        arrays[name] = (value.float() if value.is_floating_point() else value).numpy()
    found = {
        "zero_gradients": bool(empty.any()),
        "not_images": request.x.dim() != 4,
        "nonfinite_gradients": bool(participation[~empty].isnan().any()),
    }
    return Measurement(values, arrays, [flag for flag, present in found.items() if present])


def total_variation(g: Tensor) -> Tensor:
    """Anisotropic total variation over the sum of magnitudes, (B,) float64, of images g (B, C, H, W); NaN
    for a zero image and for examples of any other form."""
    if g.dim() != 4:
        return torch.full((len(g),), torch.nan, dtype=torch.float64, device=g.device)
    g = g.double()
    rough = g.diff(dim=2).abs().flatten(1).sum(1) + g.diff(dim=3).abs().flatten(1).sum(1)
    return (rough / g.abs().flatten(1).sum(1)).where(~is_zero(g), torch.nan)


def participation_ratio(g: Tensor) -> Tensor:
    """(sum g^2)^2 / (n sum g^4), (B,) float64, of g (B, *shape); NaN for a zero example."""
    g = g.double().flatten(1)
    empty = is_zero(g)
    # Fourth powers of small gradients underflow; the ratio has no scale.
    square = (g / g.abs().amax(1, keepdim=True)).square()
    ratio = square.sum(1).square() / (square.shape[1] * square.square().sum(1))
    return ratio.where(~empty, torch.nan)
