"""What a residual generator makes of examples: x, its residual, the image it leads to, and the truth.

Bigolin Lanfredi et al. (2020), Figures 4, 5 and S1 to S4. Residuals have one symmetric scale per line. The
first stored examples of each class are shown: nothing is selected by hand.
"""

import textwrap
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import SubFigure
from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context, Result

REVISION = 1

NUMBERS = False


class Pair(Strict):
    """source: class of the example; nth: which of its stored examples; destination: class it is led to."""

    source: int = Field(ge=0)
    destination: int = Field(ge=0)
    nth: int = Field(0, ge=0)


class Panel(Strict):
    """per_class: examples of each class, led to the other one of two; pairs: instead of these, chosen ones;
    show: lines from top to bottom; low, high: range of the images; classes: their names, else numbers."""

    label: str
    group: str
    seed: int | None = None
    per_class: int = Field(2, ge=1)
    pairs: tuple[Pair, ...] = ()
    show: tuple[Literal["x", "residual", "moved", "truth", "truth_residual"], ...] = (
        "x",
        "residual",
        "moved",
    )
    low: Number = 0
    high: Number = 1
    classes: tuple[str, ...] = ()


class Config(Strict):
    """evaluation: of the kind direction_similarity; it stores the examples."""

    panels: tuple[Panel, ...] = Field(min_length=1)
    evaluation: str = "similarity"


_LINES = {
    "x": "$x$",
    "residual": r"$\widehat{\Delta x}$",
    "moved": r"$\hat{x}'$",
    "truth": "$x'$",
    "truth_residual": r"$\Delta x$",
}
SIZE = 0.78


def draw(config: Config, context: Context) -> FigureResult:
    """Panels below each other; lines as in `show`, one column per example."""
    shown = [(p, *pictures.one(context, p.group, config.evaluation, p.seed)) for p in config.panels]
    picks = [_picks(panel, result) if result else [] for panel, result, _ in shown]
    wide = max(2, *(len(pick) for pick in picks))
    heights = [SIZE * len(p.show) + 0.45 if r else 1.0 for p, r, _ in shown]
    # Titles name the data really used, which takes more room than two images.
    width = max(SIZE * wide + 0.9, 3.4)
    figure = style.figure(width, sum(heights))
    parts = figure.subfigures(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (panel, result, reason), pick in zip(parts, shown, picks, strict=True):
        title = pictures.titled(context, panel.label, [panel.group])
        if result is None:
            part.suptitle(_wrapped(title, width), fontsize=8)
            style.unavailable(part.subplots(), reason, wide=int(17 * width))
        else:
            _panel(part, panel, result, pick, wide, _wrapped(f"{title}, seed {result.seed}", width))
    return FigureResult(figure)


def _wrapped(title: str, width: float) -> str:
    return "\n".join(textwrap.wrap(title, int(15 * width)))


def _picks(panel: Panel, result: Result) -> list[tuple[int, int]]:
    """(place among the stored examples, destination class) of every column."""
    labels = result.array("labels").astype(int)
    if panel.pairs:
        return [(_place(labels, pair.source, pair.nth, result), pair.destination) for pair in panel.pairs]
    count = result.array("moved").shape[1]
    if count != 2:
        raise DataError(f"{result.run}: {count} classes: say with `pairs` which class an example is led to")
    return [
        (_place(labels, source, nth, result), 1 - source)
        for source in (0, 1)
        for nth in range(min(panel.per_class, int((labels == source).sum())))
    ]


def _place(labels: np.ndarray, source: int, nth: int, result: Result) -> int:
    there = np.flatnonzero(labels == source)
    if nth >= len(there):
        raise DataError(
            f"{result.run}: {len(there)} stored examples of class {source}, asked for number {nth}"
        )
    return int(there[nth])


def _panel(
    part: SubFigure, panel: Panel, result: Result, picks: Sequence[tuple[int, int]], wide: int, title: str
) -> None:
    labels = result.array("labels").astype(int)
    part.suptitle(title, fontsize=8)
    grid = part.subplots(len(panel.show), wide, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for line, name in zip(grid, panel.show, strict=True):
        images = [_image(result, name, place, to) for place, to in picks]
        limit = max((pictures.largest(image) for image in images), default=0.0)
        for axes, image in zip(line, images):
            axes.set_axis_on()
            if "residual" in name:
                pictures.signed(axes, image, limit)
            else:
                style.picture(axes, pictures.scaled(image, panel.low, panel.high))
        pictures.side_label(line[0], _LINES[name])
    for axes, (place, to) in zip(grid[0], picks):
        axes.set_title(f"{_name(panel, labels[place])} → {_name(panel, to)}", fontsize=7)


def _name(panel: Panel, number: int) -> str:
    return panel.classes[number] if number < len(panel.classes) else str(number)


def _image(result: Result, name: str, place: int, to: int) -> np.ndarray:
    x = result.array("x")[place]
    if name == "x":
        return x
    target = result.array("truth" if name.startswith("truth") else "moved")[place]
    if to >= len(target):
        raise DataError(f"{result.run}: class {to} of {len(target)}, counted from 0")
    return target[to] - x if name.endswith("residual") else target[to]
