"""Pre-activation ResNet-18 for small images, with a choice of activation.

He et al. (2016b), "Identity mappings in deep residual networks", as Rodriguez-Munoz et al. (2024), appendix
F, use it on CIFAR-10: 3x3 stem of stride 1 without normalisation, four stages of two blocks, strides 1, 2, 2,
2, 1x1-convolution shortcuts of the activated input, no normalisation or activation after the last block,
global average pool (4x4 at 32x32). Works at any image size. 11,171,146 parameters at width 64 with 3 channels
and 10 classes; PyTorch's default initialisation. Defaults are the public code's: GELU throughout, ImageNet's
normalisation, and batch normalisation that never leaves eval mode, so that from scratch its statistics are 0
and 1 for ever and it is a scale and shift per channel. All activations have the same weights: one network can
start from another's.
"""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.layers import Normalize, batch_norm, image_shape
from pagrepro.options import Number, Strict

REVISION = 1

Layer = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Layer] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}
BLOCKS = 2


class Config(Strict):
    """width: channels of the first stage, doubled in each following one; activation: everywhere in the
    network (GELU is the exact one); mean, std: normalisation of [0, 1] inputs, one value or one per channel
    (defaults: ImageNet's); bn: batch normalisation as usual ("train"), "frozen" in eval mode while scale and
    shift train, or "removed"."""

    width: int = Field(64, ge=1)
    activation: Literal["relu", "gelu", "silu"] = "gelu"
    mean: list[Number] = Field([0.485, 0.456, 0.406])
    std: list[Number] = Field([0.229, 0.224, 0.225])
    bn: Literal["train", "frozen", "removed"] = "frozen"


class PreActBlock(nn.Module):
    """Normalisation and activation before each of two 3x3 convolutions, and a shortcut;
    (B, C, H, W) -> (B, out, H/stride, W/stride)."""

    def __init__(self, channels: int, out: int, stride: int, norm: Callable[[int], nn.Module], act: Layer):
        super().__init__()
        self.act = act
        self.bn1 = norm(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn2 = norm(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        changes = stride != 1 or channels != out
        self.shortcut = nn.Conv2d(channels, out, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.act(self.bn1(x))
        # A projection sees the activated input, an identity x itself.
        skipped = x if self.shortcut is None else self.shortcut(active)
        return self.conv2(self.act(self.bn2(self.conv1(active)))) + skipped


class PreActResNet18(nn.Module):
    """(B, C, H, W) in [0, 1] -> logits (B, classes)."""

    def __init__(self, config: Config, channels: int, classes: int):
        super().__init__()
        norm, act, width = batch_norm(config.bn), ACTIVATIONS[config.activation], config.width
        self.smooth = config.activation != "relu"  # read by `piecewise_linear`
        self.normalize = Normalize(config.mean, config.std, channels)
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        inner = width
        for stage in range(4):
            out, blocks = width * 2**stage, []
            for position in range(BLOCKS):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(PreActBlock(inner, out, stride, norm, act))
                inner = out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(inner, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(self.normalize(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean((2, 3)))


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Network for images (B, C, H, W) in [0, 1]. Raises ValueError for data that are not images."""
    return PreActResNet18(config, image_shape(shape, "preact_resnet18")[0], classes)
