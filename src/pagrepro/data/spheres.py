"""Two concentric spheres: one class per radius (Bigolin Lanfredi et al. 2023, section 4, "Spheres").

u is a Gaussian vector divided by its length, the label y a fair coin, x = r_y u. The paper takes fresh
examples at every step; `draw` makes them. Validation and test examples are drawn anew at every use in the
official code; here they are fixed, so that the choice of the best epoch is not a choice of the easiest draw.
Values are used as they are: they have no bounds, and no attack clips them.
"""

from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.dataset import Part
from pagrepro.options import Number, Strict
from pagrepro.seeding import generator

REVISION = 1

SOURCES: tuple[str, ...] = ()

# This plugin has `draw`: fresh examples for every step of a fit.
FRESH = True

# Part of what this data set is; it does not follow the seed of a run.
SEED = 0


class Config(Strict):
    """dimension: n, of the space; radii: of class 0 and class 1; train, val, test: examples of each part (the
    train part serves fits and fields that need fixed rows; a fit may also draw fresh examples)."""

    dimension: int = Field(500, ge=1)
    radii: tuple[Number, Number] = (1.0, 1.3)
    train: int = Field(1000, ge=1)
    val: int = Field(200, ge=1)
    test: int = Field(1000, ge=1)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """The three parts, each from its own stream. x: (N, n) float32; y: (N,) int64. `seed` is not used."""
    sizes = {"train": config.train, "val": config.val, "test": config.test}
    return {name: Part(*draw(config, size, generator(SEED, "spheres", name))) for name, size in sizes.items()}


def draw(config: Config, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Fresh examples on the generator's device: x (count, n) float32, y (count,) int64."""
    device = generator.device
    # Labels first: the labels of a part do not depend on the dimension.
    y = torch.randint(2, (count,), generator=generator, device=device)
    u = torch.randn((count, config.dimension), generator=generator, device=device)
    radius = torch.tensor(config.radii, device=device)[y]
    return u * (radius / u.norm(dim=1)).unsqueeze(1), y
