"""Images and the gradients of one network on them as one picture, for the page of a tier. Torch-free."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from pagrepro.errors import DataError
from pagrepro.page_plan import MAPS
from pagrepro.signed_maps import DIVERGING, bytes_of, unit

REVISION = 1

# Pixels: side of a picture (larger ones are scaled down to it), space around it, width of a row's name.
SIDE, GAP, LABEL = 64, 4, 140
MOST = 8
SCALING = "quantile"
# (256, 3) uint8
COLOURS = np.round(colormaps[DIVERGING](np.arange(256))[:, :3] * 255).astype(np.uint8)


@dataclass(frozen=True)
class Row:
    """label: what stands before the row; pictures: (k, h, w, 3) uint8."""

    label: str
    pictures: np.ndarray


def rows_of(result: dict[str, Any], arrays: Path) -> list[Row]:
    """Rows of one measurement: its first images, and below them its maps.

    result: content of its JSON file; arrays: its .npz. A map is divided by the 0.99 quantile of its
    magnitudes; one channel is shown in a diverging map that is white at 0, three as colours. Raises DataError
    when the arrays are not pictures.
    """
    spec = result["spec"]
    low, high = spec["dataset"]["low"], spec["dataset"]["high"]
    names = [name for name in MAPS[spec["measure"]["name"]] if name in result["arrays"]]
    if not names or "images" not in result["arrays"]:
        raise DataError(f"{arrays}: expected the arrays images and {MAPS[spec['measure']['name']][0]}")
    with np.load(arrays, allow_pickle=False) as stored:
        kept = {name: _checked(arrays, name, stored) for name in ("images", *names)}
    evaluation = result["evaluation"]
    maps = [maps_row(f"{evaluation}: {name.replace('_', ' ')}", kept[name]) for name in names]
    return [images_row(f"{evaluation}: images", kept["images"], low, high), *maps]


def images_row(label: str, images: np.ndarray, low: float, high: float) -> Row:
    """Images (k, 1 or 3, h, w) in [low, high]."""
    return Row(label, np.stack([_picture(image, low, high) for image in images]))


def maps_row(label: str, maps: np.ndarray) -> Row:
    """Signed maps (k, 1 or 3, h, w), each by a scale of its own."""
    mark = "" if np.isfinite(maps).all() else " (not finite)"
    return Row(label + mark, np.stack([_signed(image) for image in maps]))


def _checked(path: Path, name: str, stored: Mapping[str, np.ndarray]) -> np.ndarray:
    array = stored[name][:MOST]
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not len(array):
        raise DataError(f"{path}: expected {name} (k, 1 or 3, height, width), found {array.shape}")
    return array


def _picture(image: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = np.clip((np.asarray(image, float) - low) / (high - low), 0, 1)
    return _colours_last(np.round(np.nan_to_num(scaled) * 255).astype(np.uint8))


def _signed(image: np.ndarray) -> np.ndarray:
    shown = bytes_of(unit(image, SCALING))
    if len(shown) == 3:
        return _colours_last(shown)
    return COLOURS[shown[0]]


def _colours_last(image: np.ndarray) -> np.ndarray:
    """(1 or 3, h, w) -> (h, w, 3)."""
    return np.moveaxis(np.broadcast_to(image, (3, *image.shape[1:])), 0, -1)


def sheet(rows: Sequence[Row]) -> bytes:
    """All rows below each other, as a PNG. Equal rows give equal bytes."""
    font = ImageFont.load_default(12)
    wide = LABEL + max(len(row.pictures) for row in rows) * (SIDE + GAP) + GAP
    canvas = Image.new("RGB", (wide, len(rows) * (SIDE + GAP) + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for line, row in enumerate(rows):
        top = GAP + line * (SIDE + GAP)
        draw.multiline_text((GAP, top + SIDE // 4), row.label.replace(": ", ":\n"), fill="black", font=font)
        for column, picture in enumerate(row.pictures):
            canvas.paste(_sized(picture), (LABEL + GAP + column * (SIDE + GAP), top))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _sized(picture: np.ndarray) -> Image.Image:
    """Small pictures keep their pixels as squares; large ones are averaged."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    small = max(image.size) <= SIDE
    return image.resize((SIDE, SIDE), Image.Resampling.NEAREST if small else Image.Resampling.BOX)
