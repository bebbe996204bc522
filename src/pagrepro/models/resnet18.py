"""ResNet-18 as in torchvision (7x7 stem of stride 2, max-pool), for images of any size, with a new last
layer.

He et al. (2016); the network of Lanfredi et al. (2020), section 3, for all their image sets but CIFAR-10,
there with ImageNet's weights (`pretrained` of the classifier task). One-channel images are repeated to three
channels inside; nothing is resized. In their public code "batch normalisation off" is `bn: frozen`.

Their code for two-class sets normalises images in [-1, 1] by ImageNet's mean m and deviation s without
mapping them to [0, 1] first. On images in [0, 1] that is mean (1 + m) / 2 and deviation s / 2: `mean:
[0.7425, 0.728, 0.703]`, `std: [0.1145, 0.112, 0.1125]`. The defaults are m and s themselves.

The ImageNet-64 networks of Srinivas, Bordt and Lakkaraju (2023) take 64x64 images in [0, 1] as they are,
without a normalisation: `mean: [0]`, `std: [1]`.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from pagrepro.layers import Normalize, as_pair, batch_norm, image_shape, outputs
from pagrepro.options import Number, Strict

REVISION = 1
CHANNELS = 3


class Config(Strict):
    """mean, std: normalisation of [0, 1] inputs, one value or one per colour channel (defaults: ImageNet's);
    bn: batch normalisation as usual, "frozen" in eval mode while scale and shift train, or "removed";
    single_logit (two classes only): one output f, returned as the pair (-f/2, f/2)."""

    mean: list[Number] = Field([0.485, 0.456, 0.406])
    std: list[Number] = Field([0.229, 0.224, 0.225])
    bn: Literal["train", "frozen", "removed"] = "train"
    single_logit: bool = False


class ResNet18(nn.Module):
    """(B, 1 or 3, H, W) in [0, 1] -> logits (B, classes). Weights are named `network.<name in
    torchvision>`."""

    # What weights made for other classes do not fill.
    final_layer = "network.fc"

    def __init__(self, config: Config, classes: int):
        super().__init__()
        from torchvision.models import resnet18  # seconds of import, for those who use it

        self.single_logit = config.single_logit
        self.normalize = Normalize(config.mean, config.std, CHANNELS)
        last = outputs(config.single_logit, classes, "resnet18")
        self.network = resnet18(weights=None, num_classes=last, norm_layer=batch_norm(config.bn))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.network(self.normalize(x.expand(-1, CHANNELS, -1, -1)))
        return as_pair(scores) if self.single_logit else scores


def build(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Network for images (B, 1 or 3, H, W) in [0, 1]. Raises ValueError for data that are no such images,
    and for a single logit and other than two classes."""
    channels = image_shape(shape, "resnet18")[0]
    if channels not in (1, CHANNELS):
        raise ValueError(f"model resnet18 takes images of 1 or {CHANNELS} channels, found {channels}")
    return ResNet18(config, classes)
