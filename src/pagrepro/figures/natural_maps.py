"""Images, and below them gradients or perturbations of one network per row.

Rodriguez-Munoz et al. (2024), Figures 1 (loss gradients with their norms), 3 (perturbations, framed by
whether the network holds) and 14 (edges and class gradients). As in the official code a map m is shown as
0.5 + 0.5 m / q, clipped to [0, 1], q the 0.99 quantile of |m|; edges, which are never negative, as e / q.
"""

import textwrap
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figures import _images as images
from pagrepro.figures import _lines as lines
from pagrepro.figures import _maps as maps
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context, Result

REVISION = 1

NUMBERS = False


class Row(Strict):
    """where: labels that the run must have; map: what is shown, else as in all rows."""

    label: str
    group: str
    where: dict[str, Any] = {}
    map: Literal["loss_gradients", "class_gradients", "perturbations", "edges"] | None = None


class Config(Strict):
    """evaluation: of the kind natural_maps; images: places among the stored ones (none: all); seed: whose
    maps, else the first there is; norms: the L1 norm of the loss gradient below each map; outcome: frames
    by whether the network holds against the attack; low, high: range of the images."""

    rows: tuple[Row, ...] = Field(min_length=1)
    evaluation: str = "natural_maps"
    map: Literal["loss_gradients", "class_gradients", "perturbations", "edges"] = "loss_gradients"
    images: tuple[int, ...] = ()
    seed: int | None = None
    norms: bool = False
    outcome: bool = False
    low: Number = 0
    high: Number = 1


SIZE = 1.0
FRAMES = "frames: solid blue, the network holds against the attack; dashed orange, it does not"


def draw(config: Config, context: Context) -> FigureResult:
    """One line per row of the configuration; above the first, and above every one measured on other images,
    a line with the images. Raises DataError for images that are not stored."""
    plan = _plan(config, context)
    count = max((len(found) for _, found, _, _ in plan if found is not None), default=1)
    figure = style.figure(SIZE * max(count, 3) + 1.6, (SIZE + 0.2 * config.norms) * len(plan) + 0.5)
    grid = figure.subplots(len(plan), count, squeeze=False)
    for line, (label, found, result, reason) in zip(grid, plan, strict=True):
        for axes in line:
            axes.set_axis_off()
        if found is None:
            images.empty_row(line, label, reason, wide=max(24, 16 * count))
            continue
        for column, (axes, image) in enumerate(zip(line, found)):
            axes.set_axis_on()
            style.picture(axes, image)
            if result is not None:
                _about(axes, config, result, _places(config, result)[column])
        pictures.side_label(line[0], label)
    if config.outcome:
        figure.supxlabel(FRAMES, fontsize=style.SMALL)
    return FigureResult(figure)


def _plan(config: Config, context: Context) -> list[tuple[str, list | None, Result | None, str]]:
    """Lines of the figure: (label, pictures (C, H, W) uint8 or None, result or None for images and
    their edges, reason)."""
    plan, shown = [], None
    for row in config.rows:
        results, reason = lines.results_of(context, row, config.evaluation, config.seed)
        if not results:
            plan.append((textwrap.fill(row.label, 22), None, None, reason))
            continue
        result = results[0]
        mine = _stored(config, result, "images")
        if shown is None or not np.array_equal(mine, shown):
            shown = mine
            pale = [pictures.scaled(image, config.low, config.high) for image in mine]
            plan.append((f"image\n({result.dataset})", pale, None, ""))
        name = row.map or config.map
        label = textwrap.fill(row.label, 22)
        found = [_picture(image, name) for image in _stored(config, result, name)]
        if name == "edges":
            # Of the images alone: no network has a part in it.
            plan.append((label, found, None, ""))
        else:
            label += "\ndiverged" * result.diverged + f"\n({result.network})"
            plan.append((label, found, result, ""))
    return plan


def _places(config: Config, result: Result) -> list[int]:
    """Which stored images are shown."""
    stored = len(result.array("images"))
    wrong = [place for place in config.images if not 0 <= place < stored]
    if wrong:
        raise DataError(f"{result.run}: images {wrong}; there are {stored}, counted from 0")
    return list(config.images) or list(range(stored))


def _stored(config: Config, result: Result, name: str) -> np.ndarray:
    return result.array(name)[_places(config, result)]


def _picture(image: np.ndarray, name: str) -> np.ndarray:
    """A map as uint8 (1 or 3, H, W)."""
    if name == "edges":
        return pictures.scaled(maps.unit(image[None], "quantile"), 0, 1)
    return maps.bytes_of(maps.unit(image, "quantile"))


def _about(axes: Axes, config: Config, result: Result, place: int) -> None:
    """The norm below a map, and its frame."""
    if config.norms:
        axes.set_xlabel(lines.short(result.array("l1")[place]), labelpad=2, fontsize=style.SMALL)
    if config.outcome:
        holds = bool(result.array("attack_correct")[place])
        colour, dash = images.HELD[holds], "-" if holds else "--"
        for spine in axes.spines.values():
            spine.set(visible=True, color=colour, linewidth=1.6, linestyle=dash)
