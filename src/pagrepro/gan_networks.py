"""Class-conditional residual generator and discriminator with spectral normalisation.

The networks of Kavalerov et al. (2021), by way of Brock et al. (2019) and Miyato et al. (2018), which Bigolin
Lanfredi et al. (2020) use in section 2.3.2: at 32x32 and width 256 a generator of 4.3 million parameters and
a discriminator of four residual blocks. 1x1 shortcuts are applied before upsampling and after pooling,
where they cost a quarter and give the same.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

REVISION = 1

INITIAL_STD = 0.02


def spectral(layer: nn.Module) -> nn.Module:
    """The layer with weights N(0, 0.02), divided by an estimate of their largest singular value (Miyato et
    al., 2018): one power iteration in every forward pass in train mode, none in eval mode."""
    nn.init.normal_(layer.weight, 0, INITIAL_STD)
    return spectral_norm(layer, n_power_iterations=1, eps=1e-8)


def convolution(channels: int, out: int, size: int = 3) -> nn.Module:
    """size x size convolution that keeps the image's size, with spectral normalisation."""
    return spectral(nn.Conv2d(channels, out, size, 1, size // 2))


class ConditionalBatchNorm(nn.Module):
    """Batch norm with a scale 1 + e_y and a shift b_y per class; e and b are N(0, 0.02) in the beginning."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.shift = nn.Embedding(classes, channels), nn.Embedding(classes, channels)
        for embedding in (self.gain, self.shift):
            nn.init.normal_(embedding.weight, 0, INITIAL_STD)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        return torch.addcmul(self.shift(y)[..., None, None], self.norm(h), 1 + self.gain(y)[..., None, None])


def upsampled(h: Tensor) -> Tensor:
    """Twice the size, every value four times."""
    return F.interpolate(h, scale_factor=2, mode="nearest")


class UpBlock(nn.Module):
    """(B, channels, H, W) -> (B, channels, 2H, 2W), normalisation and ReLU before each convolution."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.norm1, self.norm2 = (ConditionalBatchNorm(channels, classes) for _ in range(2))
        self.conv1, self.conv2 = (convolution(channels, channels) for _ in range(2))
        self.shortcut = convolution(channels, channels, 1)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        inner = self.conv1(upsampled(F.relu(self.norm1(h, y))))
        inner = self.conv2(F.relu(self.norm2(inner, y)))
        return inner + upsampled(self.shortcut(h))


class Generator(nn.Module):
    """z (B, latent), y (B,) -> images (B, channels, size, size) in [-1, 1], size = bottom * 2^ups."""

    def __init__(self, latent: int, width: int, bottom: int, ups: int, channels: int, classes: int):
        super().__init__()
        self.form = (width, bottom, bottom)
        self.linear = spectral(nn.Linear(latent, width * bottom * bottom))
        self.blocks = nn.ModuleList(UpBlock(width, classes) for _ in range(ups))
        self.norm = nn.BatchNorm2d(width)
        self.last = convolution(width, channels)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        h = self.linear(z).unflatten(1, self.form)
        for block in self.blocks:
            h = block(h, y)
        return torch.tanh(self.last(F.relu(self.norm(h))))


class DownBlock(nn.Module):
    """(B, channels, H, W) -> (B, width, H, W), or half the size. The first block of a network has no ReLU
    before its first convolution."""

    def __init__(self, channels: int, width: int, first: bool, halves: bool):
        super().__init__()
        self.first, self.halves = first, halves
        self.conv1, self.conv2 = convolution(channels, width), convolution(width, width)
        self.shortcut = convolution(channels, width, 1) if halves or channels != width else nn.Identity()

    def forward(self, h: Tensor) -> Tensor:
        inner = self.conv1(h if self.first else F.relu(h))
        inner = self.conv2(F.relu(inner))
        if self.halves:
            inner, h = F.avg_pool2d(inner, 2), F.avg_pool2d(h, 2)
        return inner + self.shortcut(h)


class Discriminator(nn.Module):
    """Images in [-1, 1] -> scores (B, classes + 1) and the features before them (B, width), sums over the
    places of the image. The first `halvings` blocks halve its size."""

    def __init__(self, width: int, blocks: int, halvings: int, channels: int, classes: int):
        super().__init__()
        self.blocks = nn.Sequential(
            *(DownBlock(width if k else channels, width, k == 0, k < halvings) for k in range(blocks))
        )
        self.linear = spectral(nn.Linear(width, classes + 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = F.relu(self.blocks(x)).sum((2, 3))
        return self.linear(features), features


class ConditionalGan(nn.Module):
    """Both networks, and the data's range. Called, it is the generator: z (B, latent), y (B,) -> images
    (B, *shape) in the data's range.

    side: of the images the networks work on; smaller data are framed by their lowest value. The range is kept
    with the weights: [low, high] of the data corresponds to [-1, 1].
    """

    def __init__(self, generator: Generator, discriminator: Discriminator, shape: tuple[int, ...], side: int):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.latent: int = generator.linear.in_features
        rows, columns = (side - length for length in shape[1:])
        # left, right, top, bottom
        self.frame = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        self.register_buffer("centre", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))

    def set_range(self, low: float | None, high: float | None) -> None:
        """The data's range; None: their values are taken as they are, to be compared with [-1, 1]."""
        if low is not None and high is not None:
            self.centre.fill_((low + high) / 2)
            self.scale.fill_((high - low) / 2)

    def framed(self, x: Tensor) -> Tensor:
        """Images as the discriminator sees them: (B, C, side, side), in [-1, 1]."""
        return F.pad((x - self.centre) / self.scale, self.frame, value=-1.0)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        made = self.generator(z, y)
        left, right, top, bottom = self.frame
        made = made[..., top : made.shape[-2] - bottom, left : made.shape[-1] - right]
        return self.centre + self.scale * made
