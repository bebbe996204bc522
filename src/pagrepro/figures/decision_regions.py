"""Decision regions of two toy classifiers, and what becomes of their accuracy under attack.

Ganz et al. (2022), Figure 3 and section 4.1. The paper prints the two maps and one accuracy each; the third
panel adds the accuracies of all seeds, because single ones are draws from wide distributions.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.figures import _style as style
from pagrepro.options import Strict
from pagrepro.results import Context, Result

REVISION = 1


class Panel(Strict):
    """published: accuracy under attack in the paper (percent), if it gives one."""

    label: str
    group: str
    published: float | None = None


class Config(Strict):
    """map, attacked: names of the evaluations; value: of the attacked one; seed: whose map is drawn (the
    first there is if it has none); axes: names of the two coordinates."""

    panels: tuple[Panel, ...]
    map: str = "decision_map"
    attacked: str = "pgd_l2"
    value: str = "accuracy"
    seed: int = 0
    axes: tuple[str, str] = ("$x_1$", "$x_2$")


def draw(config: Config, context: Context) -> FigureResult:
    """Maps of one seed, then accuracies under attack of every seed beside the published ones."""
    figure = style.figure(2.5 * len(config.panels) + 2.4, 2.9)
    cells = figure.subplots(1, len(config.panels) + 1)
    rows = []
    for axes, panel, letter in zip(cells, config.panels, "abcdefgh", strict=False):
        axes.set_title(f"({letter}) {panel.label}")
        reason = context.reason(panel.group, config.map)
        shown = None if reason else _one_seed(context.results(panel.group, config.map), config.seed)
        if shown is None:
            style.unavailable(axes, reason or "")
            continue
        rows.append(_row(panel, "clean", shown, 100 * shown.value("accuracy")))
        _map(axes, shown, config, 100 * shown.value("accuracy"))
    rows += _attacked(cells[-1], config, context)
    return FigureResult(figure, pd.DataFrame(rows))


def _one_seed(results: list[Result], seed: int) -> Result | None:
    wanted = [r for r in results if r.seed == seed] or results
    return wanted[0] if wanted else None


def _row(panel: Panel, quantity: str, result: Result, accuracy: float) -> dict[str, object]:
    return {
        "panel": panel.label, "quantity": quantity, "run": result.run, "seed": result.seed,
        "status": result.status, "measured": accuracy,
        "published": panel.published if quantity == "attacked" else np.nan,
    }  # fmt: skip


def _map(axes: Axes, result: Result, config: Config, clean: float) -> None:
    grid, points = result.array("grid"), result.array("points")
    labels, predictions = result.array("labels"), result.array("predictions")
    extent = (*result.array("x_bounds"), *result.array("y_bounds"))
    count = int(max(grid.max(), labels.max())) + 1
    # Undefined cells (-1: logits not finite) are black.
    colours = [palette.BLACK, *style.CLASS_COLOURS[:count]]
    axes.imshow(
        grid, origin="lower", extent=extent, aspect="auto", cmap=ListedColormap(colours), alpha=0.3,
        vmin=-1.5, vmax=count - 0.5,
    )  # fmt: skip
    for label in range(count):
        mine = points[labels == label]
        style_of = {"color": style.CLASS_COLOURS[label], "marker": style.CLASS_MARKERS[label]}
        axes.scatter(*mine.T, s=7, linewidths=0.3, edgecolors="white", label=f"class {label}", **style_of)
    wrong = points[labels != predictions]
    if len(wrong):
        axes.scatter(*wrong.T, s=20, facecolors="none", edgecolors="black", linewidths=0.6, label="wrong")
    axes.set(xlabel=config.axes[0], ylabel=config.axes[1], xlim=extent[:2], ylim=extent[2:])
    diverged = ", diverged" if result.diverged else ""
    axes.set_title(f"{axes.get_title()}\nseed {result.seed}{diverged}, clean {clean:.1f} %")
    axes.legend(loc="upper left", handletextpad=0.1)


def _attacked(axes: Axes, config: Config, context: Context) -> list[dict[str, object]]:
    """Accuracy under attack: one point per seed, a bar at the mean, a diamond for the published value."""
    rows = []
    published = {
        "marker": "D",
        "s": 26,
        "facecolors": "none",
        "edgecolors": "black",
        "clip_on": False,
        "zorder": 3,
    }
    for place, panel in enumerate(config.panels):
        reason = context.reason(panel.group, config.attacked)
        results = [] if reason else context.results(panel.group, config.attacked)
        here = [_row(panel, "attacked", r, 100 * r.value(config.value)) for r in results]
        rows += here
        heights = np.array([row["measured"] for row in here], float)
        look = style.look(context.group(panel.group))
        # Seeds side by side, so that equal accuracies stay countable.
        spread = np.linspace(-0.17, 0.17, len(here)) if len(here) > 1 else np.zeros(len(here))
        axes.scatter(
            place + spread, heights, s=18, color=look.colour, marker=look.marker, zorder=3, clip_on=False
        )
        if np.isfinite(heights).any():
            axes.hlines(np.nanmean(heights), place - 0.27, place + 0.27, color=look.colour, lw=2)
        if reason:
            style.unavailable_column(axes, place, reason)
        if panel.published is not None:
            axes.scatter(place + 0.36, panel.published, **published)
    axes.scatter([], [], s=16, color=palette.GREY, label="one seed")
    axes.plot([], [], color=palette.GREY, lw=2, label="mean")
    axes.scatter([], [], label="published", **published)
    axes.set(xlim=(-0.6, len(config.panels) - 0.4), ylim=(0, 100), ylabel="accuracy under attack (%)")
    axes.set_xticks(range(len(config.panels)), [p.label for p in config.panels])
    axes.set_title(f"({'abcdefgh'[len(config.panels)]}) all seeds")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, columnspacing=1, handletextpad=0.2)
    return rows
