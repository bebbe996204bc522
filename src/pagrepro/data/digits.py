"""Handwritten digits that are installed with scikit-learn: 1,797 images of 8x8 pixels, 10 classes.

The UCI "optical recognition of handwritten digits" test set (Alpaydin & Kaynak, 1998). It has no official
train and test part; 400 rows drawn in proportion to the classes are the test part here, the other 1,397
the training part. `train_per_class` keeps only so many training images of each class: data with few images
per class, as STL-10 is beside CIFAR-10.
"""

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pagrepro.data._classes import keep_classes
from pagrepro.dataset import Part
from pagrepro.errors import DataError
from pagrepro.options import Strict
from pagrepro.splits import per_class, stratified

REVISION = 1

SOURCES: tuple[str, ...] = ()

TEST_SIZE = 400
# Both draws are part of what this data set is; they do not follow the seed of a run.
TEST_SEED = 0
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
    values, labels = _read()
    test = np.array(stratified(labels, TEST_SIZE, TEST_SEED))
    train = np.setdiff1d(np.arange(len(labels)), test)
    if config.train_per_class is not None:
        train = train[per_class(labels[train], config.train_per_class, FEW_SEED)]
    x = _images(values, config)
    y = torch.from_numpy(labels)
    parts = {name: Part(x[rows], y[rows]) for name, rows in (("train", train), ("test", test))}
    return keep_classes(parts, config.classes)


def _read() -> tuple[np.ndarray, np.ndarray]:
    """Values (1797, 64) in 0..16 and labels (1797,), both int64.

    Read from the file that `sklearn.datasets.load_digits` reads: importing scikit-learn for it costs 3 s of
    CPU in every job, reading the file 0.2 s.
    """
    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0]) / "datasets" / "data" / "digits.csv.gz" if folders else None
    if path is None or not path.is_file():
        raise DataError(f"the digits of scikit-learn are not installed: expected {path or 'package sklearn'}")
    table = np.loadtxt(path, delimiter=",", dtype=np.int64)
    return table[:, :64], table[:, 64].copy()


def _images(values: np.ndarray, config: Config) -> Tensor:
    """0..16 -> 0..255, enlarged in floating point, rounded once."""
    x = torch.from_numpy(values).view(-1, 1, 8, 8).float() * (255 / 16)
    if config.size != 8:
        corners = {"align_corners": False} if config.upsampling == "bilinear" else {}
        x = torch.nn.functional.interpolate(x, size=config.size, mode=config.upsampling, **corners)
    return x.round().to(torch.uint8)
