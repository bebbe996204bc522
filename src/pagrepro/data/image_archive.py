"""Images in tar archives (also .tar.gz), one per part, with members `<part>/<class>/<file>`.

Where both parts are in one archive, both roles name it. Read with Pillow, so JPEG pixels are those of
its decoder; another decoder may differ by a level.
"""

from pathlib import Path
from typing import Literal

from pagrepro.data._class_folders import Form, read_parts
from pagrepro.dataset import Part
from pagrepro.options import Strict

REVISION = 1

# "?": may be left out. An order file (CSV `index,label,file`) sets the row of every image.
SOURCES = ("train", "test", "train_order?", "test_order?")


class Config(Strict):
    """`class_folders`: folder names in order of the class index (default: alphabetical);
    `channels`: 3 converts to colour, 1 to grey."""

    class_folders: tuple[str, ...] | None = None
    channels: Literal[1, 3] = 3


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Both parts; x: (N, channels, H, W) uint8, y: (N,) int64. All images must have one size.

    `seed` is not used. Raises DataError naming the file that does not fit.
    """
    origins = {part: files[part] for part in ("train", "test")}
    orders = {part: files.get(f"{part}_order") for part in origins}
    return read_parts(origins, orders, config.class_folders, Form(config.channels))
