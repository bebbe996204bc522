"""Values of a sweep over a numeric label of its runs, with other methods as horizontal lines.

Rodriguez-Munoz et al. (2024), Figure 5: clean and robust accuracy over the weight lambda of the gradient
norm, beside adversarial and natural training. A colour is an objective, a dash a quantity. Lines are means
over seeds, bands go from the smallest to the largest; published values are open diamonds.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from pagrepro import sweeps
from pagrepro.artifact import FigureResult
from pagrepro.figure_options import Line, Published
from pagrepro.figures import _curves as curves
from pagrepro.figures import _lines as lines
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.palette import Look
from pagrepro.results import Context

REVISION = 1


class Quantity(Strict):
    """A value of a measurement; scale: from the file's unit to that of the axis."""

    label: str
    evaluation: str
    value: str = "accuracy"
    scale: Number = 100
    published: Published | None = None


class Config(Strict):
    """group: the sweep; strength: numeric label of its runs; quantities: one curve each; references:
    horizontal lines, one for each quantity."""

    group: str
    label: str
    strength: str = "strength"
    quantities: tuple[Quantity, ...] = Field(min_length=1)
    references: tuple[Line, ...] = ()
    xlabel: str = "strength"
    ylabel: str = "accuracy (%)"


COLUMNS = ["line", "quantity", "run", "seed", "status", "strength", "value"]


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per quantity and run; references have no strength. Raises DataError when a run of the
    sweep lacks the label."""
    figure = style.figure(7.0, 3.1)
    axes = figure.subplots()
    frames, reasons = [], {}
    look = style.look(context.group(config.group))
    for order, quantity in enumerate(config.quantities):
        points = _sweep(axes, config, context, quantity, look, order)
        frames.append(points)
        if not len(points):
            why = context.reason(config.group, quantity.evaluation) or ""
            reasons[config.label, quantity.label] = why
        for line in config.references:
            results, reason = lines.results_of(context, line, quantity.evaluation)
            if not results:
                reasons[line.label, quantity.label] = reason
                continue
            there = style.look(context.group(line.group))
            frames.append(_reference(axes, quantity, line.label, results, there, order))
    if axes.get_lines():
        axes.set(xlabel=config.xlabel, ylabel=config.ylabel)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        style.unavailable(axes, next(filter(None, reasons.values()), ""), wide=60)
    frame = lines.frame(frames, COLUMNS)
    groups = {config.label: config.group} | {line.label: line.group for line in config.references}
    drawn = {label: (groups[label], _count(rows)) for label, rows in frame.groupby("line", sort=False)}
    missing = lines.merged(reasons, dict.fromkeys(groups, len(config.quantities)))
    lines.foot(figure, context, drawn, missing, "bands from the smallest to the largest run")
    return FigureResult(figure, frame)


def _count(rows: pd.DataFrame) -> str:
    """`33 runs, 3 diverged`, by what any quantity says."""
    runs, diverged = rows["run"].nunique(), rows.loc[rows["status"] == "diverged", "run"].nunique()
    return f"{runs} run{'s' * (runs != 1)}" + f", {diverged} diverged" * bool(diverged)


def _sweep(
    axes: Axes, config: Config, context: Context, quantity: Quantity, look: Look, order: int
) -> pd.DataFrame:
    measured = {"value": (quantity.evaluation, quantity.value)}
    points = sweeps.points(context, config.group, measured, config.strength)
    points["value"] *= quantity.scale
    if len(points):
        sweep = sweeps.from_points(points, ["value"])
        name = f"{config.label}, {quantity.label}"
        curves.band(axes, sweep.strengths, sweep.values["value"], look, name, order)
        if quantity.published is not None:
            x, y = (np.array(numbers, float) for numbers in (quantity.published.x, quantity.published.y))
            curves.published(axes, x, y, look.colour, f"{curves.PUBLISHED}, {quantity.label}", order=order)
    return points.assign(line=config.label, quantity=quantity.label)[COLUMNS]


def _reference(
    axes: Axes, quantity: Quantity, label: str, results: list, look: Look, order: int
) -> pd.DataFrame:
    values = np.array([quantity.scale * result.value(quantity.value) for result in results])
    finite = values[np.isfinite(values)]
    if len(finite):
        name = f"{label}, {quantity.label}"
        how = curves.line(look, order)
        axes.axhline(finite.mean(), color=look.colour, lw=1, zorder=0, label=name, clip_on=False, **how)
    rows = [
        (label, quantity.label, r.run, r.seed, r.status, np.nan, value) for r, value in zip(results, values)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
