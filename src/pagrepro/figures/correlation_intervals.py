"""What each measure says of robustness, with its intervals: one panel per measure of robustness.

In none of the papers. For each measure of alignment or smoothness, from above: Spearman's correlation over
objectives with robustness, the same with clean accuracy taken out, and the same without the objectives that
work on either of both. Thin lines are 95 % intervals by bootstrap over objectives, thick ones over the runs
of the same objectives.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from pydantic import Field, model_validator

from pagrepro import cross_paper, palette
from pagrepro.artifact import FigureResult
from pagrepro.cross_paper import Correlations, Link
from pagrepro.figures import _style as style
from pagrepro.matrix_options import Measure, Objective, check_matrix
from pagrepro.options import Strict
from pagrepro.results import Context

REVISION = 1

# Estimate -> (colour, marker, how far below the middle of its line).
LOOKS = {
    "plain": (palette.BLUE, "o", -0.24),
    "given": (palette.ORANGE, "s", 0.0),
    "untrained": (palette.GREEN, "D", 0.24),
}


class Config(Strict):
    """rows, columns: of the matrix; targets: labels of measures of robustness, one panel each; given: label
    of the measure whose ranks are taken out."""

    rows: tuple[Objective, ...] = Field(min_length=1)
    columns: tuple[Measure, ...] = Field(min_length=1)
    targets: tuple[str, ...] = Field(min_length=1)
    given: str
    seed: int = 0
    draws: int = Field(1000, ge=100)

    @model_validator(mode="after")
    def _labels(self):
        check_matrix(self.rows, self.columns, *self.targets, self.given)
        return self


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per predictor, target and estimate (plain, given, untrained): rho, n objectives, low
    and high over objectives, runs_low and runs_high over runs; adjusted p (Holm) of the plain one."""
    matrix = cross_paper.read(context, config.rows, config.columns)
    found = cross_paper.links(Correlations(matrix, config.seed, config.draws), config.targets, config.given)
    predictors = list(dict.fromkeys(link.predictor for link, _ in found))
    figure = style.figure(1.75 * len(config.targets) + 1.9, 0.33 * len(predictors) + 1.1)
    panels = figure.subplots(1, len(config.targets), sharey=True, squeeze=False)[0]
    rows = []
    for axes, target in zip(panels, config.targets, strict=True):
        for place, (link, adjusted) in enumerate(x for x in found if x[0].target == target):
            _line(axes, place, link)
            rows += _rows(link, adjusted)
        _panel(axes, target, predictors)
    names = {
        "plain": "plain",
        "given": f"given {config.given}",
        "untrained": "without objectives that work on either",
    }
    handles = [
        Line2D([], [], color=c, marker=m, ms=4, lw=0.8, label=names[n]) for n, (c, m, _) in LOOKS.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    figure.supxlabel("Spearman's correlation over objectives (positive: both improve together)", fontsize=8)
    return FigureResult(figure, pd.DataFrame(rows))


def _line(axes: Axes, place: int, link: Link) -> None:
    if np.isnan(link.plain.rho):
        axes.text(0, place, " no value", va="center", fontsize=style.SMALL, color=palette.GREY)
    for name, (colour, marker, below) in LOOKS.items():
        estimate = getattr(link, name)
        if np.isnan(estimate.rho):
            continue
        y = place + below
        axes.plot(estimate.objectives, [y, y], color=colour, lw=0.8)
        axes.plot(estimate.runs, [y, y], color=colour, lw=2.4, alpha=0.5, solid_capstyle="butt")
        axes.plot([estimate.rho], [y], marker, color=colour, ms=3)


def _panel(axes: Axes, target: str, predictors: list[str]) -> None:
    axes.axvline(0, color=palette.BLACK, lw=0.6)
    for place in range(1, len(predictors)):
        axes.axhline(place - 0.5, color="#dddddd", lw=0.5)
    axes.set(
        xlim=(-1.04, 1.04), ylim=(len(predictors) - 0.5, -0.5), title=target, xticks=[-1, -0.5, 0, 0.5, 1]
    )
    axes.set_yticks(range(len(predictors)), predictors)
    axes.tick_params(axis="y", length=0)


def _rows(link: Link, adjusted: float) -> list[dict[str, object]]:
    rows = []
    for name in LOOKS:
        estimate = getattr(link, name)
        ends = dict(zip(("low", "high"), estimate.objectives, strict=True))
        ends |= dict(zip(("runs_low", "runs_high"), estimate.runs, strict=True))
        about = {"predictor": link.predictor, "target": link.target, "estimate": name, "rho": estimate.rho}
        rows.append({**about, "n": estimate.n, **ends, "p_holm": adjusted if name == "plain" else np.nan})
    return rows
