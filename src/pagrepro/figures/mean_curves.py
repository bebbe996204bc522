"""Curves that every run of a group has over the same places, mean over seeds in a band, in panels.

Rodriguez-Munoz et al. (2024), Figures 2 (accuracy over the size of the perturbation), 11 (loss, gradient norm
and curvature along the direction of an attack, for all networks and for the robust ones) and 13 (loss and
accuracy over the steps of an attack). Where a run has a curve per example, their mean is drawn.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field, model_validator

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figure_options import Line, Published, check_panels
from pagrepro.figures import _curves as curves
from pagrepro.figures import _lines as lines
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.palette import Look
from pagrepro.results import Context, Result

REVISION = 1


class Panel(Strict):
    """x: array (points,) of the evaluation; y: array (points,) or (N, points); x_scale, y_scale: from the
    file's unit to that of the axis; mask: booleans (N,) or (N, points), examples whose mean y is (those that
    hold, for example), in the second case each point's own, or with mask_point all those of this point;
    lines: labels of those drawn, all if none is given; horizontal: height of a line with this label;
    published: by the label of a line, in the units of the axes."""

    label: str
    evaluation: str
    x: str
    y: str
    xlabel: str
    ylabel: str
    x_scale: Number = 1
    y_scale: Number = 1
    log_x: bool = False
    log_y: bool = False
    mask: str | None = None
    mask_point: int | None = None
    lines: tuple[str, ...] = ()
    horizontal: Number | None = None
    horizontal_label: str = ""
    published: dict[str, Published] = {}


class Config(Strict):
    """columns: panels side by side."""

    lines: tuple[Line, ...] = Field(min_length=1)
    panels: tuple[Panel, ...] = Field(min_length=1)
    columns: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _lines_there(self) -> "Config":
        check_panels(self.panels, self.lines)
        return self


COLUMNS = ["panel", "line", "run", "seed", "status", "x", "y"]


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per panel, line, run and point, in the units of the axes. Raises DataError when runs of
    a line have other places."""
    wide = 2.5 if len(config.panels) > 1 else 4.6
    figure, grid = lines.panels(len(config.panels), config.columns, wide, 2.0)
    looks = lines.looks(context, config.lines)
    frames, drawn, reasons = [], {}, {}
    for axes, panel in zip(grid, config.panels, strict=True):
        axes.set_title(panel.label)
        missing = {}
        for line in config.lines:
            if panel.lines and line.label not in panel.lines:
                continue
            results, reason = lines.results_of(context, line, panel.evaluation)
            if not results:
                missing[line.label] = reason
                continue
            frames.append(_curve(axes, panel, line.label, results, looks[line.label]))
            drawn[line.label] = (line.group, lines.count(results))
        reasons |= {(label, panel.label): reason for label, reason in missing.items()}
        if axes.get_lines():
            _axes(axes, panel)
            if drawn.keys() & panel.published.keys():
                curves.published_key(axes)
        else:
            style.unavailable(axes, next(filter(None, missing.values()), ""), wide=28)
    lines.legend(figure)
    parts = {
        line.label: sum(not panel.lines or line.label in panel.lines for panel in config.panels)
        for line in config.lines
    }
    lines.foot(
        figure, context, drawn, lines.merged(reasons, parts), "bands from the smallest to the largest run"
    )
    return FigureResult(figure, lines.frame(frames, COLUMNS))


def _curve(
    axes: Axes, panel: Panel, label: str, results: list[Result], look: tuple[Look, int]
) -> pd.DataFrame:
    places = [panel.x_scale * result.array(panel.x).astype(float) for result in results]
    heights = [panel.y_scale * _heights(panel, result) for result in results]
    x, y = curves.on_one_grid(results, places, heights, f"{panel.y!r} over another {panel.x!r}")
    shown = np.where(y > 0, y, np.nan) if panel.log_y else y
    curves.band(axes, x, shown, look[0], label, look[1], marks=12)
    if label in panel.published:
        told = panel.published[label]
        curves.published(axes, told.x, told.y, look[0].colour, "", joined=len(told.x) > 1)
    rows = [
        pd.DataFrame(
            {
                "panel": panel.label, "line": label, "run": r.run, "seed": r.seed, "status": r.status, "x": x,
                "y": y[k],
            }
        )
        for k, r in enumerate(results)
    ]  # fmt: skip
    return pd.concat(rows)[COLUMNS]


def _heights(panel: Panel, result: Result) -> np.ndarray:
    """(points,); of curves per example the mean over those that are finite everywhere and in the mask, NaN
    where there is none. Raises DataError when the mask has another shape."""
    y = result.array(panel.y).astype(float)
    if y.ndim != 2:
        return y
    chosen = np.broadcast_to(np.isfinite(y).all(1, keepdims=True), y.shape)
    if panel.mask is not None:
        chosen = chosen & _mask(panel, result, y.shape)
    with np.errstate(invalid="ignore"):
        return np.where(chosen, y, 0).sum(0) / chosen.sum(0)


def _mask(panel: Panel, result: Result, shape: tuple[int, int]) -> np.ndarray:
    """(N, points) or (N, 1)."""
    mask = result.array(panel.mask)
    expected = (shape,) if panel.mask_point is not None else (shape, shape[:1])
    if mask.shape not in expected or mask.dtype != bool:
        raise DataError(f"{result.run}: {panel.mask!r} is {mask.dtype} {mask.shape}, expected bool {shape}")
    if panel.mask_point is not None:
        if not -shape[1] <= panel.mask_point < shape[1]:
            raise DataError(f"{result.run}: point {panel.mask_point} of {shape[1]}, counted from 0")
        return mask[:, panel.mask_point, None]
    return mask if mask.ndim == 2 else mask[:, None]


def _axes(axes: Axes, panel: Panel) -> None:
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
    if panel.log_x:
        curves.logarithmic(axes, np.concatenate([line.get_xdata() for line in axes.get_lines()]))
    if panel.log_y:
        axes.set_yscale("log")
    if panel.horizontal is not None:
        axes.axhline(
            panel.horizontal, color=palette.GREY, lw=0.8, ls=":", zorder=0, label=panel.horizontal_label
        )
