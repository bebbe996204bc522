"""Gradient magnitude against edge energy, both logarithmic, over the pixels of one image: methods in columns.

Rodriguez-Munoz et al. (2024), Figure 8: a network that is not robust beside one that is, with the Pearson
correlation r of the logarithms. Drawn from the maps that `edge_correlation` keeps.
"""

import textwrap
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figure_options import Line
from pagrepro.figures import _lines as lines
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context, Result

REVISION = 1


class Config(Strict):
    """lines: columns; evaluation: of the kind edge_correlation, with its `examples`; maps: rows; image: place
    among the stored images; seed: whose gradients, else the first there is; energy_floor, gradient_floor:
    lower bounds before the logarithm, those of the evaluation for the same r; points: at most so many
    pixels are drawn, evenly spaced, whereas r is of all."""

    lines: tuple[Line, ...] = Field(min_length=1)
    evaluation: str
    maps: tuple[Literal["saliency", "loss_gradient"], ...] = Field(
        ("saliency", "loss_gradient"), min_length=1
    )
    image: int = Field(0, ge=0)
    seed: int | None = None
    energy_floor: Number = Field(1e-3, gt=0)
    gradient_floor: Number = Field(1e-30, gt=0)
    points: int = Field(5000, ge=1)


COLUMNS = [
    "line", "map", "run", "seed", "image", "pixel", "log10_energy", "log10_gradient", "energy_raised",
    "gradient_raised", "at_floor", "r",
]  # fmt: skip
SIZE = 2.3


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per line, map and pixel drawn. `..._raised`: whether a floor has raised it; at_floor:
    how many gradients of all pixels. r is NaN where one of both is constant. Raises DataError for an image
    that is not stored."""
    wide = min(SIZE * len(config.lines) + 0.6, style.PAGE)
    figure = style.figure(wide, (SIZE - 0.5) * len(config.maps) + 0.8)
    grid = figure.subplots(len(config.maps), len(config.lines), squeeze=False)
    frames, drawn = [], {}
    looks = lines.looks(context, config.lines)
    for place, (column, line) in enumerate(zip(grid.T, config.lines, strict=True)):
        results, reason = lines.results_of(context, line, config.evaluation, config.seed)
        if not results:
            column[0].set_title(textwrap.fill(line.label, 22))
            for axes in column:
                style.unavailable(axes, reason, wide=28)
            continue
        drawn[line.label] = (line.group, f"seed {results[0].seed}" + ", diverged" * results[0].diverged)
        for axes, name in zip(column, config.maps, strict=True):
            found = _points(config, results[0], name).assign(line=line.label)
            frames.append(found[COLUMNS])
            _panel(axes, found, looks[line.label][0].colour)
            title = textwrap.wrap(line.label, 22) if axes is column[0] else []
            axes.set_title("\n".join([*title, _words(found)]))
            axes.locator_params(nbins=5)
            if place == 0:
                axes.set_ylabel(f"log10 {name.replace('_', ' ')}")
        column[-1].set_xlabel("log10 edge energy")
    # What is missing is said in its own column.
    lines.foot(figure, context, drawn, {}, f"image {config.image}")
    return FigureResult(figure, lines.frame(frames, COLUMNS))


def _points(config: Config, result: Result, name: str) -> pd.DataFrame:
    energy, gradient = (_stored(result, array, config.image) for array in ("edges", f"{name}_maps"))
    x = np.log10(np.maximum(energy, config.energy_floor))
    y = np.log10(np.maximum(gradient, config.gradient_floor))
    raised = {"energy": energy < config.energy_floor, "gradient": gradient < config.gradient_floor}
    pixels = {
        "pixel": np.arange(len(x)), "log10_energy": x, "log10_gradient": y,
        "energy_raised": raised["energy"], "gradient_raised": raised["gradient"],
    }  # fmt: skip
    about = {"map": name, "run": result.run, "seed": result.seed, "image": config.image}
    about |= {"r": correlation(x, y), "at_floor": int(raised["gradient"].sum())}
    return pd.DataFrame(pixels)[:: -(-len(x) // config.points)].assign(**about)


def _stored(result: Result, array: str, image: int) -> np.ndarray:
    """The pixels of one stored map, as one line of float64."""
    stored = result.array(array)
    if image >= len(stored):
        raise DataError(f"{result.run}: image {image}; there are {len(stored)} images, counted from 0")
    return stored[image].astype(float).ravel()


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r of x and y (n,); NaN where one of both is constant or not finite."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _panel(axes: Axes, found: pd.DataFrame, colour: str) -> None:
    look = {"color": colour, "s": 3, "alpha": 0.35, "lw": 0, "rasterized": True}
    raised = found["gradient_raised"].to_numpy()
    x, y = found["log10_energy"].to_numpy(), found["log10_gradient"].to_numpy()
    axes.scatter(x[~raised], y[~raised], **look)
    if raised.any():
        # The floor is far below everything else; its pixels are triangles just below the others.
        others = y[~raised & np.isfinite(y)]
        low, high = (others.min(), others.max()) if len(others) else (y[raised][0], y[raised][0])
        axes.scatter(
            x[raised], np.full(raised.sum(), low - 0.08 * (high - low)), marker="v", **look | {"s": 9}
        )


def _words(found: pd.DataFrame) -> str:
    r = found["r"].iloc[0]
    words = f"r = {r:+.2f}" if np.isfinite(r) else "r is undefined"
    raised = found["at_floor"].iloc[0]
    return f"{words} ({raised:,} at the floor)" if raised else words
