"""A plain convolutional network for tiny images: no shortcuts, one convolution per stage.

Not in the papers. It stands for the ResNet-18 of Srinivas et al. (2023) where hundreds of networks have to be
fitted on a processor without a GPU: a step takes few operations. The smooth activations are for what is
proved for smooth networks only.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.layers import Normalize, image_shape
from pagrepro.options import Number, Strict

REVISION = 1

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    # A ReLU with a rounded corner. With beta 1 everything is positive and such networks hardly learn.
    "softplus": partial(F.softplus, beta=10.0),
    "gelu": F.gelu,
    "silu": F.silu,
}


class Config(Strict):
    """widths: channels of every stage, a 3x3 convolution each; down: each stage after the first halves the
    image, by the stride of its convolution or by average pooling before it; head: what the linear layer sees,
    the "mean" over the image or the image "flat"; batchnorm: between convolution and activation; mean, std:
    normalisation of [0, 1] inputs, one value or one per channel."""

    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field((16, 32), min_length=1)
    activation: Literal["relu", "softplus", "gelu", "silu"] = "relu"
    batchnorm: bool = False
    down: Literal["stride", "pool"] = "stride"
    head: Literal["mean", "flat"] = "flat"
    mean: list[Number] = Field([0.5])
    std: list[Number] = Field([0.5])


class ConvNet(nn.Module):
    """(B, C, H, W) in [0, 1] -> logits (B, classes)."""

    def __init__(self, config: Config, shape: tuple[int, int, int], classes: int):
        super().__init__()
        channels, height, width = shape
        self.activation = ACTIVATIONS[config.activation]
        self.smooth = config.activation != "relu"  # read by `piecewise_linear`
        self.pool, self.flat = config.down == "pool", config.head == "flat"
        self.normalize = Normalize(config.mean, config.std, channels)
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for stage, out in enumerate(config.widths):
            stride = 2 if stage and not self.pool else 1
            # A convolution before a batch normalisation needs no bias.
            self.convs.append(nn.Conv2d(channels, out, 3, stride, 1, bias=not config.batchnorm))
            self.norms.append(nn.BatchNorm2d(out) if config.batchnorm else nn.Identity())
            channels = out
            if stage:
                height, width = (side // 2 if self.pool else -(-side // 2) for side in (height, width))
        if not height or not width:
            raise ValueError(
                f"model convnet: {len(config.widths)} stages leave nothing of images {shape[1:]}"
            )
        self.linear = nn.Linear(channels * height * width if self.flat else channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.normalize(x)
        for stage, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            if stage and self.pool:
                x = F.avg_pool2d(x, 2)
            x = self.activation(norm(conv(x)))
        return self.linear(x.flatten(1) if self.flat else x.mean((2, 3)))


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Network for images (B, C, H, W) of this shape in [0, 1]. Raises ValueError for data that are not
    images, and for images that are too small to be halved so often."""
    return ConvNet(config, image_shape(shape, "convnet"), classes)
