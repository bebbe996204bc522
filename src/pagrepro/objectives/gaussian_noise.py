"""Training on images with Gaussian noise.

Srinivas, Bordt and Lakkaraju (2023), appendix B, objective 3, there called randomized smoothing (Cohen,
Rosenfeld and Kolter, 2019):
    L(x, y) = E_e CE(f(x + e), y),   e ~ N(0, sigma^2),
with one e per image and step; clean images are not trained on. The public code measures the network without
noise, as every measurement here does but `smoothed_accuracy`.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.batch import Batch
from pagrepro.objectives._noise import noisy
from pagrepro.options import Number, Strict

REVISION = 1
FIRST_ORDER = True


class Config(Strict):
    """sigma: standard deviation of the noise, in the data's units."""

    sigma: Number = Field(ge=0)


def build(config: Config):
    """Objective: (model, batch, generator) -> {"loss": (B,)}, the cross-entropy at the noisy image.
    generator: the noise, which is not clipped."""

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        x = noisy(batch.augmented().detach(), config.sigma, generator)
        return {"loss": F.cross_entropy(model(x), batch.target, reduction="none")}

    return objective
