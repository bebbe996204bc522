"""What a target direction is: the way from an image to a representative of another class.

Ganz et al. (2022), Figure 2: g(x, t) = r_t - x. Drawn with simple shapes, no data and no results.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Ellipse, FancyArrowPatch, FancyBboxPatch, Polygon

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.figures import _style as style
from pagrepro.options import Strict
from pagrepro.results import Context

REVISION = 1

NUMBERS = False


class Config(Strict):
    """source, targets: words under the image and under the representatives."""

    source: str = "x, a cat"
    targets: tuple[str, str, str] = ("$r_1$, a dog", "$r_2$, a bird", "$r_3$, a ship")


def draw(config: Config, context: Context) -> FigureResult:
    """One image, three representatives, and the direction to each."""
    figure = style.figure(5.2, 3.7)
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(-0.7, 6.4), aspect="equal")
    axes.axis("off")
    start = (1.5, 3.2)
    places = ((8.4, 5.5), (8.4, 3.3), (8.4, 1.1))
    colours = (palette.BLUE, palette.GREEN, palette.VERMILION)
    _card(axes, start, config.source, "black")
    _cat(axes, start)
    for number, (place, colour, words, shape) in enumerate(
        zip(places, colours, config.targets, (_dog, _bird, _ship), strict=True), 1
    ):
        _card(axes, place, words, colour)
        shape(axes, place, colour)
        tail = (start[0] + 0.95, start[1] + 0.25 * (2 - number))
        tip = (place[0] - 0.95, place[1])
        axes.add_patch(FancyArrowPatch(tail, tip, arrowstyle="-|>", mutation_scale=12, color=colour, lw=1.6))
        middle = np.add(tail, tip) / 2
        slope = np.degrees(np.arctan2(tip[1] - tail[1], tip[0] - tail[0]))
        axes.text(
            *middle, f"$g(x, {number}) = r_{number} - x$", color=colour, rotation=slope, fontsize=8,
            rotation_mode="anchor", ha="center", va="bottom",
        )  # fmt: skip
    axes.text(
        5, -0.65, r"trained for: $\nabla_x f(x)_t$ points along $g(x, t)$, for every class $t$",
        ha="center", va="bottom", fontsize=9,
    )  # fmt: skip
    return FigureResult(figure)


def _card(axes: Axes, centre: tuple[float, float], words: str, colour: str) -> None:
    x, y = centre
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.75, y - 0.7), 1.5, 1.4, boxstyle="round,pad=0.05", fc="white", ec=colour, lw=1.4
        )
    )
    axes.text(x, y - 0.83, words, ha="center", va="top", fontsize=8, color=colour)


def _head(axes: Axes, centre: tuple[float, float], colour: str) -> None:
    x, y = centre
    axes.add_patch(Circle((x, y - 0.08), 0.42, color=colour, alpha=0.85))
    for side in (-1, 1):
        axes.add_patch(Circle((x + 0.16 * side, y + 0.03), 0.05, color="white"))


def _cat(axes: Axes, centre: tuple[float, float]) -> None:
    x, y = centre
    for side in (-1, 1):
        ear = [(x + 0.40 * side, y + 0.05), (x + 0.36 * side, y + 0.6), (x + 0.06 * side, y + 0.32)]
        axes.add_patch(Polygon(ear, color="black", alpha=0.85))
        for slope in (-0.06, 0.06):
            axes.plot([x + 0.12 * side, x + 0.6 * side], [y - 0.16, y - 0.16 + slope], color="grey", lw=0.7)
    _head(axes, centre, "black")


def _dog(axes: Axes, centre: tuple[float, float], colour: str) -> None:
    x, y = centre
    _head(axes, centre, colour)
    for side in (-1, 1):
        axes.add_patch(Ellipse((x + 0.46 * side, y - 0.08), 0.22, 0.62, angle=12 * side, color=colour))
    axes.add_patch(Ellipse((x, y - 0.2), 0.24, 0.16, color="white"))


def _bird(axes: Axes, centre: tuple[float, float], colour: str) -> None:
    x, y = centre
    axes.add_patch(Ellipse((x - 0.08, y - 0.12), 0.85, 0.48, angle=15, color=colour, alpha=0.85))
    axes.add_patch(Circle((x + 0.33, y + 0.26), 0.2, color=colour))
    axes.add_patch(
        Polygon([(x + 0.5, y + 0.33), (x + 0.72, y + 0.24), (x + 0.5, y + 0.19)], color=palette.ORANGE)
    )
    axes.add_patch(Polygon([(x - 0.42, y - 0.12), (x - 0.72, y - 0.42), (x - 0.32, y - 0.33)], color=colour))
    axes.add_patch(Circle((x + 0.37, y + 0.3), 0.04, color="white"))


def _ship(axes: Axes, centre: tuple[float, float], colour: str) -> None:
    x, y = centre
    hull = [(x - 0.62, y - 0.2), (x + 0.62, y - 0.2), (x + 0.4, y - 0.52), (x - 0.4, y - 0.52)]
    axes.add_patch(Polygon(hull, color=colour))
    axes.plot([x, x], [y - 0.2, y + 0.58], color=colour, lw=1.6)
    axes.add_patch(
        Polygon([(x + 0.06, y + 0.55), (x + 0.06, y - 0.1), (x + 0.5, y - 0.1)], color=colour, alpha=0.6)
    )
    axes.add_patch(
        Polygon([(x - 0.06, y + 0.4), (x - 0.06, y - 0.1), (x - 0.4, y - 0.1)], color=colour, alpha=0.6)
    )
