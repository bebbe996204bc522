"""Axes of a picture with one cell per row and column."""

from collections.abc import Sequence

from matplotlib.axes import Axes

REVISION = 1


def label(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Names above the columns and beside the rows, and nothing around the cells."""
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def separate(axes: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    """White lines where the kind of the columns, or of the rows, changes."""
    for at in boundaries(columns):
        axes.axvline(at - 0.5, color="white", lw=2.5)
    for at in boundaries(rows):
        axes.axhline(at - 0.5, color="white", lw=2.5)


def boundaries(kinds: Sequence[str]) -> list[int]:
    """Places at which a list goes from one kind to the next."""
    return [k for k in range(1, len(kinds)) if kinds[k] != kinds[k - 1]]
