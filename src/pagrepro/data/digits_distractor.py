"""Small digits with a letter as distractor: 8x16 images of a digit and an "A", the digit above or below.

MNIST with a distractor of Srinivas et al. (2023), section 4.3, with the digits of scikit-learn (`_digits.py`)
in the place of MNIST; the letter is drawn as there (`_distractor.py`), in DejaVu Sans Mono. 1,397 training
and 400 test images; rows are those of the data set `digits`.
"""

from pathlib import Path

import torch
from pydantic import Field

from pagrepro.data._digits import part_rows, read_digits
from pagrepro.data._distractor import default_font, draw_letter, with_distractor
from pagrepro.dataset import Part
from pagrepro.options import Strict

REVISION = 1

SOURCES: tuple[str, ...] = ()

SIDE = 8


class Config(Strict):
    """letter: the distractor; placement_seed: of the draw which of the two is above, image by image."""

    letter: str = Field("A", min_length=1, max_length=1)
    placement_seed: int = Field(0, ge=0)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Both parts; x: (N, 1, 16, 8) uint8, y: (N,) int64, mask: (N, 1, 16, 8) uint8, 1 on the digit's block.

    `seed` is not used. Raises DataError when the digits or the font are not installed.
    """
    values, labels = read_digits()
    x = torch.from_numpy(values).view(-1, 1, SIDE, SIDE).float() * (255 / 16)
    x, y = x.round().to(torch.uint8), torch.from_numpy(labels)
    letter = draw_letter(config.letter, default_font(), SIDE)
    return {
        name: with_distractor(Part(x[rows], y[rows]), letter, config.placement_seed, name)
        for name, rows in part_rows(labels).items()
    }
