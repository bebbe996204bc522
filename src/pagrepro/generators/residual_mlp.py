"""Multi-layer perceptron that makes the residual which takes a point to the other class.

Bigolin Lanfredi et al. (2020), section 2.3.1 (Eq. 10) on the Spheres data, supplement A.1: two hidden layers
of 1000 units. As in their code each has a ReLU followed by a batch norm, and the two classes are two more
inputs as they are.
"""

from itertools import pairwise
from math import prod

import torch
from pydantic import Field
from torch import Tensor, nn

from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """hidden: width of every hidden layer. centre, scale: the network sees (x - centre) / scale and its
    output times `scale` is the residual; for data in their own range leave them out."""

    hidden: list[int] = Field([1000, 1000], min_length=1)
    centre: Number = 0.0
    scale: Number = Field(1.0, gt=0)


class ResidualMlp(nn.Module):
    """x (B, *shape), target and source (B,) int64 -> residual (B, *shape). Linear layers have PyTorch's
    initialisation, the scales of batch norm are N(0.1, 0.01)."""

    def __init__(self, config: Config, inputs: int):
        super().__init__()
        self.centre, self.scale = config.centre, config.scale
        layers: list[nn.Module] = []
        for width, following in pairwise([inputs + 2, *config.hidden]):
            norm = nn.BatchNorm1d(following)
            nn.init.normal_(norm.weight, 0.1, 0.01)
            layers += [nn.Linear(width, following), nn.ReLU(), norm]
        self.layers = nn.Sequential(*layers, nn.Linear(config.hidden[-1], inputs))

    def forward(self, x: Tensor, target: Tensor, source: Tensor) -> Tensor:
        classes = torch.stack([target, source], 1).to(x.dtype)
        seen = torch.cat([(x.flatten(1) - self.centre) / self.scale, classes], 1)
        return self.scale * self.layers(seen).view_as(x)


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Generator for examples of any shape, which are flattened."""
    return ResidualMlp(config, prod(shape))
