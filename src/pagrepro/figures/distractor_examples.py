"""Images with a signal and a distractor, noise on either, and gradients of a standard and a robust
classifier.

Srinivas et al. (2023), Figure 12 (a) to (e). Below each gradient is the share of its energy that lies on
the signal. Gradients are divided by their own largest magnitude; images with noise are clipped to the
range for display.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figures import _images as images
from pagrepro.figures import _maps as maps
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context, Result

REVISION = 1

NUMBERS = False


class Row(Strict):
    """One row of gradients."""

    label: str
    group: str


class Config(Strict):
    """rows: of gradients; evaluation: of the kind signal_share; images: how many of the stored ones;
    seed: whose gradients, else the first there are; low, high: range of the images."""

    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    evaluation: str = "signal_share"
    images: Annotated[int, Field(ge=1)] = 10
    seed: int | None = None
    low: Number = 0
    high: Number = 1


SIZE = 0.62
_SHOWN = {"images": "image", "noise_signal": "noise on\nsignal", "noise_distractor": "noise on\ndistractor"}


def draw(config: Config, context: Context) -> FigureResult:
    """Three rows of images, then one of gradients for each entry of `rows`; one column per image."""
    found = [pictures.one(context, row.group, config.evaluation, config.seed) for row in config.rows]
    results = [result for result, _ in found if result is not None]
    count = min([config.images, *(len(r.array("images")) for r in results)])
    aspect = results[0].array("images").shape[2] / results[0].array("images").shape[3] if results else 1.0
    high = SIZE * aspect * (len(_SHOWN) + len(config.rows)) + 0.25 * len(config.rows) + 0.4
    figure = style.figure(SIZE * count + 1.2, high)
    grid = figure.subplots(len(_SHOWN) + len(config.rows), count, squeeze=False)
    groups = [row.group for row in config.rows]
    figure.suptitle(", ".join(dict.fromkeys(result.dataset for result in results)), fontsize=8)
    _check_same(results, count)
    for line, (name, label) in zip(grid, _SHOWN.items()):
        if not results:
            reason = pictures.reason_of_all(context, groups, [config.evaluation])
            images.empty_row(line, label, reason, wide=60)
            continue
        for axes, image in zip(line, results[0].array(name), strict=False):
            style.picture(axes, pictures.scaled(image, config.low, config.high))
        pictures.side_label(line[0], label)
    for line, row, (result, reason) in zip(grid[len(_SHOWN) :], config.rows, found, strict=True):
        if result is None:
            images.empty_row(line, row.label, reason, wide=60)
        else:
            _gradients(line, row.label, result)
    return FigureResult(figure)


def _check_same(results: list[Result], count: int) -> None:
    stored = [result.array("images")[:count] for result in results]
    if not all(np.array_equal(image, stored[0]) for image in stored):
        raise DataError("distractor_examples: its groups were measured on different images")


def _gradients(line: np.ndarray, label: str, result: Result) -> None:
    shares = result.array("share")
    for axes, gradient, share in zip(line, result.array("gradients"), shares, strict=False):
        maps.show(axes, gradient)
        axes.set_xlabel(f"{share:.2f}", labelpad=1, fontsize=style.SMALL)
    pictures.side_label(line[0], label + ("\ndiverged" if result.diverged else ""))
