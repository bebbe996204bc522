"""Why alignment is robustness: two neighbours on the Spheres, a straight boundary, and its normal.

Bigolin Lanfredi et al. (2020), Figure 1 and Theorem 1: rho(x_i) + rho(x_j) = ||x_j - x_i|| * alpha, where
alpha is the cosine of the angle between Delta x = x_j - x_i and the normal omega of the boundary. A
drawing, no results.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Arc, FancyArrowPatch
from pydantic import Field

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context

REVISION = 1

NUMBERS = False


BROWN = "#7b4a12"


class Config(Strict):
    """angle: between Delta x and the normal (degrees); radii: of the two spheres, inner and outer."""

    angle: Number = Field(32, gt=0, lt=80)
    radii: tuple[Number, Number] = (1.0, 1.3)


def draw(config: Config, context: Context) -> FigureResult:
    """Arcs, boundary, normal, both distances to the boundary, and the angle."""
    figure = style.figure(5.6, 4.0)
    axes = figure.subplots()
    inner, outer = config.radii
    gap = outer - inner
    axes.set(xlim=(-1.45 * gap, 1.45 * gap), ylim=(inner - 0.45 * gap, outer + 0.45 * gap), aspect="equal")
    axes.axis("off")
    # Names where the boundary is not: it falls from left to right.
    _sphere(axes, inner, 1.25 * gap, BROWN, f"class −1, radius {inner:g}", -0.85 * gap)
    _sphere(axes, outer, 1.25 * gap, palette.PURPLE, f"class 1, radius {outer:g}", 0.8 * gap)
    # The inner example is at the top of its sphere, the outer one straight above it.
    low, high = np.array([0.0, inner]), np.array([0.0, outer])
    turn = np.radians(config.angle)
    normal = np.array([np.sin(turn), np.cos(turn)])
    middle = low + 0.45 * (high - low)
    _boundary(axes, middle, normal, gap)
    _feet(axes, low, high, middle, normal)
    _angle(axes, low, config.angle, gap)
    axes.text(
        0, inner - 0.42 * gap, r"$\rho(x_i) + \rho(x_j) = \|\Delta x\|_2\,\cos\angle(\Delta x, \omega)$",
        ha="center", va="bottom", fontsize=10,
    )  # fmt: skip
    return FigureResult(figure)


def _sphere(axes: Axes, radius: float, reach: float, colour: str, words: str, at: float) -> None:
    """An arc as wide as `reach` on both sides, its name above it at the horizontal place `at`."""
    turns = np.linspace(-np.arcsin(reach / radius), np.arcsin(reach / radius), 200)
    axes.plot(radius * np.sin(turns), radius * np.cos(turns), color=colour, lw=2.2, zorder=1)
    height = np.sqrt(radius**2 - at**2) + 0.012
    slope = -np.degrees(np.arcsin(at / radius))
    axes.text(
        at, height, words, color=colour, rotation=slope, rotation_mode="anchor", ha="center", va="bottom"
    )


def _boundary(axes: Axes, middle: np.ndarray, normal: np.ndarray, gap: float) -> None:
    along = np.array([normal[1], -normal[0]])
    ends = np.stack([middle - 1.2 * gap * along, middle + 1.0 * gap * along])
    axes.plot(*ends.T, color=palette.GREEN, lw=2, zorder=1)
    axes.text(*(ends[1] + 0.05 * gap), "decision\nboundary", color=palette.GREEN, ha="left", va="bottom")
    start = middle + 0.6 * gap * along
    _arrow(axes, start, start + 0.42 * gap * normal, palette.GREEN, 1.8)
    axes.text(*(start + 0.47 * gap * normal), r"$\omega$", color=palette.GREEN, fontsize=11, ha="center")


def _feet(axes: Axes, low: np.ndarray, high: np.ndarray, middle: np.ndarray, normal: np.ndarray) -> None:
    """Both examples, the vector between them, and their distances to the boundary."""
    _arrow(axes, low, high, "black", 1.8)
    axes.text(0.012, (low + 0.72 * (high - low))[1], r"$\Delta x$", fontsize=11, ha="left", va="center")
    for point, name, colour, side, word in (
        (low, "i", BROWN, 1, r"$\rho(x_i)$"),
        (high, "j", palette.PURPLE, -1, r"$\rho(x_j)$"),
    ):
        foot = point + normal * ((middle - point) @ normal)
        axes.plot(*np.stack([point, foot]).T, color=colour, ls="--", lw=1.4, zorder=2)
        along = np.array([normal[1], -normal[0]])
        axes.text(*(0.5 * (point + foot) + side * 0.028 * along), word, color=colour, fontsize=9,
                  ha="left" if side > 0 else "right", va="center")  # fmt: skip
        axes.plot(*point, "o", color=colour, ms=6, zorder=4)
        down = -1 if name == "i" else 1
        axes.text(point[0], point[1] + 0.035 * down, f"$x_{name}$", color=colour, fontsize=11,
                  ha="center", va="top" if down < 0 else "bottom")  # fmt: skip


def _angle(axes: Axes, low: np.ndarray, degrees: float, gap: float) -> None:
    size = 0.5 * gap
    axes.add_patch(Arc(tuple(low), size, size, theta1=90 - degrees, theta2=90, color="black", lw=1))


def _arrow(axes: Axes, tail: np.ndarray, tip: np.ndarray, colour: str, width: float) -> None:
    arrow = FancyArrowPatch(
        tuple(tail), tuple(tip), arrowstyle="-|>", mutation_scale=13, color=colour, lw=width,
        shrinkA=0, shrinkB=0, zorder=3,
    )  # fmt: skip
    axes.add_patch(arrow)
