"""STL-10, labelled part (Coates, Lee, Ng 2011): 5,000 + 8,000 colour images of 96x96, 10 classes.

From the official binary archive. Images are stored channel by channel and inside a channel column by
column; labels are 1..10. The classes are not those of CIFAR-10 in the same order: there is a monkey and
no frog.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pagrepro.data._archive import read_members
from pagrepro.dataset import Part
from pagrepro.errors import DataError
from pagrepro.options import Strict

REVISION = 1

SOURCES = ("archive",)

SIDE = 96
RESIZE_CHUNK = 500  # images resized at a time, which bounds the floating point copy


class Config(Strict):
    """`resize`: pixels per side, None for the original 96; by area average or antialiased bilinear."""

    resize: int | None = Field(None, ge=1, le=96)
    resampling: Literal["area", "antialias"] = "area"


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Both labelled parts; x: (N, 3, 96, 96) uint8 (or resized), y: (N,) int64 in 0..9.

    `seed` is not used. Raises DataError when the archive is damaged or sizes do not fit.
    """
    path = files["archive"]
    members = read_members(path, [f"{part}_{kind}.bin" for part in ("train", "test") for kind in "Xy"])
    parts = {}
    for name in ("train", "test"):
        values = np.frombuffer(members.pop(f"{name}_X.bin"), np.uint8)
        labels = np.frombuffer(members.pop(f"{name}_y.bin"), np.uint8).astype(np.int64) - 1
        if len(labels) == 0 or values.size != len(labels) * 3 * SIDE * SIDE:
            raise DataError(f"{path}: {name}_X.bin has {values.size} bytes for {len(labels)} labels")
        if labels.min() < 0 or labels.max() > 9:
            raise DataError(f"{path}: {name}_y.bin has labels that are not 1..10")
        # (N, C, column, row) -> (N, C, row, column)
        images = np.ascontiguousarray(values.reshape(-1, 3, SIDE, SIDE).transpose(0, 1, 3, 2))
        parts[name] = Part(_resize(torch.from_numpy(images), config), torch.from_numpy(labels))
    return parts


def _resize(x: Tensor, config: Config) -> Tensor:
    if config.resize is None or config.resize == x.shape[-1]:
        return x
    options = {"mode": "area"}
    if config.resampling == "antialias":
        options = {"mode": "bilinear", "antialias": True, "align_corners": False}
    chunks = [
        torch.nn.functional.interpolate(c.float(), config.resize, **options) for c in x.split(RESIZE_CHUNK)
    ]
    return torch.cat([c.round().clamp(0, 255).to(torch.uint8) for c in chunks])
