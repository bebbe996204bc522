"""Cross-entropy plus the change of the outputs under Gaussian noise on the image.

Srinivas, Bordt and Lakkaraju (2023), appendix B, objective 2:
    L(x, y) = CE(f(x), y) + lambda E_e ||f(x + e) - f(x)||_2^2,   e ~ N(0, sigma^2),
with one e per image and step, and gradients through both terms of the difference. Logits stand for f as in
the public code (`output: probabilities` is the simplex of the text). Clean and noisy images go through the
network apart, as there: each pass has its own batch statistics, and the running ones are updated by both.
"""

from typing import Literal

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
    """weight: lambda; sigma: standard deviation of the noise, in the data's units; output: whose change is
    penalised."""

    weight: Number = Field(ge=0)
    sigma: Number = Field(0.1, gt=0)
    output: Literal["logits", "probabilities"] = "logits"


def build(config: Config):
    """Objective: (model, batch, generator) -> per-example terms (B,): loss, cross_entropy (at the clean
    image) and penalty (before lambda). generator: the noise, which is not clipped."""

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        x = batch.augmented().detach()
        clean = model(x)
        moved = model(noisy(x, config.sigma, generator))
        cross_entropy = F.cross_entropy(clean, batch.target, reduction="none")
        # In the precision of x: the difference of two half-precision outputs squared would say little.
        difference = _output(config, moved.to(x)) - _output(config, clean.to(x))
        penalty = difference.square().sum(1)
        return {
            "loss": cross_entropy + config.weight * penalty,
            "cross_entropy": cross_entropy.detach(),
            "penalty": penalty.detach(),
        }

    return objective


def _output(config: Config, logits: Tensor) -> Tensor:
    return logits if config.output == "logits" else logits.softmax(1)
