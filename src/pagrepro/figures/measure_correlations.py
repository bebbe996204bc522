"""How all measures of the cross-paper matrix go together: rank correlations over objectives, pair by pair.

In none of the papers. Oriented (`cross_paper.py`): positive when both measures improve together. Below the
diagonal plain, above it with the ranks of one measure (clean accuracy) taken out.
"""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from pydantic import Field, model_validator

from pagrepro import cross_paper
from pagrepro.artifact import FigureResult
from pagrepro.cross_paper import Correlations, Estimate, Matrix
from pagrepro.figures import _matrix as cells
from pagrepro.figures import _style as style
from pagrepro.matrix_options import Measure, Objective, check_matrix
from pagrepro.options import Strict
from pagrepro.results import Context

REVISION = 1

COLOURS = "PuOr"


class Config(Strict):
    """rows, columns: of the matrix; given: label of the measure that is taken out above the diagonal."""

    rows: tuple[Objective, ...] = Field(min_length=1)
    columns: tuple[Measure, ...] = Field(min_length=2)
    given: str
    seed: int = 0
    draws: int = Field(1000, ge=100)

    @model_validator(mode="after")
    def _labels(self):
        check_matrix(self.rows, self.columns, self.given)
        return self


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per pair: x, y, rho and its interval over objectives (low, high), n objectives, and the
    same given the third measure."""
    matrix = cross_paper.read(context, config.rows, config.columns)
    correlations = Correlations(matrix, config.seed, config.draws)
    count, given = len(matrix.columns), matrix.place(config.given)
    wide = min(0.42 * count + 2.4, style.LANDSCAPE)
    figure = style.figure(wide, 0.3 * count + 2.0, landscape=True)
    axes = figure.subplots()
    shown, rows = np.full((count, count), np.nan), []
    for y in range(count):
        for x in range(y):
            plain = correlations.plain(x, y)
            other = None if given in (x, y) else correlations.given(x, y, given)
            _write(axes, shown, y, x, plain)
            _write(axes, shown, x, y, other)
            rows.append(_row(matrix, x, y, plain, other))
    image = axes.imshow(np.ma.masked_invalid(shown), cmap=COLOURS, vmin=-1, vmax=1, aspect="auto")
    _axes(axes, matrix)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01)
    bar.set_label("Spearman's correlation over objectives")
    text = (
        f"Below the diagonal plain, above it given {config.given}. Bold: the 95 % interval over objectives"
        " leaves out 0, not adjusted for the number of pairs."
    )
    figure.supxlabel("\n".join(textwrap.wrap(text, int(16 * wide))), fontsize=style.SMALL)
    return FigureResult(figure, pd.DataFrame(rows))


def _write(axes: Axes, shown: np.ndarray, row: int, column: int, estimate: Estimate | None) -> None:
    if estimate is None or np.isnan(estimate.rho):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color="#dddddd", lw=0))
        return
    shown[row, column] = estimate.rho
    axes.text(
        column, row, f"{estimate.rho:.1f}".replace("-0.0", "0.0"), ha="center", va="center",
        fontsize=style.SMALL,
        weight="bold" if estimate.sure else "normal", color="white" if abs(estimate.rho) > 0.75 else "black",
    )  # fmt: skip


def _row(matrix: Matrix, x: int, y: int, plain: Estimate, given: Estimate | None) -> dict[str, object]:
    found = {"x": matrix.columns[x].label, "y": matrix.columns[y].label, "n": plain.n}
    for name, estimate in (("rho", plain), ("given", given)):
        low, high = estimate.objectives if estimate else cross_paper.NOTHING
        found |= {name: estimate.rho if estimate else np.nan, f"{name}_low": low, f"{name}_high": high}
    return found


def _axes(axes: Axes, matrix: Matrix) -> None:
    names = [column.label for column in matrix.columns]
    cells.label(axes, names, names)
    kinds = [column.kind for column in matrix.columns]
    cells.separate(axes, kinds, kinds)
