"""MNIST handwritten digits from the four official gzip files (LeCun, Cortes, Burges).

Format idx: a big-endian header (2051 for images, 2049 for labels; count; for images rows and columns),
then one byte per value. 60,000 training and 10,000 test images of 28x28.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pagrepro.data._archive import labelled_images
from pagrepro.data._classes import keep_classes
from pagrepro.dataset import Part
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
    parts = {
        name: labelled_images(files[f"{name}_images"], files[f"{name}_labels"]) for name in ("train", "test")
    }
    return keep_classes(parts, config.classes)
