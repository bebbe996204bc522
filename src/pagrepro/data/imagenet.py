"""ImageNet as its user has it, `<class>/<file>` for each part, left where it is.

Russakovsky et al. (2015); Rodriguez-Munoz et al. (2024) train on it and evaluate on lists of its validation
images, resized to 256 (bicubic) and cropped to 224. A source of it is the list that `download.fetch` makes of
a folder that is used in place; images are read when they are needed.
"""

from pathlib import Path

import torch
from pydantic import Field

from pagrepro.dataset import Part
from pagrepro.errors import DataError
from pagrepro.image_files import ImageFiles
from pagrepro.options import Strict

REVISION = 1
SOURCES = ("train?", "val")


class Config(Strict):
    """classes: how many folders there have to be; a class's index is the place of its folder in alphabetical
    order, as everywhere. resize, crop: pixels, for evaluation."""

    classes: int = Field(1000, ge=2)
    resize: int = Field(256, ge=1)
    crop: int = Field(224, ge=1)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """The parts there are; x: `ImageFiles`, y: (N,) int64, by class and file name. `seed` is not used.

    Raises DataError for another number of classes, or others than in the other part.
    """
    listed = {part: _listed(path) for part, path in files.items()}
    folders = {part: sorted({name.split("/")[0] for name in names}) for part, (_, names) in listed.items()}
    complete = next((part for part, found in folders.items() if len(found) == config.classes), None)
    for part, found in folders.items():
        expected = f"{listed[part][0]}: expected {config.classes} folders, one per class, found {len(found)}"
        if complete is None:
            raise DataError(f"{expected}: {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}")
        known = folders[complete]
        if found != known:
            missing, extra = sorted(set(known) - set(found)), sorted(set(found) - set(known))
            raise DataError(
                f"{expected}; other classes than {listed[complete][0]} has:"
                f" missing {missing[:3]}, only here {extra[:3]}"
            )
    index = {name: number for number, name in enumerate(known)}
    return {
        part: Part(
            ImageFiles(root, names, config.resize, config.crop),
            torch.tensor([index[name.split("/")[0]] for name in names]),
        )
        for part, (root, names) in listed.items()
    }


def _listed(path: Path) -> tuple[Path, tuple[str, ...]]:
    """(folder, names of its images `<class>/<file>`), from the list of a folder used in place."""
    root, *lines = path.read_text(encoding="utf-8").splitlines()
    names = tuple(line.rpartition(" ")[0] for line in lines)
    wrong = [name for name in names if name.count("/") != 1]
    if wrong or not names:
        raise DataError(f"{root}: expected <class>/<file>, found {wrong[0] if wrong else 'nothing'}")
    return Path(root), tuple(sorted(names))
