"""ResNet-50 for ImageNet (7x7 stem of stride 2, max-pool), with a choice of activation.

He et al. (2016), with the stride in the 3x3 convolution, as timm's and torchvision's `resnet50`. Its weights
have their names, so that public ones fit; 25,557,032 parameters for 1,000 classes; any image size; PyTorch's
default initialisation. Rodriguez-Munoz et al. (2024), section 5.1, Table 4, replace every ReLU by the exact
GELU or by SiLU, fine-tune, and find that gradient-norm regularisation needs a smooth one. All activations
have the same weights: one network can start from another's. In their public code batch normalisation never
leaves eval mode, the default here; with public weights its statistics are ImageNet's.

`models/resnet50.py` is the one for small images.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.layers import Normalize, batch_norm, image_shape
from pagrepro.options import Number, Strict

REVISION = 1

Layer = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Layer] = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}
EXPANSION = 4


class Config(Strict):
    """activation: everywhere in the network (GELU is the exact one); bn: batch normalisation as usual
    ("train"), or "frozen" in eval mode while scale and shift train; mean, std: normalisation of [0, 1]
    inputs, one value or one per channel (defaults: ImageNet's); width: channels of the stem and of the first
    stage before expansion, doubled in each following stage; depths: blocks of each stage (the defaults of
    both are ResNet-50)."""

    activation: Literal["relu", "gelu", "silu"] = "relu"
    bn: Literal["train", "frozen"] = "frozen"
    mean: list[Number] = Field([0.485, 0.456, 0.406])
    std: list[Number] = Field([0.229, 0.224, 0.225])
    width: int = Field(64, ge=1)
    depths: tuple[Annotated[int, Field(ge=1)], ...] = Field((3, 4, 6, 3), min_length=1)


class Bottleneck(nn.Module):
    """1x1 -> 3x3 (stride) -> 1x1 with a shortcut; (B, C, H, W) -> (B, 4 planes, H/stride, W/stride)."""

    def __init__(self, channels: int, planes: int, stride: int, norm: Callable[[int], nn.Module], act: Layer):
        super().__init__()
        out = EXPANSION * planes
        self.act = act
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = norm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = norm(planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = norm(out)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), norm(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.act(self.bn1(self.conv1(x)))
        inner = self.act(self.bn2(self.conv2(inner)))
        skipped = x if self.downsample is None else self.downsample(x)
        return self.act(self.bn3(self.conv3(inner)) + skipped)


class ImagenetResNet50(nn.Module):
    """(B, C, H, W) in [0, 1] -> logits (B, classes)."""

    # What weights made for other classes do not fill.
    final_layer = "fc"

    def __init__(self, config: Config, channels: int, classes: int):
        super().__init__()
        norm, width = batch_norm(config.bn), config.width
        self.act = ACTIVATIONS[config.activation]
        self.smooth = config.activation != "relu"  # read by `piecewise_linear`
        self.normalize = Normalize(config.mean, config.std, channels)
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = norm(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inner, self.stages = width, []
        for stage, depth in enumerate(config.depths):
            planes, blocks = width * 2**stage, []
            for position in range(depth):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(Bottleneck(inner, planes, stride, norm, self.act))
                inner = EXPANSION * planes
            self.stages.append(f"layer{stage + 1}")
            self.add_module(self.stages[-1], nn.Sequential(*blocks))
        self.fc = nn.Linear(inner, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.act(self.bn1(self.conv1(self.normalize(x)))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(x.mean((2, 3)))


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Network for images (B, C, H, W) in [0, 1]. Raises ValueError for data that are not images."""
    return ImagenetResNet50(config, image_shape(shape, "imagenet_resnet50")[0], classes)
