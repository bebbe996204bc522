"""Geometry of the Squares data: a large or a small bright square in the middle of a dark image.

Bigolin Lanfredi et al. (2020), section 4, "Squares". A square of target t has the half side
floor(size / 2 * 0.8 * t); class 0 is the large one (t = 0.8), class 1 the small one (t = 0.5). In images of
224 pixels the sides are 142 and 88. The data set adds noise to these images; the exact direction from one
class to the other is the difference of the two.
"""

import math

import torch
from torch import Tensor

REVISION = 1

# t of every class, and the share of the half image that t = 1 would fill.
TARGETS = (0.8, 0.5)
SHARE = 0.8
BACKGROUND, SQUARE = -0.5, 0.5


def half_sides(size: int) -> tuple[int, int]:
    """Half side in pixels of the square of each class, in images of `size` x `size` pixels."""
    large, small = (math.floor(size / 2 * SHARE * t) for t in TARGETS)
    return large, small


def clean_squares(size: int) -> Tensor:
    """The two images without noise (2, 1, size, size), float: 0.5 inside the square and -0.5 around it."""
    images = torch.full((len(TARGETS), 1, size, size), BACKGROUND)
    centre = size // 2
    for image, half in zip(images, half_sides(size), strict=True):
        image[:, centre - half : centre + half, centre - half : centre + half] = SQUARE
    return images
