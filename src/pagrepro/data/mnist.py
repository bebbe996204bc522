"""MNIST handwritten digits from the four official gzip files (LeCun, Cortes, Burges).

Format idx: a big-endian header (2051 for images, 2049 for labels; count; for images rows and columns),
then one byte per value. 60,000 training and 10,000 test images of 28x28.
"""

import gzip
import struct
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from pagrepro.data._archive import damaged
from pagrepro.data._classes import keep_classes
from pagrepro.dataset import Part
from pagrepro.errors import DataError
from pagrepro.options import Strict

REVISION = 1

SOURCES = ("train_images", "train_labels", "test_images", "test_labels")


class Config(Strict):
    """`classes`: only these digits, in the order of the files, the label being the position in this list; all
    ten without it."""

    classes: tuple[Annotated[int, Field(ge=0, le=9)], ...] | None = Field(None, min_length=2)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Both official parts, or the rows of `classes`; x: (N, 1, 28, 28) uint8, y: (N,) int64.

    `seed` is not used. Raises DataError when a file is damaged or the files do not belong together.
    """
    parts = {}
    for name in ("train", "test"):
        images, labels = read_idx(files[f"{name}_images"]), read_idx(files[f"{name}_labels"])
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(
                f"{files[f'{name}_images']} and {files[f'{name}_labels']} do not belong together:"
                f" {images.shape} images, {labels.shape} labels"
            )
        parts[name] = Part(torch.from_numpy(images[:, None]), torch.from_numpy(labels.astype(np.int64)))
    return keep_classes(parts, config.classes)


def read_idx(path: Path) -> np.ndarray:
    """A gzip file in idx format with unsigned bytes -> uint8 array of the shape in its header."""
    with damaged(path), gzip.open(path) as file:
        content = file.read()
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{path} is not an idx file of bytes: it starts with {content[:4].hex()}")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: the header is cut off")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path}: header says {shape}, found {values.size} values")
    return values.reshape(shape).copy()
