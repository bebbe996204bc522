"""Images and their projections to every class: two lines per class, the image first.

Bigolin Lanfredi et al. (2020), Figures S5 and S6. A frame marks the image's own class.
"""

import numpy as np
from pydantic import Field

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context, Result

REVISION = 1

NUMBERS = False


class Config(Strict):
    """evaluation: of the kind direction_similarity, which stores the examples; seed: whose images, else the
    first there is; per_class: lines per class; low, high: range of the images; classes: names, else
    numbers."""

    group: str
    evaluation: str = "similarity"
    seed: int | None = None
    per_class: int = Field(2, ge=1)
    low: Number = 0
    high: Number = 1
    classes: tuple[str, ...] = ()


SIZE = 0.5


def draw(config: Config, context: Context) -> FigureResult:
    """A grid of (per_class * K) x (K + 1) images."""
    result, reason = pictures.one(context, config.group, config.evaluation, config.seed)
    if result is None:
        figure = style.figure(5, 2)
        style.unavailable(figure.subplots(), reason, wide=70)
        return FigureResult(figure)
    moved, labels = result.array("moved"), result.array("labels").astype(int)
    names = list(config.classes) or [str(k) for k in range(moved.shape[1])]
    places = [p for k in range(len(names)) for p in np.flatnonzero(labels == k)[: config.per_class]]
    figure = style.figure(SIZE * (len(names) + 1) + 0.8, SIZE * len(places) + 0.6)
    grid = figure.subplots(len(places), len(names) + 1, squeeze=False)
    figure.suptitle(
        pictures.titled(context, f"seed {result.seed}", [config.group]).replace("\n", " "), fontsize=8
    )
    for line, place in zip(grid, places, strict=True):
        _line(line, config, result, place)
    for line, place, before in zip(grid, places, [None, *places], strict=False):
        if before is None or labels[before] != labels[place]:
            pictures.side_label(line[0], names[labels[place]])
    for axes, title in zip(grid[0], ["$x$", *names], strict=True):
        axes.set_title(title, fontsize=7)
    return FigureResult(figure)


def _line(line: np.ndarray, config: Config, result: Result, place: int) -> None:
    moved, own = result.array("moved")[place], int(result.array("labels")[place])
    style.picture(line[0], pictures.scaled(result.array("x")[place], config.low, config.high))
    for target, (axes, image) in enumerate(zip(line[1:], moved, strict=True)):
        style.picture(axes, pictures.scaled(image, config.low, config.high))
        if target == own:
            for spine in axes.spines.values():
                spine.set(visible=True, color=palette.GREY, linewidth=1.6)
