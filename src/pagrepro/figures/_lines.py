"""Figures with one line per group: the runs behind a line, its colour, and what is said of the data."""

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pagrepro.errors import DataError
from pagrepro.figure_options import Line
from pagrepro.figures import _curves as curves
from pagrepro.figures import _style as style
from pagrepro.palette import Look
from pagrepro.results import Context, Member, Result

REVISION = 1

# Characters per inch of the small print.
PER_INCH = 17.5
# In a legend.
INCHES_PER_CHARACTER = 0.062
# What the labels of an axis take of a panel's width.
LABELS = 0.55


def has_labels(run: Result | Member, line: Line) -> bool:
    """Whether a run of the line's group is one of the line's."""
    return all(run.labels.get(key) == value for key, value in line.where.items())


def results_of(
    context: Context, line: Line, evaluation: str, seed: int | None = None
) -> tuple[list[Result], str]:
    """(results of the line's runs, why there are none; "" where there are or while they are unfinished).

    With a seed only the run that has it, else the first. Raises DataError when no run has the line's labels.
    """
    reason = context.reason(line.group, evaluation)
    if reason:
        return [], reason
    found = context.results(line.group, evaluation)
    kept = [result for result in found if has_labels(result, line)]
    if found and not kept and not context.incomplete:
        raise DataError(f"{context.content['name']}: no run of {line.group} has the labels {line.where}")
    if seed is not None:
        kept = ([result for result in kept if result.seed == seed] or kept)[:1]
    return kept, ""


def looks(context: Context, lines: Sequence[Line]) -> dict[str, tuple[Look, int]]:
    """label -> (look of its objective, how many lines before it have the same one)."""
    found: dict[str, tuple[Look, int]] = {}
    for line in lines:
        look = style.look(context.group(line.group))
        found[line.label] = (look, sum(other == look for other, _ in found.values()))
    return found


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels of this size in inches, line by line; narrower where a page ends."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = style.figure(min(width * columns + 0.4, style.PAGE), height * rows + 0.9)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def legend(figure: Figure) -> None:
    """One legend for all panels, above them, in as many columns as the figure is wide enough for."""
    seen = {}
    for axes in figure.axes:
        seen |= {label: line for line, label in zip(*axes.get_legend_handles_labels())}
    if seen:
        # The handle and the gaps of an entry are about as wide as seven characters.
        wide = (max(map(len, seen)) + 7) * INCHES_PER_CHARACTER
        columns = max(1, min(len(seen), int(figure.get_size_inches()[0] / wide)))
        figure.legend(list(seen.values()), list(seen), loc="outside upper center", ncols=columns)
        _grow(figure, 0.15 * (-(-len(seen) // columns) - 1))


def count(results: Sequence[Result]) -> str:
    """`3 runs, 1 diverged`."""
    diverged = sum(result.diverged for result in results)
    runs = f"{len(results)} run{'s' * (len(results) != 1)}"
    return f"{runs}, {diverged} diverged" if diverged else runs


def foot(
    figure: Figure, context: Context, drawn: dict[str, tuple[str, str]], reasons: dict[str, str], words: str
) -> None:
    """Below the figure: data and networks really used, with the lines drawn from them (label -> (group,
    number of runs)); `words`; and what is missing (label -> reason)."""
    used: dict[str, list[str]] = {}
    for label, (name, runs) in drawn.items():
        group = context.group(name)
        used.setdefault(f"{group.dataset} with {group.network}", []).append(f"{label} ({runs})")
    said = [f"{on}: {', '.join(labels)}" for on, labels in used.items()]
    said += [words] * bool(words and drawn)
    said += curves.absence({label: why for label, why in reasons.items() if label not in drawn})
    text = _wrapped(said, figure.get_size_inches()[0])
    figure.supxlabel(text, fontsize=style.SMALL)
    _grow(figure, 0.13 * (text.count("\n") - 1))


def frame(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """All parts that have rows, one after the other; empty with these columns where none has."""
    full = [part[list(columns)] for part in parts if len(part)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=list(columns))


def merged(reasons: dict[tuple[str, str], str], parts: dict[str, int]) -> dict[str, str]:
    """What `foot` says is missing, of reasons by (label, part): a label alone where all its parts (label ->
    how many it has) are missing for the same reason."""
    found = {}
    for (label, part), why in reasons.items():
        mine = [other for (name, _), other in reasons.items() if name == label]
        everywhere = len(mine) == parts[label] and len(set(mine)) == 1
        found[label if everywhere else f"{label}, {part}"] = why
    return found


def short(number: float) -> str:
    """Three digits, thousands without an exponent."""
    return f"{number:,.0f}" if 1000 <= abs(number) < 1e6 else f"{number:.3g}"


def told(axes: Axes, title: str, lines: Iterable[str]) -> None:
    """The title of a panel, and below it in small print one sentence per line."""
    width = axes.figure.get_size_inches()[0] / axes.get_gridspec().ncols - LABELS
    axes.set_title(_wrapped([title, *lines], width), loc="left", fontsize=style.SMALL)


def _grow(figure: Figure, inches: float) -> None:
    """Room for more words than one line of legend and two of small print, not taken from the panels."""
    figure.set_figheight(figure.get_figheight() + max(0.0, inches))


def _wrapped(sentences: Iterable[str], width: float) -> str:
    wide = int(PER_INCH * width)
    return "\n".join(part for sentence in sentences for part in textwrap.wrap(sentence, wide))


def joined(results: Sequence[Result], name: str) -> np.ndarray:
    """A per-example array (N,) of all these runs, one after the other. Raises DataError for other shapes."""
    parts = [result.array(name) for result in results]
    for result, part in zip(results, parts, strict=True):
        if part.ndim != 1:
            raise DataError(f"{result.run}: {name!r} has shape {part.shape}, expected one number per example")
    return np.concatenate(parts)
