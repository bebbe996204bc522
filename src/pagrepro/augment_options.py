"""Options of the batched augmentation (`augment.py`). Torch-free, so that task options can hold them."""

from typing import Literal

from pagrepro.options import Strict


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
        return self.crop_padding > 0 or self.flip
