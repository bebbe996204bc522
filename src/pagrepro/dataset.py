"""A data set in memory: one tensor per part, plus the facts that models and attacks need."""

from dataclasses import dataclass

import torch
from torch import Tensor

REVISION = 1


@dataclass(frozen=True)
class Part:
    """One official part of a data set ("train", "test").

    x: (N, *shape) uint8 for images, float32 for data that are not images; an `ImageFiles` for images that
    stay in their files.
    y: (N,) int64 class indices.
    mask: (N, *shape) uint8, 1 where the signal is and 0 on the distractor; None where nobody knows.
    """

    x: Tensor
    y: Tensor
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or self.y.dtype != torch.int64:
            raise ValueError(
                f"part with x {tuple(self.x.shape)} and y {tuple(self.y.shape)} {self.y.dtype}:"
                " expected as many labels as examples, labels int64"
            )
        if self.mask is not None and (self.mask.shape, self.mask.dtype) != (self.x.shape, torch.uint8):
            raise ValueError(
                f"part with x {tuple(self.x.shape)} and mask {tuple(self.mask.shape)} {self.mask.dtype}:"
                " expected a mask of the shape of x, uint8"
            )

    def rows(self, index: Tensor) -> "Part":
        """The part with these rows alone; index: (n,) int64."""
        return Part(self.x[index], self.y[index], None if self.mask is None else self.mask[index])


@dataclass(frozen=True)
class Dataset:
    """Parts and the range of their values; `low` and `high` are None where values are not bounded."""

    name: str
    parts: dict[str, Part]
    classes: int
    shape: tuple[int, ...]
    low: float | None = 0.0
    high: float | None = 1.0


def to_float(x: Tensor) -> Tensor:
    """uint8 images -> float32 in [0, 1]; floating point data unchanged."""
    return x.float().div_(255) if x.dtype == torch.uint8 else x
