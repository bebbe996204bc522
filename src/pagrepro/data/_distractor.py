"""A digit and a distractor, one above the other, with a mask of the digit's block.

Srinivas et al. (2023), section 4.3 and appendix B.8, after Shah et al. (2021). The distractor is one fixed
letter, drawn as in the public code: white on a canvas of 40x40, size 35 at (9, 2), stroke 1, resized to the
block. Digit and letter swap places with probability 1/2 in every image. There the places are not seeded; here
they are part of the data set and do not follow the seed of a run.

The paper's font is FreeMono, which is not part of any package this project needs. DejaVu Sans Mono comes with
matplotlib and is used where no font is given.
"""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pagrepro.dataset import Part
from pagrepro.errors import DataError
from pagrepro.seeding import generator

REVISION = 1

CANVAS, SIZE, PLACE, STROKE = 40, 35, (9, 2), 1
DEFAULT_FONT = "DejaVuSansMono.ttf"


def default_font() -> Path:
    """The file of DejaVu Sans Mono inside matplotlib, which is not imported. Raises DataError without it."""
    package = importlib.util.find_spec("matplotlib")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0]) / "mpl-data" / "fonts" / "ttf" / DEFAULT_FONT if folders else None
    if path is None or not path.is_file():
        raise DataError(
            f"the distractor's font is not installed: expected {path or 'package matplotlib'};"
            " install matplotlib, or name a TrueType file in the role `font` of the data set"
        )
    return path


def draw_letter(letter: str, font: Path, side: int) -> Tensor:
    """The distractor, (side, side) uint8, white on black.

    Raises DataError for a file that is no font, and for a letter that the canvas cuts off or that is blank.
    """
    try:
        # Basic layout: the other one is not in every build of Pillow.
        loaded = ImageFont.truetype(font, SIZE, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise DataError(f"{font} cannot be read as a TrueType font: {error}") from error
    canvas = Image.new("L", (CANVAS, CANVAS), 0)
    draw = ImageDraw.Draw(canvas)
    left, top, right, bottom = draw.textbbox(PLACE, letter, font=loaded, stroke_width=STROKE)
    if left < 0 or top < 0 or right > CANVAS or bottom > CANVAS:
        raise DataError(f"letter {letter!r} in {font}: it reaches beyond the canvas of {CANVAS}x{CANVAS}")
    draw.text(PLACE, letter, fill=255, font=loaded, stroke_width=STROKE)
    if canvas.getextrema() == (0, 0):
        raise DataError(f"letter {letter!r} in {font}: it is blank")
    return torch.from_numpy(np.asarray(canvas.resize((side, side), Image.Resampling.BICUBIC)).copy())


def with_distractor(digits: Part, letter: Tensor, seed: int, part: str) -> Part:
    """x: (N, 1, 2s, s) uint8, y: (N,), mask: (N, 1, 2s, s) uint8, 1 on the block of the digit.

    digits: x (N, 1, s, s) uint8; letter: (s, s) uint8. Where a digit is depends on seed and part alone.
    """
    count = len(digits.y)
    below = torch.randint(2, (count,), generator=generator(seed, "placement", part)).bool()
    blocks = torch.stack([digits.x, letter.expand_as(digits.x)], 2)  # (N, 1, 2, s, s)
    signal = torch.stack([torch.ones_like(digits.x), torch.zeros_like(digits.x)], 2)
    x, mask = (
        torch.where(below[:, None, None, None, None], b.flip(2), b).flatten(2, 3) for b in (blocks, signal)
    )
    return Part(x, digits.y, mask)
