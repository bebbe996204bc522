"""Alignment against robustness of networks trained with growing attack budgets.

Bigolin Lanfredi et al. (2020), Figure S7: stars are one alignment, asterisks another, one mark per network;
the more points a mark has (and the darker it is), the larger the training budget. The line joins the means
of the networks of one budget.
"""

import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figures import _curves as curves
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context

REVISION = 1


class Quantity(Strict):
    """A value of a measurement; label: how the figure calls it; published: its name among a panel's."""

    label: str
    evaluation: str
    value: str
    published: str = ""


class Panel(Strict):
    """scale: of the horizontal axis; published: name -> (mean, standard deviation) of one budget."""

    label: str
    group: str
    published: dict[str, tuple[Number, Number]] = {}
    scale: Literal["linear", "log"] = "linear"


class Config(Strict):
    """across: horizontal; series: vertical, the first as stars and the second as asterisks; budget: numeric
    label of the runs; columns: panels beside each other."""

    panels: tuple[Panel, ...] = Field(min_length=1)
    across: Quantity
    series: tuple[Quantity, ...] = Field(min_length=1, max_length=2)
    budget: str = "eps"
    columns: int = Field(3, ge=1)


# Kinds of matplotlib's (points, kind, angle) markers.
STAR, ASTERISK = 1, 2
MAPS = ("Blues", "Oranges")


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per series and run. Raises DataError when a run lacks the budget's label."""
    wide = min(config.columns, len(config.panels))
    high = -(-len(config.panels) // wide)
    figure = style.figure(2.5 * wide + 0.3, 2.2 * high + 0.5)
    grid = figure.subplots(high, wide, squeeze=False).ravel()
    rows: list[dict[str, Any]] = []
    for axes, panel in zip(grid, config.panels):
        title = pictures.titled(context, panel.label, [panel.group])
        axes.set_title("\n".join(textwrap.fill(part, 30) for part in title.split("\n")))
        names = [config.across.evaluation, *(s.evaluation for s in config.series)]
        reason = next(filter(None, (context.reason(panel.group, name) for name in names)), None)
        here = [] if reason else _points(config, context, panel)
        if not here:
            style.unavailable(axes, reason or "")
            continue
        rows += here
        _panel(axes, config, panel, pd.DataFrame(here))
    for axes in grid[len(config.panels) :]:
        axes.set_axis_off()
    figure.supxlabel(config.across.label, fontsize=8)
    figure.supylabel("alignment", fontsize=8)
    _legend(figure, config)
    return FigureResult(figure, pd.DataFrame(rows, columns=COLUMNS))


COLUMNS = ["panel", "series", "run", "seed", "status", "budget", "across", "alignment"]


def _points(config: Config, context: Context, panel: Panel) -> list[dict[str, Any]]:
    across = {r.run: r for r in context.results(panel.group, config.across.evaluation)}
    rows = []
    for series in config.series:
        for result in context.results(panel.group, series.evaluation):
            if result.run not in across:
                continue
            if config.budget not in result.labels:
                raise DataError(f"{result.run} has no label {config.budget!r}")
            other = across[result.run].value(config.across.value)
            at = float(result.labels[config.budget])
            values = (panel.label, series.label, result.run, result.seed, result.status, at, other,
                      result.value(series.value))  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def _panel(axes: Axes, config: Config, panel: Panel, points: pd.DataFrame) -> None:
    finite = points[np.isfinite(points["across"]) & np.isfinite(points["alignment"])]
    budgets = np.unique(points["budget"])
    for series, kind, cmap in zip(config.series, (STAR, ASTERISK), MAPS):
        mine = finite[finite["series"] == series.label]
        means = mine.groupby("budget")[["across", "alignment"]].mean()
        axes.plot(
            means["across"], means["alignment"], color=matplotlib.colormaps[cmap](0.6), lw=0.9, zorder=1
        )
        for order, budget in enumerate(budgets):
            shown = mine[mine["budget"] == budget]
            _marks(axes, shown["across"], shown["alignment"], kind, order, len(budgets), cmap)
        across, along = (panel.published.get(q.published) for q in (config.across, series))
        if across and along:
            curves.published(axes, across[0], along[0], matplotlib.colormaps[cmap](0.9), "", joined=False)
    lost = points["run"].nunique() - finite["run"].nunique()
    if lost:
        place = {"transform": axes.transAxes, "ha": "right", "fontsize": style.SMALL}
        axes.text(0.98, 0.02, f"{lost} without a finite value", **place)
    axes.set_xscale(panel.scale)
    if panel.scale == "linear":
        axes.locator_params(axis="x", nbins=4)
    axes.set_ylim(bottom=min(0.0, *finite["alignment"]) if len(finite) else 0.0)
    axes.margins(x=0.1, y=0.1)


def _marks(
    axes: Axes, x: Sequence[float], y: Sequence[float], kind: int, order: int, count: int, cmap: str
) -> None:
    """Marks of one budget: three points for the smallest, one more for each larger one."""
    colour = matplotlib.colormaps[cmap](0.45 + 0.5 * order / max(count - 1, 1))
    wide = 0.4 if kind == STAR else 0.9
    axes.scatter(x, y, marker=(3 + order, kind, 0), s=30, color=colour, linewidths=wide, zorder=2)


def _legend(figure: Figure, config: Config) -> None:
    axes = figure.axes[0]
    handles = [
        axes.scatter(
            [], [], marker=(5, kind, 0), s=36, color=matplotlib.colormaps[cmap](0.7), label=series.label
        )
        for series, kind, cmap in zip(config.series, (STAR, ASTERISK), MAPS)
    ]
    if any(panel.published for panel in config.panels):
        curves.published_key(axes)
        handles += [line for line in axes.get_lines() if line.get_label() == curves.PUBLISHED]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=3, title_fontsize=7,
        title=f"more points: larger training {config.budget}",
    )  # fmt: skip
