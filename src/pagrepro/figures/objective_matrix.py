"""The cross-paper matrix as a picture: objectives in rows, measures in columns, means in the cells.

In none of the papers. The colour is the rank of a cell within its column, the best objective being the
darkest, in the direction that the papers connect with robustness: columns have different units, and some
are skewed over orders of magnitude.
"""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from pydantic import Field, model_validator

from pagrepro import cross_paper
from pagrepro.artifact import FigureResult
from pagrepro.cross_paper import Matrix
from pagrepro.figures import _matrix as cells
from pagrepro.figures import _style as style
from pagrepro.matrix_options import Measure, Objective, check_matrix
from pagrepro.options import Strict
from pagrepro.rank_correlation import ranks
from pagrepro.results import Context

REVISION = 1

COLOURS = "YlGnBu"


class Config(Strict):
    """rows: objectives; columns: measures, those of one kind beside each other."""

    rows: tuple[Objective, ...] = Field(min_length=1)
    columns: tuple[Measure, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _labels(self):
        check_matrix(self.rows, self.columns)
        return self


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per cell: objective, measure, mean, sd and n of its runs, rank (1 is the best), of how
    many, optimised."""
    matrix = cross_paper.read(context, config.rows, config.columns)
    places = column_ranks(matrix)
    height, width = len(config.rows), len(config.columns)
    figure = style.figure(min(0.62 * width + 2.6, style.LANDSCAPE), 0.27 * height + 1.9, landscape=True)
    axes = figure.subplots()
    shown = np.ma.masked_invalid(shares(places))
    image = axes.imshow(shown, cmap=COLOURS, norm=Normalize(0, 1), aspect="auto")
    for o in range(height):
        for m in range(width):
            _cell(axes, matrix, shown, o, m)
    _axes(axes, matrix)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, ticks=[0, 1])
    bar.ax.set_yticklabels(["last", "best"])
    bar.set_label("rank in the column", labelpad=-8)
    figure.supxlabel(
        "† the objective works on this measure itself   ↑ ↓ better, as the papers see it   – no value",
        fontsize=style.SMALL,
    )
    return FigureResult(figure, _frame(matrix, places))


def column_ranks(matrix: Matrix) -> np.ndarray:
    """(O, M) from 1, the best of its column; NaN where there is no value."""
    signs = np.array([column.sign for column in matrix.columns])
    return ranks(-(matrix.means * signs).T).T


def shares(places: np.ndarray) -> np.ndarray:
    """Ranks as shares of their column: 1 the best, 0 the last; 1/2 where all are the same."""
    count = (~np.isnan(places)).sum(0)
    return np.where(count > 1, (count - places) / np.maximum(count - 1, 1), 0.5 + 0 * places)


def _cell(axes: Axes, matrix: Matrix, shown: np.ma.MaskedArray, o: int, m: int) -> None:
    value = matrix.means[o, m]
    if np.isnan(value):
        axes.add_patch(Rectangle((m - 0.5, o - 0.5), 1, 1, color="#dddddd", lw=0))
        axes.text(m, o, "–", ha="center", va="center", fontsize=style.SMALL)
        return
    text = number(value, matrix.columns[m].digits) + ("†" if matrix.optimised[o, m] else "")
    axes.text(
        m,
        o,
        text,
        ha="center",
        va="center",
        fontsize=style.SMALL,
        color="white" if shown[o, m] > 0.6 else "black",
    )


def number(value: float, digits: int) -> str:
    """With so many digits after the point, and no sign before a zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _axes(axes: Axes, matrix: Matrix) -> None:
    # An arrow stays on the line of its word.
    titles = [f"{c.title[:-2]}\N{NO-BREAK SPACE}{c.title[-1]}" for c in matrix.columns]
    names = ["\n".join(textwrap.wrap(title, 16)) for title in titles]
    cells.label(axes, names, [row.label for row in matrix.rows])
    cells.separate(axes, [c.kind for c in matrix.columns], [r.family for r in matrix.rows])


def _frame(matrix: Matrix, places: np.ndarray) -> pd.DataFrame:
    rows = []
    for o, row in enumerate(matrix.rows):
        for m, column in enumerate(matrix.columns):
            runs = matrix.values[o, :, m]
            runs = runs[~np.isnan(runs)]
            rows.append(
                {
                    "objective": row.label, "measure": column.label, "mean": matrix.means[o, m],
                    "sd": runs.std(ddof=1) if len(runs) > 1 else np.nan, "n": len(runs), "rank": places[o, m],
                    "of": int((~np.isnan(places[:, m])).sum()), "optimised": bool(matrix.optimised[o, m]),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
