"""One look for all figures: sizes that are read in print, and the colours of `pagrepro.palette`."""

import textwrap

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pagrepro.palette import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    Look,
    of_objective,
)  # fmt: skip
from pagrepro.results import Group

REVISION = 1

# Inches: the width of a text on A4 or letter paper, upright and turned, so that a printed figure keeps its
# size. Points: the smallest print.
PAGE, LANDSCAPE, SMALL = 7.0, 10.2, 7

# Of the classes of a data set, which a legend names.
CLASS_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, YELLOW, GREY, BROWN)
CLASS_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*")

SETTINGS = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100,
    "pdf.fonttype": 42, "image.interpolation": "nearest", "legend.frameon": False,
}  # fmt: skip


def figure(width: float, height: float, landscape: bool = False) -> Figure:
    """A figure of this size in inches, smaller where it is wider than a page; nothing overlaps in it."""
    plt.rcParams.update(SETTINGS)
    scale = min(1.0, (LANDSCAPE if landscape else PAGE) / width)
    return Figure(figsize=(scale * width, scale * height), layout="constrained")


def look(group: Group) -> Look:
    """Colour and mark of what a group was trained with: the same in every figure."""
    return of_objective(group.objective)


def unavailable(axes: Axes, reason: str, wide: int = 36) -> None:
    """A grey box that says why there is nothing to see; `wide`: characters per line."""
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.add_patch(Rectangle((0, 0), 1, 1, color="#dddddd", zorder=0))
    lines = "\n".join(textwrap.wrap(f"not testable: {reason}" if reason else "not finished yet", wide))
    text = axes.text(0.5, 0.5, lines, ha="center", va="center", fontsize=SMALL)
    text.set_in_layout(False)


def unavailable_column(axes: Axes, place: float, reason: str) -> None:
    """The same for one place on a categorical axis."""
    axes.axvspan(place - 0.45, place + 0.45, color="#dddddd", zorder=0)
    lines = "\n".join(textwrap.wrap(f"not testable: {reason}", 40))
    text = axes.text(
        place,
        0.5,
        lines,
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="center",
        rotation=90,
        fontsize=SMALL,
    )
    text.set_in_layout(False)


def picture(axes: Axes, image: np.ndarray) -> None:
    """One image (channels, h, w) uint8; a single channel in grey."""
    if image.shape[0] == 1:
        axes.imshow(image[0], cmap="gray", vmin=0, vmax=255)
    else:
        axes.imshow(np.moveaxis(image, 0, -1))
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
