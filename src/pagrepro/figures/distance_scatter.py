"""Distance that an attack finds against the distance that linearisation predicts, one mark per example.

Bigolin Lanfredi et al. (2020), Figure 7: Carlini-Wagner L2 (vertical) against Lemma 1 (horizontal), with
the identity. Marks on the line below are examples for which the attack failed, at their predicted distance.
The paper draws one network of each method at random; here it is that of one seed, the first unless told
otherwise.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from pagrepro import palette, statistics
from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figures import _images as images
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _style as style
from pagrepro.options import Strict
from pagrepro.results import Context, Result

REVISION = 1


class Measured(Strict):
    """A measurement and its per-example array."""

    evaluation: str
    array: str = "distance"


class Row(Strict):
    """groups: method -> group."""

    label: str
    groups: dict[str, str]


class Config(Strict):
    """methods: columns from left to right; found, predicted: vertical and horizontal; seed: whose network."""

    rows: tuple[Row, ...] = Field(min_length=1)
    methods: tuple[str, ...]
    found: Measured = Measured(evaluation="cw")
    predicted: Measured = Measured(evaluation="closest")
    seed: int | None = None


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per example, with n, failures, median of abs(predicted / found - 1) and Spearman's
    correlation of its panel. Raises DataError when the two measurements saw different numbers of examples."""
    figure = style.figure(1.9 * len(config.methods) + 1.2, 1.95 * len(config.rows) + 0.5)
    grid = figure.subplots(len(config.rows), len(config.methods), squeeze=False)
    rows: list[pd.DataFrame] = []
    for line, row in zip(grid, config.rows, strict=True):
        label = pictures.titled(context, row.label, list(row.groups.values()))
        measured = [config.found.evaluation, config.predicted.evaluation]
        reason = pictures.reason_of_all(context, row.groups.values(), measured)
        if reason:
            images.empty_row(line, label, reason, wide=80)
            continue
        for axes, method in zip(line, config.methods, strict=True):
            rows += _panel(axes, config, context, row, method)
        pictures.side_label(line[0], label)
    for axes, method in zip(grid[0], config.methods, strict=True):
        axes.set_title("\n".join(filter(None, (method, axes.get_title()))), fontsize=style.SMALL)
    figure.supxlabel("distance predicted by Lemma 1", fontsize=8)
    figure.supylabel("distance found by the attack", fontsize=8)
    columns = ["data", "method", "run", "seed", "example", "predicted", "found", "n", "failures",
               "median_error", "spearman"]  # fmt: skip
    return FigureResult(figure, pd.concat(rows) if rows else pd.DataFrame(columns=columns))


def _panel(axes: Axes, config: Config, context: Context, row: Row, method: str) -> list[pd.DataFrame]:
    if method not in row.groups:
        axes.set_axis_off()
        return []
    group = row.groups[method]
    reason = context.reason(group, config.predicted.evaluation)
    attacked, why = pictures.one(context, group, config.found.evaluation, config.seed)
    predicted = None
    if attacked is not None and not reason:
        predicted = pictures.of_run(context, attacked, config.predicted.evaluation)
    if attacked is None or predicted is None:
        style.unavailable(axes, why or reason or "", wide=26)
        return []
    x, y = _distances(config, predicted, attacked)
    summary = _summary(x, y)
    _scatter(axes, x, y, style.look(context.group(group)).colour)
    words = f"error {summary['median_error']:.2f}"
    words += f", {summary['failures']} failed (ticks)" if summary["failures"] else ""
    words += f"\nSpearman {summary['spearman']:.2f}"
    axes.set_title(words, fontsize=style.SMALL)
    about = {"data": row.label, "method": method, "run": attacked.run, "seed": attacked.seed}
    points = {"example": np.arange(len(x)), "predicted": x, "found": y}
    return [pd.DataFrame({**about, **points, **summary})]


def _distances(config: Config, predicted: Result, attacked: Result) -> tuple[np.ndarray, np.ndarray]:
    x = predicted.array(config.predicted.array).astype(float)
    y = attacked.array(config.found.array).astype(float)
    if x.shape != y.shape or x.ndim != 1:
        raise DataError(
            f"{attacked.run}: {x.shape} predicted and {y.shape} found distances; the same examples?"
        )
    return x, y


def _summary(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Of the examples that can be compared: the network is right about them and the attack succeeded."""
    errors = statistics.relative_error(x, y)
    there = ~np.isnan(errors)
    enough = there.sum() > 1
    return {
        "n": int(there.sum()),
        "failures": int((~np.isfinite(y)).sum()),
        "median_error": float(np.median(errors[there])) if there.any() else np.nan,
        "spearman": float(statistics.correlation(x[there], y[there], rank=True)) if enough else np.nan,
    }


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    finite = np.isfinite(x)
    failed = finite & ~np.isfinite(y)
    kept = finite & np.isfinite(y)
    # The largest estimates come from vanishing gradients; a few of them would hide all others.
    top = 1.1 * max(
        [np.quantile(values, 0.98) for values in (x[kept], y[kept]) if len(values)] + [np.finfo(float).tiny]
    )
    bottom = min(0.0, float(np.quantile(x[kept], 0.02)) if kept.any() else 0.0)
    axes.plot([bottom, top], [bottom, top], color=palette.GREY, lw=0.8, ls="--", zorder=1)
    axes.scatter(np.minimum(x[kept], top), np.minimum(y[kept], top), s=4, lw=0, color=colour, alpha=0.5)
    below = np.full(int(failed.sum()), -0.06 * top)
    inside = np.clip(x[failed], bottom, top)
    axes.scatter(inside, below, s=12, marker="|", lw=0.7, color=palette.DARK_GREY, clip_on=False)
    axes.set(xlim=(bottom, top), ylim=(-0.09 * top, top))
    axes.locator_params(nbins=4)
