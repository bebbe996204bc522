"""Rows of images: an original and what a targeted attack makes of it for every class."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pagrepro import palette
from pagrepro.errors import DataError
from pagrepro.figures import _style as style
from pagrepro.results import Context, Result

REVISION = 1

# Frames by whether an attack did what it was for.
HELD = {True: palette.BLUE, False: palette.VERMILION}


def one(results: Sequence[Result], seed: int) -> Result | None:
    """The run with this seed; the first there is if none has it; None if there is none."""
    return next(iter([r for r in results if r.seed == seed] or results), None)


def images_of(result: Result, image: int) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """(original (channels, h, w), images (C, channels, h, w), label, success (C,)) of one test image."""
    originals = result.array("originals")
    if not 0 <= image < len(originals):
        raise DataError(f"{result.run}: image {image}; there are {len(originals)} images, counted from 0")
    label = int(result.array("labels")[image])
    return originals[image], result.array("images")[image], label, result.array("success")[image].astype(bool)


def columns_in(context: Context, groups: Sequence[str], evaluation: str) -> int:
    """Number of classes, from the first result there is; 1 where there is none."""
    for group in groups:
        results = context.results(group, evaluation)
        if results:
            return results[0].array("images").shape[1]
    return 1


def row(axes: Sequence[Axes], result: Result, image: int, classes: Sequence[str], title: bool) -> None:
    """Original, then one image per target class; frames as in LEGEND."""
    original, images, label, success = images_of(result, image)
    style.picture(axes[0], original)
    names = list(classes) or [str(k) for k in range(len(images))]
    if title:
        axes[0].set_title("original")
    for target, (place, made) in enumerate(zip(axes[1:], images, strict=False)):
        style.picture(place, made)
        if title:
            place.set_title(names[target])
        colour = palette.DARK_GREY if target == label else HELD[bool(success[target])]
        for spine in place.spines.values():
            spine.set(visible=True, color=colour, linewidth=1.6, linestyle="-" if success[target] else "--")


def empty_row(axes: Sequence[Axes], label: str, reason: str | None, wide: int = 110) -> None:
    """A grey box over these axes, labelled as the row would be; without a reason the runs are unfinished."""
    for place in axes:
        place.set_axis_off()
    grid, spec = axes[0].get_gridspec(), axes[0].get_subplotspec()
    box = axes[0].figure.add_subplot(grid[spec.rowspan.start, spec.colspan.start : len(axes)])
    style.unavailable(box, reason or "", wide)
    box.set_ylabel(label, rotation=0, ha="right", va="center")


LEGEND = (
    "frames: solid blue, the model calls it the target; dashed orange, it does not;"
    " grey, the image's own class"
)
