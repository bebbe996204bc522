"""ResNet-18 for small images: 3x3 stem of stride 1 and no max-pool.

He et al. (2016) in the variant of Ganz et al. (2022): two basic blocks per stage, strides 1, 2, 2, 2,
1x1-convolution shortcuts, global average pool. Works at any image size. 11,173,962 parameters at
width 64 with 3 channels and 10 classes. PyTorch's default initialisation, which is also what Lanfredi et al.
(2020) use for this variant (Kaiming-uniform, a = sqrt(5)).
"""

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.layers import Normalize, as_pair, batch_norm, image_shape, outputs
from pagrepro.options import Number, Strict

REVISION = 1


class Config(Strict):
    """width: channels of the first stage, doubled in each following one; stem: "imagenet" is 7x7 of stride 2
    with a max-pool; mean, std: normalisation of [0, 1] inputs, one value or one per channel. bn: batch
    normalisation as usual, "frozen" in eval mode while scale and shift train, or "removed"; single_logit (two
    classes only): one output f, returned as the pair (-f/2, f/2)."""

    width: int = Field(64, ge=1)
    stem: Literal["cifar", "imagenet"] = "cifar"
    mean: list[Number] = Field([0.5])
    std: list[Number] = Field([0.5])
    bn: Literal["train", "frozen", "removed"] = "train"
    single_logit: bool = False


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; (B, C, H, W) -> (B, out, H/stride, W/stride)."""

    def __init__(self, channels: int, out: int, stride: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = norm(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = norm(out)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != out:
            projection = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, norm(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class CifarResNet18(nn.Module):
    """(B, C, H, W) in [0, 1] -> logits (B, classes)."""

    smooth = False  # read by `piecewise_linear`

    def __init__(self, config: Config, channels: int, classes: int):
        super().__init__()
        width, norm = config.width, batch_norm(config.bn)
        self.single_logit = config.single_logit
        self.normalize = Normalize(config.mean, config.std, channels)
        if config.stem == "cifar":
            self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
            self.pool: nn.Module = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
            self.pool = nn.MaxPool2d(3, 2, 1)
        self.bn1 = norm(width)
        self.layer1 = self._stage(width, width, 1, norm)
        self.layer2 = self._stage(width, 2 * width, 2, norm)
        self.layer3 = self._stage(2 * width, 4 * width, 2, norm)
        self.layer4 = self._stage(4 * width, 8 * width, 2, norm)
        self.linear = nn.Linear(8 * width, outputs(config.single_logit, classes, "cifar_resnet18"))

    @staticmethod
    def _stage(channels: int, out: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
        return nn.Sequential(BasicBlock(channels, out, stride, norm), BasicBlock(out, out, 1, norm))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.bn1(self.conv1(self.normalize(x)))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        scores = self.linear(x.mean((2, 3)))
        return as_pair(scores) if self.single_logit else scores


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Network for images (B, C, H, W) in [0, 1]. Raises ValueError for data that are not images."""
    return CifarResNet18(config, image_shape(shape, "cifar_resnet18")[0], classes)
