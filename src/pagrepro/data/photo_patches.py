"""Patches of the two colour photographs that are installed with scikit-learn: which photograph is it?

A Chinese temple (class 0; danielbuechele, Flickr) and a flower (class 1; vultilion, Flickr), both CC BY 2.0,
427 x 640 pixels. They stand in for natural colour images where no data set of such can be had. Each
photograph is cut into eight upright bands of 80 columns; patches lie inside of one band, those of bands 2 and
5 (counted from 0) are the test part: no pixel is in both parts.
"""

import importlib.util
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pagrepro.dataset import Part
from pagrepro.errors import DataError
from pagrepro.options import Strict

REVISION = 1

SOURCES: tuple[str, ...] = ()

NAMES = ("china", "flower")
BAND = 80
TRAIN_BANDS, TEST_BANDS = (0, 1, 3, 4, 6, 7), (2, 5)


class Config(Strict):
    """size: pixels per side of a patch; stride: pixels from one patch to the next, patches overlap where it
    is smaller than size."""

    size: Literal[16, 32] = 16
    stride: int = Field(16, ge=1)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Both parts; x: (N, 3, size, size) uint8, y: (N,) int64, the photograph. Rows are ordered by photograph,
    band, and row and column of the patch in it. `files` and `seed` are not used. Raises DataError where
    scikit-learn's photographs are not installed."""
    photographs = [_photograph(name) for name in NAMES]
    parts = {}
    for part, bands in (("train", TRAIN_BANDS), ("test", TEST_BANDS)):
        x = [torch.cat([_patches(p, band, config) for band in bands]) for p in photographs]
        y = [torch.full((len(patches),), label) for label, patches in enumerate(x)]
        parts[part] = Part(torch.cat(x), torch.cat(y))
    return parts


def _patches(photograph: Tensor, band: int, config: Config) -> Tensor:
    """(n, 3, size, size) patches of one band of a photograph (3, height, width), row by row."""
    columns = photograph[:, :, band * BAND : (band + 1) * BAND]
    windows = columns.unfold(1, config.size, config.stride).unfold(2, config.size, config.stride)
    # (3, rows, columns, size, size)
    return windows.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()


def _photograph(name: str) -> Tensor:
    """(3, 427, 640) uint8. The file is found without importing scikit-learn, which costs 3 s of CPU."""
    from PIL import Image

    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0]) / "datasets" / "images" / f"{name}.jpg" if folders else None
    if path is None or not path.is_file():
        raise DataError(
            f"the photographs of scikit-learn are not installed: expected {path or 'package sklearn'}"
        )
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)
