"""ResNet-50 for small images, the architecture of the public adversarially trained CIFAR-10 models.

He et al. (2016), bottleneck blocks 3-4-6-3, 3x3 stem of stride 1, no max-pool, global average pool
(4x4 at 32x32). Parameter names are those of the public checkpoints below their prefix: conv1, bn1,
layer{1-4}.{i}.conv{1,2,3}, .bn{1,2,3}, .shortcut.{0,1}, linear; so the adapter's mapping is the
identity. Normalisation constants are options, not stored weights.
"""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.layers import Normalize, image_shape
from pagrepro.options import Number, Strict

REVISION = 1
BLOCKS = (3, 4, 6, 3)
EXPANSION = 4


class Config(Strict):
    """width: channels of the first stage before expansion (64 is ResNet-50); mean, std: normalisation of
    [0, 1] inputs, one value or one per channel (defaults: those of the public models)."""

    width: int = Field(64, ge=1)
    mean: list[Number] = Field([0.4914, 0.4822, 0.4465])
    std: list[Number] = Field([0.2023, 0.1994, 0.2010])


class Bottleneck(nn.Module):
    """1x1 -> 3x3 (stride) -> 1x1 with a shortcut; (B, C, H, W) -> (B, 4 planes, H/stride, W/stride)."""

    def __init__(self, channels: int, planes: int, stride: int):
        super().__init__()
        out = EXPANSION * planes
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != out:
            projection = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        return F.relu(self.bn3(self.conv3(inner)) + self.shortcut(x))


class ResNet50(nn.Module):
    """(B, C, H, W) in [0, 1] -> logits (B, classes)."""

    smooth = False  # read by `piecewise_linear`

    def __init__(self, config: Config, channels: int, classes: int):
        super().__init__()
        self.normalize = Normalize(config.mean, config.std, channels)
        self.conv1 = nn.Conv2d(channels, config.width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        inner = config.width
        for stage, count in enumerate(BLOCKS):
            planes = config.width * 2**stage
            blocks = []
            for position in range(count):
                blocks.append(Bottleneck(inner, planes, 2 if stage > 0 and position == 0 else 1))
                inner = EXPANSION * planes
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(inner, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(self.normalize(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean((2, 3)))


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Network for images (B, C, H, W) in [0, 1]. Raises ValueError for data that are not images."""
    return ResNet50(config, image_shape(shape, "resnet50")[0], classes)
