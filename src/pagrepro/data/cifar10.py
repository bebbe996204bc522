"""CIFAR-10 from the official archive for Python (Krizhevsky 2009): 50,000 + 10,000 colour images of 32x32.

The archive holds pickles written by Python 2. They are read by an unpickler that can make dictionaries,
lists, numbers, byte strings and numpy arrays, and nothing else: no code of a file is ever run.
"""

from pathlib import Path

import numpy as np
import torch

from pagrepro.data._archive import read_members, unpickle
from pagrepro.dataset import Part
from pagrepro.errors import DataError
from pagrepro.options import Strict

REVISION = 1

SOURCES = ("archive",)

BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


class Config(Strict):
    """No options: the images are used as they are."""


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Both official parts; x: (N, 3, 32, 32) uint8, y: (N,) int64, in the order of the batches.

    `seed` is not used. Raises DataError when the archive is damaged or a batch holds anything unexpected.
    """
    path = files["archive"]
    members = read_members(path, [batch for batches in BATCHES.values() for batch in batches])
    parts = {}
    for name, batches in BATCHES.items():
        images, labels = zip(*(_batch(members[batch], f"{path}: {batch}") for batch in batches))
        parts[name] = Part(torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels)))
    return parts


def _batch(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    batch = unpickle(content, where)
    data, labels = (batch.get(b"data"), batch.get(b"labels")) if isinstance(batch, dict) else (None, None)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3 * 32 * 32,):
        raise DataError(f"{where}: expected `data` (N, 3072) of bytes")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise DataError(f"{where}: expected `labels`, a list of {len(data)} numbers")
    # One row of `data`: 1024 red, 1024 green, 1024 blue values, each row by row.
    return data.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)
