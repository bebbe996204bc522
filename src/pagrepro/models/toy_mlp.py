"""Multi-layer perceptron with ReLU for data that are not images.

Ganz et al. (2022), section 4.1 and appendix: 2 -> 32 -> 2. `hidden` serves other synthetic sets.
The raw, un-scaled inputs of that experiment matter: divided by 50 the plain network is robust by itself.
"""

from itertools import pairwise
from math import prod

from pydantic import Field
from torch import Tensor, nn

from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """hidden: width of every hidden layer; input_scale: inputs are multiplied by it first."""

    hidden: list[int] = Field([32])
    input_scale: Number = 1.0


class ToyMlp(nn.Module):
    """(B, *shape) -> logits (B, classes); the example is flattened. PyTorch's default initialisation."""

    def __init__(self, config: Config, inputs: int, classes: int):
        super().__init__()
        self.input_scale = config.input_scale
        widths = [inputs, *config.hidden]
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1) * self.input_scale)


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Network for inputs (B, *shape) in the data's own units."""
    return ToyMlp(config, prod(shape), classes)
