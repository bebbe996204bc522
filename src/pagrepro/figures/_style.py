"""One look for all figures: sizes, and colours that colour-blind readers can tell apart."""

import hashlib
import textwrap

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pagrepro.results import Group

REVISION = 1

# Okabe and Ito (2008).
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
)  # fmt: skip
GREY = "#999999"

# The same objective has the same colour in every figure; others get a colour from their name.
COLOURS = {
    "vanilla": BLACK, "baseline": BLACK, "natural": BLACK,
    "one_image": ORANGE, "class_mean": SKY, "nearest_neighbour": GREEN, "nearest_neighbor": GREEN,
    "adversarial_training": BLUE, "gradient_norm": VERMILION, "smoothing": PURPLE,
    "randomized_smoothing": SKY, "alignment": GREEN, "alignment_penalty": GREEN, "penalty": GREEN,
    "pgd": BLUE, "pgd-3": BLUE, "edge": GREEN, "fgsm_with_a_random_start": PURPLE,
}  # fmt: skip
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
    palette = (ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE)
    digest = hashlib.sha256(str(method).encode()).digest()[0]
    return COLOURS.get(str(method).lower().replace(" ", "_"), palette[digest % len(palette)])


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
