"""Accuracy against the size of the perturbation: data sets in rows, attacks in columns, one line per method.

Bigolin Lanfredi et al. (2020), Figure S8 (section A.7). The paper draws one network of
each method at random; here it is that of one seed, the first unless told otherwise.
"""

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from pydantic import Field

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.figures import _curves as curves
from pagrepro.figures import _images as images
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context

REVISION = 1


class Row(Strict):
    """groups: method -> group; published: method -> name -> (mean, standard deviation), the names being those
    of the columns' `published`."""

    label: str
    groups: dict[str, str]
    published: dict[str, dict[str, tuple[Number, Number]]] = {}


class Column(Strict):
    """evaluation: with the arrays `grid` and `error`, which begin with no perturbation; published: name of
    the published perturbation at which half of the examples are fooled."""

    label: str
    evaluation: str
    published: str = ""


class Config(Strict):
    """methods: lines, in the order of the legend; scale: of the budgets (log: linear up to the first one, so
    that 0 is there); seed: whose networks."""

    rows: tuple[Row, ...] = Field(min_length=1)
    columns: tuple[Column, ...] = Field(min_length=1)
    methods: tuple[str, ...]
    scale: Literal["linear", "log"] = "log"
    seed: int | None = None


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per data set, attack, method and budget; accuracies are fractions."""
    figure = style.figure(2.1 * len(config.columns) + 1.1, 1.5 * len(config.rows) + 0.8)
    grid = figure.subplots(len(config.rows), len(config.columns), squeeze=False)
    rows: list[pd.DataFrame] = []
    for line, row in zip(grid, config.rows, strict=True):
        label = pictures.titled(context, row.label, list(row.groups.values()))
        reason = pictures.reason_of_all(context, row.groups.values(), [c.evaluation for c in config.columns])
        if reason:
            images.empty_row(line, label, reason, wide=35 * len(config.columns) - 15)
            continue
        for axes, column in zip(line, config.columns, strict=True):
            rows += _panel(axes, config, context, row, column)
        pictures.side_label(line[0], label)
    for axes, column in zip(grid[0], config.columns, strict=True):
        axes.set_title(column.label)
    figure.supxlabel("size of the perturbation", fontsize=8)
    figure.supylabel("accuracy", fontsize=8)
    _legend(figure, grid, config)
    columns = ["data", "attack", "method", "run", "seed", "eps", "accuracy"]
    return FigureResult(figure, pd.concat(rows)[columns] if rows else pd.DataFrame(columns=columns))


def _panel(axes: Axes, config: Config, context: Context, row: Row, column: Column) -> list[pd.DataFrame]:
    found, told, reasons = [], [], []
    for order, method in enumerate(config.methods):
        if method not in row.groups:
            continue
        group = row.groups[method]
        result, reason = pictures.one(context, group, column.evaluation, config.seed)
        if result is None:
            reasons.append(reason)
            continue
        look = style.look(context.group(group))
        eps, accuracy = result.array("grid").astype(float), 1 - result.array("error").astype(float)
        axes.plot(
            eps, accuracy, color=look.colour, lw=1, label=method,
            **curves.line(look, 0) | {"ls": curves.DASHES[order % 4], "ms": 2.8},
        )  # fmt: skip
        half = row.published.get(method, {}).get(column.published)
        if half is not None:
            told.append(half[0])
            curves.published(axes, half[0], 0.5, look.colour, "", joined=False)
        found.append(
            pd.DataFrame(
                {
                    "data": row.label, "attack": column.label, "method": method, "run": result.run,
                    "seed": result.seed, "eps": eps, "accuracy": accuracy,
                }
            )
        )  # fmt: skip
    if not found:
        style.unavailable(axes, next(filter(None, reasons), ""), wide=30)
        return []
    if told:
        curves.published_key(axes)
    _axes(axes, config, np.append(pd.concat(found)["eps"].to_numpy(), told))
    lost = sum(map(bool, reasons))
    if lost:
        place = {"transform": axes.transAxes, "ha": "right", "va": "top"}
        axes.text(0.98, 0.95, f"{lost} not testable", fontsize=style.SMALL, **place)
    return found


def _axes(axes: Axes, config: Config, eps: np.ndarray) -> None:
    if config.scale == "log" and (eps > 0).any():
        first = eps[eps > 0].min()
        axes.set_xscale("symlog", linthresh=first, linscale=0.4)
        # The decades beyond the first budget; matplotlib's own would be printed over the 0.
        powers = np.arange(np.floor(np.log10(first)) + 1, np.floor(np.log10(eps.max())) + 1)
        axes.set_xticks([0, *10.0**powers])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.axhline(0.5, color=palette.GREY, lw=0.6, zorder=0)
    room = 1.15 if config.scale == "log" else 1.02
    axes.set(ylim=(-0.03, 1.03), xlim=(0, eps.max() * room), yticks=[0, 0.5, 1])


def _legend(figure: Figure, grid: np.ndarray, config: Config) -> None:
    seen = {}
    for axes in grid.flat:
        seen |= {label: line for line, label in zip(*axes.get_legend_handles_labels())}
    if seen:
        order = [name for name in (*config.methods, curves.PUBLISHED) if name in seen]
        figure.legend([seen[m] for m in order], order, loc="outside upper center", ncols=len(order))
