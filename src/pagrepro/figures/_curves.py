"""Curves over seeds: a line of means in a band from the smallest to the largest, published values beside
them, and axes for strengths."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike

from pagrepro import palette
from pagrepro.errors import DataError
from pagrepro.figures import _style as style
from pagrepro.palette import Look
from pagrepro.results import Result
from pagrepro.sweeps import over_seeds

REVISION = 1

DASHES = ("-", "--", "-.", ":")
PUBLISHED = "published"
# Published curves so many times ours have an axis of their own.
APART = 3


def band(
    axes: Axes, x: np.ndarray, values: np.ndarray, look: Look, label: str, order: int = 0, marks: int = 0
) -> None:
    """Mean of values (K, S) over the K seeds at x (S,), from smallest to largest; `order` among the lines of
    the same objective sets the dash and fills the mark or not, `marks` is how many of those there are at
    most (0: at every place)."""
    mean, low, high = over_seeds(values)
    there = np.isfinite(mean)
    axes.fill_between(x[there], low[there], high[there], color=look.colour, alpha=0.18, lw=0)
    axes.plot(
        x[there], mean[there], color=look.colour, label=label, lw=1.2, **line(look, order),
        markevery=max(1, -(-there.sum() // marks)) if marks else None,
    )  # fmt: skip


def line(look: Look, order: int) -> dict[str, Any]:
    """Dash and mark of the n-th line of an objective: marks of every second one are open."""
    face = look.colour if order % 2 == 0 else "white"
    return {"ls": DASHES[order % 4], "marker": look.marker, "ms": 3.4, "mfc": face, "mew": 0.8}


def published(
    axes: Axes, x: ArrayLike, y: ArrayLike, colour: str, label: str = PUBLISHED, joined: bool = True,
    order: int = 1,
) -> None:  # fmt: skip
    """Published values in the colour of their objective: open diamonds, at most a dozen to a curve, joined by
    a pale line with the dash of the n-th line."""
    x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
    axes.plot(
        x, y, color=colour, ls=DASHES[order % 4] if joined else "none", lw=0.9, marker="D", ms=4, mfc="white",
        mew=0.9, alpha=0.75 if joined else 1, zorder=1 if joined else 3, label=label, clip_on=joined,
        markevery=max(1, -(-len(x) // 12)),
    )  # fmt: skip


def published_key(axes: Axes) -> None:
    """A line in the legend for published values of any colour."""
    axes.plot([], [], color=palette.DARK_GREY, ls="none", marker="D", ms=4, mfc="white", label=PUBLISHED)


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
        figure.supxlabel(
            "\n".join(line for text in words for line in textwrap.wrap(text, 84)), fontsize=style.SMALL
        )


def axis_apart(axes: Axes, told: Sequence[Sequence[float]], ours: Sequence[np.ndarray], label: str) -> Axes:
    """Where published curves `told` go beside our own: on these axes, or, where they are so much larger that
    ours would be flattened (other data), on an axis of their own on the right."""
    if not told or max(map(max, told)) < APART * max(np.nanmax(values) for values in ours):
        return axes
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.tick_params(colors=palette.GREY, labelsize=style.SMALL)
    right.set_ylabel(label, color=palette.GREY)
    return right
