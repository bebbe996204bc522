"""Regimes of a sweep as shaded stripes behind its curves, each named once."""

import numpy as np
from matplotlib.axes import Axes

from pagrepro import regimes
from pagrepro.figures import _curves as curves
from pagrepro.figures import _style as style

REVISION = 1

SHADES = {regimes.WEAK: "#f2f2f2", regimes.ALIGNED: "#fff3c4", regimes.EXCESSIVE: "#e3e3e3"}


def shade(axes: Axes, found: regimes.Regimes | None, x: np.ndarray, logarithmic: bool) -> None:
    """Stripes of the regimes of the strengths at x (S,); none where they were not found."""
    for name, left, right in _stripes(found, x, logarithmic):
        axes.axvspan(left, right, color=SHADES[name], lw=0, zorder=0)


def name(axes: Axes, found: regimes.Regimes | None, x: np.ndarray, logarithmic: bool) -> None:
    """The name of each regime once, above its longest stripe."""
    axes.get_xlim()  # sets limits that are still to be found
    longest: dict[str, tuple[float, float]] = {}
    for regime, left, right in _stripes(found, x, logarithmic):
        a, b = axes.transData.transform([(left, 0), (right, 0)])[:, 0]
        if b - a > longest.get(regime, (0, 0))[0]:
            longest[regime] = (b - a, axes.transAxes.inverted().transform(((a + b) / 2, 0))[0])
    place = {"transform": axes.transAxes, "ha": "center", "va": "bottom"}
    for regime, (_, middle) in longest.items():
        # The narrow one above the others.
        height = 1.11 if regime == regimes.ALIGNED else 1.01
        axes.text(middle, height, regime, fontsize=style.SMALL, **place)


def _stripes(
    found: regimes.Regimes | None, x: np.ndarray, logarithmic: bool
) -> list[tuple[str, float, float]]:
    """(regime, left end, right end) on the axis."""
    if found is None:
        return []
    ends = curves.edges(x, logarithmic)
    return [(name, ends[first], ends[last + 1]) for name, first, last in found.pieces()]
