"""Squares, large (class 0) or small (class 1), in blurred noise (Bigolin Lanfredi et al. 2023, section 4).

Image = clean square (`pagrepro.squares`) + noise. The noise is Gaussian per pixel, blurred with sigma,
divided by its own standard deviation in that image, times noise_std; its mean is not removed. The border
mode of the blur raises the variance in the corners.

Squares of 224 pixels are not clipped, so about 16 % of their pixels lie outside [-1, 1]; with noise clipped
to [-0.5, 0.5] (Squares32) all lie inside. Random numbers are those of the official code: NumPy's old
generator, seeds 7, 8 and 9, first all targets, then the noise image by image. The shares of the classes that
the paper prints (49.7, 50.5 and 48.6 % of class -1) come out.
"""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from pagrepro.dataset import Part
from pagrepro.options import Number, Strict
from pagrepro.squares import TARGETS, clean_squares

REVISION = 1

SOURCES: tuple[str, ...] = ()

# Part of what this data set is; they do not follow the seed of a run.
SEEDS = (("train", 7), ("val", 8), ("test", 9))

# Pixels of noise that are in memory at a time, as doubles.
BLOCK = 1 << 22


class Config(Strict):
    """size: pixels per side; sigma: of the blur, in pixels; noise_std: of the noise in every image; clip: the
    noise stays in [-clip, clip], null: not clipped; train, val, test: examples of each part."""

    size: int = Field(224, ge=8, multiple_of=2)
    sigma: Number = Field(2.5, gt=0)
    noise_std: Number = Field(0.5, gt=0)
    clip: Number | None = Field(None, gt=0)
    train: int = Field(10000, ge=1)
    val: int = Field(200, ge=1)
    test: int = Field(1000, ge=1)


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """The three parts. x: (N, 1, size, size) float32, in [-1, 1] for a clip of at most 0.5, else unbounded;
    y: (N,) int64. `seed` is not used."""
    return {name: _part(config, name) for name, _ in SEEDS}


def draw_labels(name: str, count: int) -> tuple[np.ndarray, np.random.RandomState]:
    """Labels (count,) int64 of a part, and the generator as it stands before the noise."""
    numbers = np.random.RandomState(dict(SEEDS)[name])
    large, small = TARGETS
    targets = numbers.choice([small, large], size=count)
    return (targets == small).astype(np.int64), numbers


def _part(config: Config, name: str) -> Part:
    count, size = getattr(config, name), config.size
    y, numbers = draw_labels(name, count)
    clean = clean_squares(size).numpy()
    x = np.empty((count, 1, size, size), np.float32)
    step = max(1, BLOCK // size**2)
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        x[rows] = clean[y[rows]] + _noise(config, rows.stop - start, numbers)[:, None]
    return Part(torch.from_numpy(x), torch.from_numpy(y))


def _noise(config: Config, count: int, numbers: np.random.RandomState) -> np.ndarray:
    """(count, size, size) float64."""
    from scipy.ndimage import gaussian_filter

    noise = numbers.normal(size=(count, config.size, config.size))
    noise = gaussian_filter(noise, config.sigma, mode="nearest", truncate=4, axes=(1, 2))
    noise *= config.noise_std / noise.std(axis=(1, 2), keepdims=True)
    return noise if config.clip is None else noise.clip(-config.clip, config.clip)
