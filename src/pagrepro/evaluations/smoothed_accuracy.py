"""Accuracy of the smoothed classifier: the class of the largest mean probability under Gaussian noise.

Cohen, Rosenfeld and Kolter (2019), with probabilities in the place of votes:
    argmax_c mean_n softmax(f(x + e_n))_c,   e_n ~ N(0, sigma^2).
What the name "randomized smoothing" of an objective of Srinivas, Bordt and Lakkaraju (2023), appendix B,
suggests; their public code measures the network without noise (`base_accuracy`).
"""

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.image_noise import image_noise
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """sigma: standard deviation of the noise, in the data's units; draws: noisy copies of each image."""

    sigma: Number = Field(ge=0)
    draws: int = Field(100, ge=1)


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: accuracy (fraction) of the smoothed classifier, base_accuracy of the network without noise.

    arrays: correct (N,) bool of the smoothed classifier. Noise belongs to an image, a draw and the seed, and
    is not clipped; an image with outputs that are not finite counts as wrong.
    """
    check_range(request.x, request.low, request.high)
    correct, base = [], []
    for start, x, y in batches(request):
        mean = _smoothed(config, request, x, request.index[start : start + len(x)])
        correct.append((predicted(mean) == y).cpu())
        base.append((predicted(logits(request.model, x, len(x))) == y).cpu())
    joined = torch.cat(correct)
    return Measurement(
        {
            "accuracy": joined.double().mean().item(),
            "base_accuracy": torch.cat(base).double().mean().item(),
        },
        {"correct": joined.numpy()},
    )


def _smoothed(config: Config, request: MeasureRequest, x: Tensor, index: Tensor) -> Tensor:
    """Mean probabilities (B, C) over the noisy copies of x (B, *shape), rows `index` of the data."""
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for draw in range(config.draws):
        # One draw at a time: all of a batch's would not fit in memory for large images.
        noise = image_noise(request.seed, f"smoothing/{draw}", index, tuple(x.shape[1:])).to(x)
        total = total + logits(request.model, x + config.sigma * noise, len(x)).softmax(1)
    return total / config.draws
