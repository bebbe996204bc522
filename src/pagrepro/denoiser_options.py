"""Options of the networks that denoise (`denoiser.py`). Torch-free, so that task options can hold them.

Karras et al. (2022), appendix F: the two architectures of the public networks; and, for small data, the U-net
of the library diffusers. Sides of images have to be divisible by 2 to the number of levels less one.
"""

from typing import Annotated, Literal

from pydantic import Field

from pagrepro.options import Number, Strict

Count = Annotated[int, Field(ge=1)]


class Unet2d(Strict):
    """UNet2DModel of diffusers, which takes about 4 s of CPU to import. channels: of each level, from the
    full size down; layers: per level; attention: at the lowest level."""

    name: Literal["unet2d"]
    channels: tuple[Count, ...] = Field((32, 64), min_length=1)
    layers: Count = 1
    attention: bool = False


class Ddpmpp(Strict):
    """DDPM++; the defaults are the public CIFAR-10 networks, but for augment_dim, which is 9 there. width:
    channels are width * multipliers, level by level; blocks: per level; attention: at these heights of the
    image; augment_dim: labels of augmentation, which are zero here, so that it is for weights made
    elsewhere."""

    name: Literal["ddpmpp"]
    width: int = Field(128, ge=4, multiple_of=4)
    multipliers: tuple[Count, ...] = Field((2, 2, 2), min_length=1)
    blocks: Count = 4
    attention: tuple[int, ...] = (16,)
    dropout: Number = Field(0.0, ge=0, lt=1)
    augment_dim: int = Field(0, ge=0)


class Adm(Strict):
    """ADM; the defaults are the public network for ImageNet at 64x64. As DDPM++; head: channels of one head
    of attention."""

    name: Literal["adm"]
    width: int = Field(192, ge=4, multiple_of=4)
    multipliers: tuple[Count, ...] = Field((1, 2, 3, 4), min_length=1)
    blocks: Count = 3
    attention: tuple[int, ...] = (32, 16, 8)
    head: Count = 64
    dropout: Number = Field(0.0, ge=0, lt=1)


DenoiserNetwork = Annotated[Unet2d | Ddpmpp | Adm, Field(discriminator="name")]
