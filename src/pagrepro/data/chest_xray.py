"""Chest X-rays: airflow obstruction (class 1) or none (class 0) (Bigolin Lanfredi et al. 2023, section 4).

The paper's images are private. This plugin takes anybody's images of the same kind: a manifest (CSV, columns
`image_path, patient_id, study_id, view, fev1_fvc, days_cxr_pft, lung_transplant` and optionally `split`) and
the folder, or the tar packed from it, that its paths start from. Which rows are used: `_chest_manifest.py`.

Pixels: 16-bit values divided by 256, one grey channel, the square in the middle, resized (bilinear) to 8/7 of
`size`, stretched to [0, 1], histogram equalised over 256 bins, the middle of `size` x `size`. Two things
differ from the paper: values are rounded to 256 levels, and the paper crops training images at random. Here
that crop is an augmentation (`augment.crop_padding`), which pads where the paper has more of the image.
"""

import io
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from pagrepro.data._archive import damaged, files_in
from pagrepro.data._chest_manifest import PARTS, Finding, Row, read_manifest, refuse, select
from pagrepro.data._class_folders import MODES
from pagrepro.dataset import Part
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict
from pagrepro.splits import per_class

REVISION = 1

SOURCES = ("manifest", "images")

BINS = 256
# Examples of each class in the part `examples`, for figures.
EXAMPLES = 5


class Config(Strict):
    """size: pixels per side; below_ratio: FEV1/FVC under which a patient counts as obstructed; max_days:
    image and lung function test are fewer days apart."""

    size: int = Field(224, ge=7, multiple_of=7)
    below_ratio: Number = Field(0.7, gt=0, lt=1)
    max_days: Number = Field(30, gt=0)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Parts train, val, test in the order of the manifest, and examples: 5 test images of each class (or as
    many as the rarer class has), ordered by class.

    x: (N, 1, size, size) uint8, y: (N,) int64. `seed` is not used. Raises one DataError that lists every row
    of the manifest that is not as it should be, images that cannot be read included.
    """
    manifest = files["manifest"]
    rows, findings = read_manifest(manifest)
    chosen = select(rows, config.max_days)
    images, unreadable = _read_images(files["images"], chosen, config.size)
    refuse(manifest, [*findings, *unreadable])
    parts = {}
    for name in PARTS:
        own = [row for row in chosen if row.split == name]
        if not own:
            raise DataError(f"{manifest}: none of its {len(rows)} rows is left for part {name}")
        x = np.stack([images[row.image_path] for row in own])[:, None]
        y = torch.tensor([int(row.fev1_fvc < config.below_ratio) for row in own])
        parts[name] = Part(torch.from_numpy(x), y)
    return {**parts, "examples": _examples(parts["test"])}


def _examples(test: Part) -> Part:
    counts = test.y.unique(return_counts=True)[1]
    rows = per_class(test.y.numpy(), min(EXAMPLES, int(counts.min())), "chest_xray/examples")
    return Part(test.x[rows], test.y[rows])


def _read_images(origin: Path, rows: list[Row], size: int) -> tuple[dict[str, np.ndarray], list[Finding]]:
    """Images (size, size) uint8 of the rows by path, each prepared as soon as it is read."""
    wanted = {row.image_path for row in rows}
    images: dict[str, np.ndarray] = {}
    wrong: dict[str, str] = {}
    with damaged(origin):
        for name, content in files_in(origin):
            path = PurePosixPath(name).as_posix()
            if path in wanted and path not in images:
                try:
                    images[path] = prepare_image(content(), size)
                except ValueError as error:
                    wrong[path] = str(error)
    missing = wanted - images.keys() - wrong.keys()
    wrong |= dict.fromkeys(missing, f"a file in {origin}")
    return images, [
        Finding(row.number, "image_path", row.image_path, wrong[row.image_path])
        for row in rows
        if row.image_path in wrong
    ]


def prepare_image(content: bytes, size: int) -> np.ndarray:
    """An image file -> (size, size) uint8. Raises ValueError that says what was expected."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            grey = _grey(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"an image that can be read ({error})") from error
    side = min(grey.size)
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    larger = size * 8 // 7
    square = grey.crop((left, top, left + side, top + side))
    values = np.asarray(square.resize((larger, larger), Image.Resampling.BILINEAR), np.float64)
    low, high = values.min(), values.max()
    if low == high:
        raise ValueError("an image with more than one grey level")
    values = equalise((values - low) / (high - low))
    start = (larger - size) // 2
    return np.round(255 * values[start : start + size, start : start + size]).astype(np.uint8)


def _grey(image: Image.Image) -> Image.Image:
    """8-bit grey. 16-bit files come as `I;16`, from older versions of Pillow as `I`."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"pixels of 8 or 16 bits, not {values.min()} to {values.max()}")
        return Image.fromarray((values // 256).astype(np.uint8))
    if image.mode not in MODES:
        raise ValueError(f"8-bit grey or colour, or 16-bit grey, not pixels of form {image.mode}")
    return image.convert("L")


def equalise(values: np.ndarray) -> np.ndarray:
    """Histogram equalisation of values in [0, 1]: each becomes the share of pixels up to it, counted
    at the centres of 256 bins and interpolated between them."""
    counts, edges = np.histogram(values, BINS, (0, 1))
    shares = np.cumsum(counts) / values.size
    return np.interp(values, (edges[:-1] + edges[1:]) / 2, shares)
