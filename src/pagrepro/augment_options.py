"""Options of the batched augmentation (`augment.py`). Torch-free, so that task options can hold them."""

from typing import Literal

from pydantic import Field

from pagrepro.options import Number, Strict


class Augment(Strict):
    """`scope: batch` draws one crop and flip for the whole batch (what torchvision transforms do to a
    batched tensor); `fill` is the padding value in [0, 1] (0.5 is zero in the network's normalised
    coordinates when mean = 0.5)."""

    crop_padding: int = 0
    flip: bool = False
    scope: Literal["example", "batch"] = "example"
    fill: float = 0.5

    @property
    def active(self) -> bool:
        """Whether anything is drawn at all."""
        return self.crop_padding > 0 or self.flip


class Mix(Strict):
    """Images and labels mixed within a batch (`mixing.py`): `mixup` and `cutmix` are the parameters of their
    Beta distributions (0: not used), `switch` the probability of CutMix where both are, `probability` that of
    mixing a batch at all, `smoothing` the share of a label that goes to all classes."""

    mixup: Number = Field(0.8, ge=0)
    cutmix: Number = Field(1.0, ge=0)
    probability: Number = Field(1.0, ge=0, le=1)
    switch: Number = Field(0.5, ge=0, le=1)
    smoothing: Number = Field(0.1, ge=0, lt=1)


class Recipe(Strict):
    """Augmentation of single images through timm (`recipe.py`): a random crop of `scale` of the area and
    `ratio` of the sides, resized to `size`; a flip; a policy such as RandAugment (null: none); erasing with
    probability `erase`. `workers`: processes that do it beside the fit (0: the fit itself); no number depends
    on it."""

    size: int = Field(ge=4)
    scale: tuple[Number, Number] = (0.08, 1.0)
    ratio: tuple[Number, Number] = (0.75, 4 / 3)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    flip: Number = Field(0.5, ge=0, le=1)
    policy: str | None = "rand-m9-mstd0.5-inc1"
    erase: Number = Field(0.25, ge=0, le=1)
    workers: int = Field(4, ge=0)
