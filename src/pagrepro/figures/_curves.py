"""Curves over seeds: a line of means in a band from the smallest to the largest, and axes for strengths."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from pagrepro.errors import DataError
from pagrepro.figures import _style as style
from pagrepro.results import Result
from pagrepro.sweeps import over_seeds

REVISION = 1

DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")
# Published curves so many times ours have an axis of their own.
APART = 3


def band(
    axes: Axes, x: np.ndarray, values: np.ndarray, colour: str, label: str, order: int = 0, marks: int = 0
) -> None:
    """Mean of values (K, S) over the K seeds at x (S,), from smallest to largest; `order` sets dash and
    mark, `marks` how many of those there are at most (0: at every place)."""
    mean, low, high = over_seeds(values)
    there = np.isfinite(mean)
    axes.fill_between(x[there], low[there], high[there], color=colour, alpha=0.2, lw=0)
    axes.plot(
        x[there], mean[there], color=colour, ls=DASHES[order % 4], marker=MARKERS[order % 4], ms=2.4, lw=1.2,
        label=label, markevery=max(1, -(-there.sum() // marks)) if marks else None,
    )  # fmt: skip


def pale(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str, label: str) -> None:
    """A published curve behind ours."""
    axes.plot(x, y, color=colour, ls=(0, (4, 2)), lw=0.9, alpha=0.55, zorder=1, label=label)


def logarithmic(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic x axis; linear up to the smallest positive of the values where one of them is 0."""
    if (values > 0).all():
        axes.set_xscale("log")
        return
    if not (values > 0).any():
        return
    smallest = values[values > 0].min()
    axes.set_xscale("symlog", linthresh=smallest, linscale=0.4)
    powers = np.arange(np.floor(np.log10(smallest)) + 1, np.floor(np.log10(values.max())) + 1)
    axes.set_xticks([0, *10.0 ** powers[:: max(1, len(powers) // 4)]])
    axes.xaxis.set_minor_locator(NullLocator())


def edges(x: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Ends (S + 1,) of the stripes around places x (S,): half-way between neighbours, on a log axis too."""
    if len(x) == 1:
        return np.array([x[0] / 2, x[0] * 2]) if logarithmic and x[0] > 0 else x[0] + np.array([-0.5, 0.5])
    if logarithmic and (x > 0).all():
        return np.exp(edges(np.log(x), False))
    middle = (x[1:] + x[:-1]) / 2
    return np.array([x[0] - (middle[0] - x[0]), *middle, x[-1] + (x[-1] - middle[-1])])


def arrays(results: Sequence[Result], places: str, values: str) -> tuple[np.ndarray, np.ndarray]:
    """(places (S,), values (K, S)) of an array over a grid, such as noise levels, that all runs share.

    Raises DataError when they do not.
    """
    rows = [r.array(values).astype(float) for r in results]
    return on_one_grid(
        results, [r.array(places).astype(float) for r in results], rows, f"{values!r} over another {places!r}"
    )


def on_one_grid(
    results: Sequence[Result], places: Sequence[np.ndarray], values: Sequence[np.ndarray], what: str
) -> tuple[np.ndarray, np.ndarray]:
    """(places (S,), values (K, S)) of K runs with their own of both. Raises DataError, which says `what` is
    wrong, unless places are the same for all runs."""
    grid = places[0]
    for result, mine, heights in zip(results, places, values, strict=True):
        if mine.shape != grid.shape or not np.allclose(mine, grid) or heights.shape != grid.shape:
            raise DataError(f"{result.run}: {what} than {results[0].run}")
    return grid, np.stack(list(values))


def absence(reasons: dict[str, str]) -> list[str]:
    """What to say of each label that is missing: label -> reason ("": unfinished)."""
    return [
        f"{label}: {f'not testable: {why}' if why else 'not finished yet'}" for label, why in reasons.items()
    ]


def absent(figure: Figure, reasons: dict[str, str]) -> None:
    """Below the figure, what is missing beside the lines that are there: label -> reason ("": unfinished)."""
    words = absence(reasons)
    if words:
        figure.supxlabel("\n".join(line for text in words for line in textwrap.wrap(text, 90)), fontsize=6.5)


def axis_apart(axes: Axes, told: Sequence[Sequence[float]], ours: Sequence[np.ndarray], label: str) -> Axes:
    """Where published curves `told` go beside our own: on these axes, or, where they are so much larger that
    ours would be flattened (other data), on an axis of their own on the right."""
    if not told or max(map(max, told)) < APART * max(np.nanmax(values) for values in ours):
        return axes
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.tick_params(colors=style.GREY, labelsize=6)
    right.set_ylabel(label, color=style.GREY)
    return right
