"""U-net that makes the residual which takes an image to the other class.

Ronneberger et al. (2015) as used by Bigolin Lanfredi et al. (2020), section 2.3.1 (Eq. 10) and supplement
A.1, with what only their code says: two 3x3 convolutions with batch norm and ReLU per block, max-pooling,
bilinear upsampling followed by a convolution, skip connections, both classes as constant channels at the
bottleneck. The last convolution has a batch norm and no ReLU, so that residuals are not bounded.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.layers import image_shape
from pagrepro.options import Number, Strict

REVISION = 1

# The classes 0 and 1 are given as (class - shift) / scale, as the code does.
CONDITION_SHIFT, CONDITION_SCALE = 0.7, 0.2


class Config(Strict):
    """width: channels of the first level, doubled in each following one; levels: how often the image is
    halved. cond_channels: target and source class; with 3 also their difference (source - target), as in
    the code. centre, scale: the network sees (x - centre) / scale and its output times `scale` is the
    residual, so that both are in the data's range: 0.5 and 0.5 for images in [0, 1], which the network sees
    in [-1, 1]. momentum: of the running statistics of batch norm, which are what counts outside of training:
    0.01, as in the code, lags a hundred steps behind; fits of a few hundred steps need more."""

    width: int = Field(64, ge=1)
    levels: int = Field(4, ge=1)
    cond_channels: Literal[2, 3] = 3
    centre: Number = 0.0
    scale: Number = Field(1.0, gt=0)
    momentum: Number = Field(0.01, gt=0, le=1)


class Convolution(nn.Sequential):
    """3x3 convolution, batch norm and (unless it is the last of the network) ReLU; the size stays."""

    def __init__(self, channels: int, out: int, last: bool = False):
        convolution, norm = nn.Conv2d(channels, out, 3, 1, 1), nn.BatchNorm2d(out)
        nn.init.kaiming_normal_(convolution.weight)
        nn.init.zeros_(convolution.bias)
        nn.init.normal_(norm.weight, 0.1, 0.01)
        super().__init__(convolution, norm, *([] if last else [nn.ReLU()]))


def block(channels: int, inner: int, out: int, last: bool = False) -> nn.Sequential:
    """Two convolutions; (B, channels, H, W) -> (B, out, H, W)."""
    return nn.Sequential(Convolution(channels, inner), Convolution(inner, out, last))


class Up(nn.Module):
    """Upsampling to the size of the skip connection, a convolution, and a block over both."""

    def __init__(self, channels: int, out: int, last: int | None):
        super().__init__()
        self.reduce = Convolution(channels, out)
        self.block = block(2 * out, out, last or out, last is not None)

    def forward(self, h: Tensor, skip: Tensor) -> Tensor:
        # Twice the size, or one more where pooling left a row out.
        h = F.interpolate(h, size=skip.shape[-2:], mode="bilinear", align_corners=True)
        return self.block(torch.cat([self.reduce(h), skip], 1))


class Unet(nn.Module):
    """x (B, C, H, W) in the data's range, target and source (B,) int64 -> residual (B, C, H, W)."""

    def __init__(self, config: Config, channels: int):
        super().__init__()
        self.centre, self.scale, self.cond_channels = config.centre, config.scale, config.cond_channels
        widths = [config.width * 2**level for level in range(config.levels + 1)]
        self.first = block(channels, widths[0], widths[0])
        self.down = nn.ModuleList(block(a, b, b) for a, b in pairwise(widths))
        self.up = nn.ModuleList()
        for level in reversed(range(config.levels)):
            extra = config.cond_channels if level == config.levels - 1 else 0
            last = channels if level == 0 else None
            self.up.append(Up(widths[level + 1] + extra, widths[level], last))
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = config.momentum

    def forward(self, x: Tensor, target: Tensor, source: Tensor) -> Tensor:
        h = self.first((x - self.centre) / self.scale)
        skips = []
        for down in self.down:
            skips.append(h)
            h = down(F.max_pool2d(h, 2))
        h = torch.cat([h, self._condition(target, source, h)], 1)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            h = up(h, skip)
        return self.scale * h

    def _condition(self, target: Tensor, source: Tensor, h: Tensor) -> Tensor:
        """Constant channels (B, cond_channels, *size of h)."""
        classes = torch.stack([target, source], 1).to(h.dtype)
        values = (classes - CONDITION_SHIFT) / CONDITION_SCALE
        if self.cond_channels == 3:
            values = torch.cat([values, values[:, 1:] - values[:, :1]], 1)
        return values[:, :, None, None].expand(-1, -1, *h.shape[-2:])


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Generator for images (C, H, W) of any size that can be halved `levels` times. Raises ValueError for a
    smaller one, and for data that are not images."""
    channels, *size = image_shape(shape, "unet")
    if min(size) >> config.levels == 0:
        raise ValueError(f"unet: images of {size[0]}x{size[1]} cannot be halved {config.levels} times")
    return Unet(config, channels)
