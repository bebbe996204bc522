"""MNIST with a letter as distractor: 28x56 images of a digit and an "A", the digit above or below.

Srinivas et al. (2023), section 4.3, Figures 4 and 12 and appendix B.8; how they are made: `_distractor.py`.
Made from the four official files of MNIST; `font` is a TrueType file (the paper's is FreeMono), without which
the letter is DejaVu Sans Mono's. 60,000 training and 10,000 test images; rows are those of MNIST.
"""

from pathlib import Path

from pydantic import Field

from pagrepro.data._archive import labelled_images
from pagrepro.data._distractor import default_font, draw_letter, with_distractor
from pagrepro.dataset import Part
from pagrepro.options import Strict

REVISION = 1

# "?": may be left out.
SOURCES = ("train_images", "train_labels", "test_images", "test_labels", "font?")


class Config(Strict):
    """letter: the distractor; placement_seed: of the draw which of the two is above, image by image."""

    letter: str = Field("A", min_length=1, max_length=1)
    placement_seed: int = Field(0, ge=0)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Both official parts; x: (N, 1, 56, 28) uint8, y: (N,) int64, mask: (N, 1, 56, 28) uint8, 1 on the
    digit's block.

    `seed` is not used. Raises DataError when a file is damaged, the files do not belong together, or the
    letter cannot be drawn.
    """
    font = files.get("font") or default_font()
    parts = {}
    for name in ("train", "test"):
        digits = labelled_images(files[f"{name}_images"], files[f"{name}_labels"])
        letter = draw_letter(config.letter, font, digits.x.shape[-1])
        parts[name] = with_distractor(digits, letter, config.placement_seed, name)
    return parts
