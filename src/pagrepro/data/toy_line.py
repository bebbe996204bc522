"""Two classes that alternate along a line in the plane (Ganz et al. 2022, section 3, toy experiment).

Class c has modes whose first coordinate is drawn from N(centre, noise^2) around its centres; the second
coordinate is always slope * first, so all data lie on one line through the origin. With the defaults
neighbouring modes are 20 sqrt(5) = 44.7 apart. Values are used as they are: they have no bounds, and the
effect the paper reports vanishes when they are scaled down.
"""

from pathlib import Path

import torch
from pydantic import Field

from pagrepro.dataset import Part
from pagrepro.options import Strict
from pagrepro.seeding import generator

REVISION = 1

SOURCES: tuple[str, ...] = ()


class Config(Strict):
    """`centres[c]`: first coordinates of the modes of class c; `per_mode_*`: examples drawn per mode."""

    centres: tuple[tuple[float, ...], ...] = ((-50.0, -10.0, 30.0), (-30.0, 10.0, 50.0))
    slope: float = 2.0
    noise: float = Field(1.0, gt=0)
    per_mode_train: int = Field(1000, ge=1)
    per_mode_test: int = Field(100, ge=1)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Draw both parts. x: (N, 2) float32, unbounded; y: (N,) int64; ordered by class, then mode.

    Train and test are drawn from two streams, so that the size of one never changes the other.
    """
    return {
        "train": _draw(config, config.per_mode_train, seed, "train"),
        "test": _draw(config, config.per_mode_test, seed, "test"),
    }


def _draw(config: Config, per_mode: int, seed: int, name: str) -> Part:
    modes = [(label, centre) for label, centres in enumerate(config.centres) for centre in centres]
    labels = torch.tensor([label for label, _ in modes])
    centres = torch.tensor([centre for _, centre in modes], dtype=torch.float32)
    noise = torch.randn((len(modes), per_mode), generator=generator(seed, "toy_line", name))
    x1 = (centres[:, None] + config.noise * noise).flatten()  # (modes * per_mode,)
    return Part(torch.stack([x1, config.slope * x1], dim=1), labels.repeat_interleave(per_mode))
