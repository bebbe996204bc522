"""The multi-layer perceptron for Spheres: Linear, ReLU, frozen batch normalisation, ..., Linear.

Lanfredi et al. (2020), section 3.1: two hidden layers of 1,000 ReLU units and a single logit. In their
public code every ReLU is followed by batch normalisation in eval mode with statistics 0 and 1: a scale and a
shift per unit that train, beside a constant factor of 1 / sqrt(1 + 1e-5). The paper does not mention them.
"""

from itertools import pairwise
from math import prod

from pydantic import Field
from torch import Tensor, nn

from pagrepro.layers import FrozenBatchNorm1d, as_pair, outputs
from pagrepro.options import Strict

REVISION = 1


class Config(Strict):
    """hidden: width of every hidden layer; frozen_bn_affine: scale and shift after each ReLU; single_logit:
    one output f for two classes, returned as the pair (-f/2, f/2); false: an output per class."""

    hidden: list[int] = Field([1000, 1000])
    frozen_bn_affine: bool = True
    single_logit: bool = True


class SpheresMlp(nn.Module):
    """(B, *shape) -> logits (B, classes); the example is flattened. PyTorch's default initialisation."""

    def __init__(self, config: Config, inputs: int, classes: int):
        super().__init__()
        self.single_logit = config.single_logit
        widths = [inputs, *config.hidden]
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU()]
            if config.frozen_bn_affine:
                layers.append(FrozenBatchNorm1d(following))
        last = nn.Linear(widths[-1], outputs(config.single_logit, classes, "spheres_mlp"))
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.layers(x.flatten(1))
        return as_pair(scores) if self.single_logit else scores


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Network for inputs (B, *shape) in the data's own units. Raises ValueError for a single logit and other
    than two classes."""
    return SpheresMlp(config, prod(shape), classes)
