"""Targeted images over the weight of the alignment term, with the accuracies of each weight.

Ganz et al. (2022), Figure 5: one row of images per weight, and clean and robust accuracies beside them.
"""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.figures import _images as images
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context, Result

REVISION = 1


class Row(Strict):
    """where: labels of the runs of this row, such as {lambda: 0.4}; published: quantity label -> number."""

    label: str
    group: str
    where: dict[str, Any] = {}
    published: dict[str, float] = {}


class Quantity(Strict):
    """scale: from the file's unit to the paper's (fractions to percent)."""

    label: str
    evaluation: str
    value: str = "accuracy"
    scale: Number = 100
    digits: int = 1


class Config(Strict):
    """evaluation: of the kind targeted_images; image: its place in that evaluation's split; seed: whose
    images; quantities: measured over all seeds of the row, beside the published numbers."""

    rows: tuple[Row, ...] = Field(min_length=1)
    quantities: tuple[Quantity, ...] = ()
    evaluation: str = "targeted_images"
    image: int = 0
    seed: int = 0
    classes: tuple[str, ...] = ()


def draw(config: Config, context: Context) -> FigureResult:
    """One line of images per row; text with measured and published numbers at its right."""
    count = images.columns_in(context, [row.group for row in config.rows], config.evaluation) + 1
    figure = style.figure(0.72 * count + 3.4, 0.76 * len(config.rows) + 0.7)
    grid = figure.subplots(
        len(config.rows), count + 1, squeeze=False, gridspec_kw={"width_ratios": [1] * count + [3.2]}
    )
    numbers, titled = [], False
    for place, (axes, row) in enumerate(zip(grid, config.rows, strict=True)):
        reason = context.reason(row.group, config.evaluation)
        result = None if reason else images.one(_of(context, row, config.evaluation), config.seed)
        if result is None:
            images.empty_row(axes[:-1], row.label, reason)
        else:
            images.row(axes[:-1], result, config.image, config.classes, title=not titled)
            titled = True
            axes[0].set_ylabel(row.label, rotation=0, ha="right", va="center")
        here = [_number(context, row, quantity) for quantity in config.quantities]
        numbers += here
        axes[-1].set_axis_off()
        digits = [quantity.digits for quantity in config.quantities]
        text = "\n".join(_text(n, d) for n, d in zip(here, digits, strict=True))
        axes[-1].text(0, 0.5, text, va="center", fontsize=style.SMALL, transform=axes[-1].transAxes)
        if place == 0:
            axes[-1].set_title("measured\n(published)", loc="left")
    figure.supxlabel(images.LEGEND, fontsize=style.SMALL)
    return FigureResult(figure, pd.DataFrame(numbers))


def _of(context: Context, row: Row, evaluation: str) -> list[Result]:
    found = context.results(row.group, evaluation)
    return [r for r in found if all(r.labels.get(key) == value for key, value in row.where.items())]


def _number(context: Context, row: Row, quantity: Quantity) -> dict[str, Any]:
    reason = context.reason(row.group, quantity.evaluation)
    results = [] if reason else _of(context, row, quantity.evaluation)
    values = np.array([r.value(quantity.value) * quantity.scale for r in results])
    values = values[np.isfinite(values)]
    diverged = sum(r.diverged for r in results)
    return {
        "row": row.label, "quantity": quantity.label, "published": row.published.get(quantity.label, np.nan),
        "measured": values.mean() if len(values) else np.nan,
        "measured_sd": values.std(ddof=1) if len(values) > 1 else np.nan, "n_seeds": len(values),
        "note": f"not testable: {reason}" if reason else (f"{diverged} diverged" if diverged else ""),
    }  # fmt: skip


def _text(number: dict[str, Any], digits: int) -> str:
    spread = f" ± {number['measured_sd']:.{digits}f}" if np.isfinite(number["measured_sd"]) else ""
    published = "" if np.isnan(number["published"]) else f" ({number['published']:g})"
    if np.isnan(number["measured"]):
        return f"{number['quantity']}: –{published}"
    return f"{number['quantity']}: {number['measured']:.{digits}f}{spread}{published}"
