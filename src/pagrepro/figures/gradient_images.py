"""Input gradients of several methods beside the image, data sets in rows.

Bigolin Lanfredi et al. (2020), Figure 6: the gradient of ell(x) = logit_c~ - logit_y, each scaled by its
largest absolute value to [-1, 1]. One channel is shown in a diverging map, three as (g + 1) / 2. Below each
gradient are the two classes it leads between: c~ depends on the network.
"""

import numpy as np
from matplotlib.axes import Axes
from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figures import _images as images
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context, Result

REVISION = 1

NUMBERS = False


class Row(Strict):
    """groups: method -> group; image: place among the stored images; low, high: range of the images;
    classes: their names, else numbers."""

    label: str
    groups: dict[str, str]
    image: int = Field(0, ge=0)
    low: Number = 0
    high: Number = 1
    classes: tuple[str, ...] = ()


class Config(Strict):
    """methods: columns from left to right; evaluation: of the kind gradient_shape; seed: whose gradients,
    else the first there is."""

    rows: tuple[Row, ...] = Field(min_length=1)
    methods: tuple[str, ...]
    evaluation: str = "shape"
    seed: int | None = None


SIZE = 1.1


def draw(config: Config, context: Context) -> FigureResult:
    """One line per data set: the image, then one gradient per method."""
    figure = style.figure(SIZE * (len(config.methods) + 1) + 1.0, (SIZE + 0.2) * len(config.rows) + 0.4)
    grid = figure.subplots(len(config.rows), len(config.methods) + 1, squeeze=False)
    for line, row in zip(grid, config.rows, strict=True):
        label = pictures.titled(context, row.label, list(row.groups.values()))
        reason = pictures.reason_of_all(context, row.groups.values(), [config.evaluation])
        if reason:
            images.empty_row(line, label, reason, wide=60)
            continue
        shown = None
        for axes, method in zip(line[1:], config.methods, strict=True):
            shown = _cell(axes, config, context, row, method, shown)
        if shown is None:
            style.unavailable(line[0], "")
        else:
            style.picture(line[0], pictures.scaled(shown, row.low, row.high))
        pictures.side_label(line[0], label)
    for axes, title in zip(grid[0], ["$x$", *config.methods], strict=True):
        axes.set_title(title)
    return FigureResult(figure)


def _cell(
    axes: Axes, config: Config, context: Context, row: Row, method: str, shown: np.ndarray | None
) -> np.ndarray | None:
    """Draw one gradient; returns the image it belongs to. Raises DataError if methods saw other images."""
    if method not in row.groups:
        axes.set_axis_off()
        return shown
    result, reason = pictures.one(context, row.groups[method], config.evaluation, config.seed)
    if result is None:
        style.unavailable(axes, reason, wide=20)
        return shown
    image = _stored(result, "images", row.image)
    if shown is not None and not np.array_equal(image, shown):
        raise DataError(f"{row.label}: the networks of its methods were measured on different images")
    gradient = _stored(result, "gradients", row.image)
    pictures.signed(axes, gradient, pictures.largest(gradient))
    names = [_name(row, int(_stored(result, key, row.image))) for key in ("labels", "closest")]
    axes.set_xlabel(f"{names[0]} → {names[1]}", labelpad=2)
    return image


def _stored(result: Result, name: str, place: int) -> np.ndarray:
    stored = result.array(name)
    if place >= len(stored):
        raise DataError(f"{result.run}: image {place}; there are {len(stored)}, counted from 0")
    return stored[place]


def _name(row: Row, number: int) -> str:
    return row.classes[number] if number < len(row.classes) else str(number)
