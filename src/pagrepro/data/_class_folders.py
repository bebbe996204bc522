"""Images in class folders, `<part>/<class>/<file>` or `<class>/<file>`, in a directory or a tar archive."""

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from pagrepro.data._archive import damaged, files_in
from pagrepro.dataset import Part
from pagrepro.errors import DataError

REVISION = 1

# Forms that Pillow turns into 8-bit grey or colour without loss of range.
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


@dataclass(frozen=True)
class Form:
    """What an image becomes: grey (1) or colour (3); its shorter side `resize` pixels (bilinear); the middle
    square of `crop` pixels. None: left as it is."""

    channels: int
    resize: int | None = None
    crop: int | None = None


def read_parts(
    origins: dict[str, Path],
    orders: dict[str, Path | None],
    classes: tuple[str, ...] | None,
    form: Form,
    part_folders: bool = True,
) -> dict[str, Part]:
    """Parts (x: (N, channels, H, W) uint8, y: (N,) int64) from the directory or archive of each part.

    Class indices are positions in `classes`, by default the folder names of the first part in alphabetical
    order. Rows follow the part's order file, or go by class and file name. Without `part_folders`, everything
    in <class>/<file> belongs to the one part there is. Raises DataError, naming the file, for a missing part,
    a single class, an unknown class, images that cannot be read or differ in size, and an order file that
    does not fit.
    """
    contents = {part: _read(origin, part, part_folders) for part, origin in origins.items()}
    first = next(iter(contents))
    names = classes or tuple(sorted({_class(file) for file in contents[first]}))
    if len(names) < 2:
        raise DataError(f"{origins[first]}: one class only ({names[0]}); a classifier needs at least two")
    parts: dict[str, Part] = {}
    for part, images in contents.items():
        _check_classes(images, names, origins[part])
        order = orders.get(part)
        files = _ordered(images, names, order, origins[part]) if order else _by_class(images, names)
        size = tuple(parts[first].x.shape[1:]) if parts else None
        x = _stack(files, images, form, origins[part], size)
        parts[part] = Part(torch.from_numpy(x), torch.tensor([names.index(_class(file)) for file in files]))
    return parts


def _class(file: str) -> str:
    return file.split("/")[1]


def _read(origin: Path, part: str, part_folders: bool) -> dict[str, bytes]:
    """`<part>/<class>/<file>` -> content; folders above are ignored, and so are hidden files."""
    if not origin.exists():
        raise DataError(f"{origin} does not exist")
    images: dict[str, bytes] = {}
    with damaged(origin):
        for path, content in files_in(origin):
            steps = PurePosixPath(path).parts
            steps = steps[-3:] if part_folders else (part, *steps[-2:])
            if len(steps) < 3 or steps[0] != part or steps[2].startswith("."):
                continue
            file = "/".join(steps)
            if file in images:
                raise DataError(f"{origin} has {file} more than once")
            images[file] = content()
    if not images:
        raise DataError(f"{origin} has no images in {f'{part}/' if part_folders else ''}<class>/<file>")
    return images


def _check_classes(images: dict[str, bytes], names: tuple[str, ...], origin: Path) -> None:
    for file in images:
        if _class(file) not in names:
            raise DataError(f"{origin}: {file} is of a class that is not one of {', '.join(names)}")


def _by_class(images: dict[str, bytes], names: tuple[str, ...]) -> list[str]:
    return sorted(images, key=lambda file: (names.index(_class(file)), file))


def _ordered(images: dict[str, bytes], names: tuple[str, ...], order: Path, origin: Path) -> list[str]:
    """File names in the order of a CSV file `index,label,file` (plain or gzip)."""
    with damaged(order), (gzip.open if order.suffix == ".gz" else open)(order, "rt") as file:
        rows = list(csv.DictReader(file))
    files: list[str] = []
    for number, row in enumerate(rows):
        index, label, name = row.get("index"), row.get("label"), row.get("file")
        if index != str(number):
            raise DataError(f"{order}, row {number}: expected index {number}, found {index!r}")
        if name not in images:
            raise DataError(f"{order}, row {number}: {name} is not in {origin}")
        expected = names.index(_class(name))
        if label != str(expected):
            raise DataError(f"{order}, row {number}: label {label} for {name}, which is class {expected}")
        files.append(name)
    missing = images.keys() - set(files)
    if missing or len(set(files)) != len(files):
        raise DataError(f"{order}: {len(missing)} images of {origin} are not listed, or some twice")
    return files


def _stack(
    files: list[str], images: dict[str, bytes], form: Form, origin: Path, size: tuple[int, ...] | None
) -> np.ndarray:
    """(N, channels, H, W) uint8; all images as large as the first (`size`, where another part set it)."""
    stacked: np.ndarray | None = None
    for row, file in enumerate(files):
        # Files are let go as they are decoded: ImageNet's are 7 GB.
        image = _decode(images.pop(file), form, f"{origin}: {file}")
        size = size or image.shape
        if image.shape != size:
            raise DataError(f"{origin}: {file} has (height, width) {image.shape[1:]}, others {size[1:]}")
        if stacked is None:
            stacked = np.empty((len(files), *size), np.uint8)
        stacked[row] = image
    return stacked


def _decode(content: bytes, form: Form, where: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in MODES:
                raise DataError(f"{where} has pixels of form {image.mode}; 8-bit grey or colour is needed")
            pixels = np.asarray(_resized(image.convert("RGB" if form.channels == 3 else "L"), form, where))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{where} cannot be read as an image: {error}") from error
    return pixels.reshape(*pixels.shape[:2], form.channels).transpose(2, 0, 1)


def _resized(image: Image.Image, form: Form, where: str) -> Image.Image:
    """As torchvision's `Resize` and `CenterCrop` do it on Pillow's images."""
    if form.resize is not None:
        short, long = sorted(image.size)
        longer = int(form.resize * long / short)
        size = (form.resize, longer) if image.width == short else (longer, form.resize)
        image = image.resize(size, Image.Resampling.BILINEAR)
    if form.crop is not None:
        if min(image.size) < form.crop:
            raise DataError(
                f"{where}: {image.width}x{image.height} pixels, too few for a crop of {form.crop}"
            )
        left, top = (round((side - form.crop) / 2) for side in image.size)
        image = image.crop((left, top, left + form.crop, top + form.crop))
    return image
