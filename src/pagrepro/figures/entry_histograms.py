"""Magnitudes of gradient entries over a logarithmic axis, all together and per channel, zeros apart.

Rodriguez-Munoz et al. (2024), Figure 7: |g| of all entries and of the channels R, G, B. Drawn from the counts
that `gradient_statistics` keeps. A logarithmic axis has no place for zeros: they are bars at its left.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figure_options import Line
from pagrepro.figures import _curves as curves
from pagrepro.figures import _lines as lines
from pagrepro.figures import _style as style
from pagrepro.options import Strict
from pagrepro.palette import Look
from pagrepro.results import Context, Result

REVISION = 1


class Config(Strict):
    """evaluation: of the kind gradient_statistics; channels: their names (else R, G, B for three, numbers
    for others; a single one is the same as all); seed: only the run that has it, else the first (none: all
    runs pooled); columns: panels side by side."""

    lines: tuple[Line, ...] = Field(min_length=1)
    evaluation: str
    xlabel: str = "magnitude of an entry of the gradient"
    channels: tuple[str, ...] = ()
    seed: int | None = None
    columns: int = Field(2, ge=1)


COLUMNS = ["panel", "line", "low", "high", "count", "share"]
WIDTH = 3.1


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per panel, line and bin. Zeros are the row from 0 to 0, what is below the first bin the
    one from 0, what is above the last the one to infinity. Raises DataError when lines have other bins or
    channels."""
    counts, drawn, reasons, edges = {}, {}, {}, None
    for line in config.lines:
        results, reasons[line.label] = lines.results_of(context, line, config.evaluation, config.seed)
        for result in results:
            edges, found = _counts(result, edges)
            if found.shape != counts.get(line.label, found).shape:
                raise DataError(f"{result.run}: {len(found) - 1} channels, unlike other runs of its group")
            counts[line.label] = counts.get(line.label, 0) + found
            drawn[line.label] = (line.group, lines.count(results))
    names = _names(config, counts)
    figure, grid = lines.panels(len(names), config.columns, WIDTH, 1.8)
    if not counts:
        style.unavailable(grid[0], next(filter(None, reasons.values()), ""), wide=40)
        return FigureResult(figure, pd.DataFrame(columns=COLUMNS))
    looks, decades = lines.looks(context, config.lines), _range(counts, edges)
    frames = [
        _panel(axes, config, (place, name), counts, edges, decades, looks)
        for place, (axes, name) in enumerate(zip(grid, names, strict=True))
    ]
    lines.legend(figure)
    words = "" if config.seed is not None else "runs of a line are pooled"
    lines.foot(figure, context, drawn, reasons, words)
    return FigureResult(figure, pd.concat(frames, ignore_index=True))


def _counts(result: Result, edges: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(bin edges (b + 1,), counts (1 + channels, 1 + b + 2): zeros first)."""
    mine = result.array("histogram_edges")
    if edges is not None and not (mine.shape == edges.shape and np.allclose(mine, edges)):
        raise DataError(f"{result.run}: other bins than the runs before it")
    return mine, np.column_stack([result.array("histogram_zero"), result.array("histogram")])


def _names(config: Config, counts: dict[str, np.ndarray]) -> list[str]:
    """Names of the panels. Raises DataError when there are not as many channels."""
    rows = {len(found) for found in counts.values()} or {1}
    if len(rows) > 1:
        raise DataError(f"lines with different numbers of channels: {sorted(n - 1 for n in rows)}")
    channels = rows.pop() - 1
    if channels <= 1:
        return ["all entries"]
    names = config.channels or (("R", "G", "B") if channels == 3 else tuple(map(str, range(channels))))
    if len(names) != channels:
        raise DataError(f"{len(names)} names for {channels} channels")
    return ["all entries", *(f"channel {name}" for name in names)]


def _range(counts: dict[str, np.ndarray], edges: np.ndarray) -> tuple[float, float]:
    """Ends in log10 of the bins that hold anything."""
    held = np.flatnonzero(sum(found[:, 2:-1].sum(0) for found in counts.values()))
    first, last = (held[0], held[-1]) if len(held) else (0, len(edges) - 2)
    return np.log10(edges[first]), np.log10(edges[last + 1])


def _panel(
    axes: Axes, config: Config, which: tuple[int, str], counts: dict[str, np.ndarray], edges: np.ndarray,
    decades: tuple[float, float], looks: dict[str, tuple[Look, int]],
) -> pd.DataFrame:  # fmt: skip
    place, name = which
    said, frames, top = [], [], 0.0
    low, high = np.array([0, 0, *edges]), np.array([0, *edges, np.inf])
    zero = decades[0] - 0.12 * (decades[1] - decades[0])
    thick = 0.05 * (decades[1] - decades[0]) / len(counts)
    for n, (label, found) in enumerate(counts.items()):
        count = found[place]
        share = count / max(count.sum(), 1)
        look, order = looks[label]
        axes.stairs(share[2:-1], np.log10(edges), fill=True, color=look.colour, alpha=0.15)
        axes.stairs(
            share[2:-1], np.log10(edges), color=look.colour, ls=curves.DASHES[order % 4], lw=1.1, label=label
        )
        axes.bar(zero + (n - (len(counts) - 1) / 2) * thick, share[0], thick, color=look.colour)
        said.append(f"{label}: {_words(share, edges)}")
        top = max(top, share[2:-1].max())
        columns = {"low": low, "high": high, "count": count, "share": share}
        frames.append(pd.DataFrame({"panel": name, "line": label, **columns}))
    ticks = np.arange(np.ceil(decades[0]), np.floor(decades[1]) + 1)
    ticks = ticks[:: max(1, -(-len(ticks) // 5))]
    axes.set_xticks([zero, *ticks], ["0", *(f"$10^{{{tick:.0f}}}$" for tick in ticks)])
    # Where most entries are zero, their bars would flatten everything else; the title says how many.
    axes.set(ylim=(0, 1.15 * top or 1), xlim=(zero - 4 * thick, decades[1] + thick))
    axes.set(xlabel=config.xlabel, ylabel="share per bin")
    lines.told(axes, name, said)
    return pd.concat(frames)[COLUMNS]


def _words(share: np.ndarray, edges: np.ndarray) -> str:
    words = [f"{100 * share[0]:.3g} % zero"]
    words += [f"{100 * share[1]:.2g} % below {edges[0]:.0e}"] * bool(share[1])
    words += [f"{100 * share[-1]:.2g} % above {edges[-1]:.0e}"] * bool(share[-1])
    return ", ".join(words)
