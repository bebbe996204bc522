"""A user's own images: one place with `<part>/<class>/<file>`, or with `<class>/<file>` for a single part.

The place is a directory, or the tar that `download.fetch` packs from a directory so that it has a hash. With
`parts: [val]`, `resize: 256` and `crop: 224` it is the folder of ImageNet's validation images, prepared as
most networks are tested.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pagrepro.data._class_folders import Form, read_parts
from pagrepro.dataset import Part
from pagrepro.options import Strict

REVISION = 1

# "?": may be left out. An order file (CSV `index,label,file`) sets the row of every image.
SOURCES = ("images", "train_order?", "test_order?")


class Config(Strict):
    """`class_folders`: folder names in order of the class index (default: alphabetical);
    `channels`: 3 converts to colour, 1 to grey; `parts`: names of the parts, a single one may lack its
    folder; `resize`: pixels of the shorter side (bilinear, antialiased), null: none; `crop`: pixels per side
    of the square in the middle that is kept, null: all."""

    class_folders: tuple[str, ...] | None = None
    channels: Literal[1, 3] = 3
    parts: Annotated[tuple[str, ...], Field(min_length=1)] = ("train", "test")
    resize: int | None = Field(None, ge=1)
    crop: int | None = Field(None, ge=1)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """The parts; x: (N, channels, H, W) uint8, y: (N,) int64. All images must come out at one size.

    `seed` is not used. Raises DataError naming the file that does not fit.
    """
    origins = {part: files["images"] for part in config.parts}
    orders = {part: files.get(f"{part}_order") for part in origins}
    form = Form(config.channels, config.resize, config.crop)
    return read_parts(origins, orders, config.class_folders, form, len(origins) > 1)
