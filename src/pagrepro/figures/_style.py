"""One look for all figures: sizes, and colours that colour-blind readers can tell apart."""

import textwrap

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pagrepro import colours
from pagrepro.colours import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from pagrepro.results import Group

REVISION = 1

CLASS_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, YELLOW, GREY, "#5b3a1e")
CLASS_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "*")

SETTINGS = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 100,
    "pdf.fonttype": 42, "image.interpolation": "nearest", "legend.frameon": False,
}  # fmt: skip


def figure(width: float, height: float) -> Figure:
    """A figure of this size in inches, laid out so that nothing overlaps."""
    plt.rcParams.update(SETTINGS)
    return Figure(figsize=(width, height), layout="constrained")


def colour(group: Group, label: str) -> str:
    """Colour of a group's objective (its label `method`, else `label`); stable for names not in the list."""
    method = group.runs[0].labels.get("method", label) if group.runs else label
    return colours.of_objective(str(method))


def unavailable(axes: Axes, reason: str, wide: int = 36) -> None:
    """A grey box that says why there is nothing to see; `wide`: characters per line."""
    axes.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.add_patch(Rectangle((0, 0), 1, 1, color="#dddddd", zorder=0))
    lines = "\n".join(textwrap.wrap(f"not testable: {reason}" if reason else "not finished yet", wide))
    text = axes.text(0.5, 0.5, lines, ha="center", va="center", fontsize=7)
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
        fontsize=6,
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
