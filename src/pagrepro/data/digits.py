"""Handwritten digits that are installed with scikit-learn: 1,797 images of 8x8 pixels, 10 classes.

Where they come from, and which are the test part: `_digits.py`. `train_per_class` keeps only so many training
images of each class: data with few images per class, as STL-10 is beside CIFAR-10.
"""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pagrepro.data._classes import keep_classes
from pagrepro.data._digits import part_rows, read_digits
from pagrepro.dataset import Part
from pagrepro.options import Strict
from pagrepro.splits import per_class

REVISION = 1

SOURCES: tuple[str, ...] = ()

# Part of what this data set is; it does not follow the seed of a run.
FEW_SEED = 1


class Config(Strict):
    """`size`: pixels per side; larger ones are made from the 8x8 originals by `upsampling`. `classes`: only
    these digits of each part, the label being the position in this list; all ten without it."""

    size: Literal[8, 16, 32] = 8
    upsampling: Literal["nearest", "bilinear"] = "bilinear"
    train_per_class: int | None = Field(None, ge=1)
    classes: tuple[Annotated[int, Field(ge=0, le=9)], ...] | None = Field(None, min_length=2)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Both parts; x: (N, 1, size, size) uint8, y: (N,) int64; rows in scikit-learn's order.

    With `train_per_class` the training part is ordered by class. `seed` is not used.
    """
    values, labels = read_digits()
    chosen = part_rows(labels)
    if config.train_per_class is not None:
        train = chosen["train"]
        chosen["train"] = train[per_class(labels[train], config.train_per_class, FEW_SEED)]
    x = _images(values, config)
    y = torch.from_numpy(labels)
    parts = {name: Part(x[rows], y[rows]) for name, rows in chosen.items()}
    return keep_classes(parts, config.classes)


def _images(values: np.ndarray, config: Config) -> Tensor:
    """0..16 -> 0..255, enlarged in floating point, rounded once."""
    x = torch.from_numpy(values).view(-1, 1, 8, 8).float() * (255 / 16)
    if config.size != 8:
        corners = {"align_corners": False} if config.upsampling == "bilinear" else {}
        x = torch.nn.functional.interpolate(x, size=config.size, mode=config.upsampling, **corners)
    return x.round().to(torch.uint8)
