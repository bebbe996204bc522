"""Sensitivity, accuracy and alignment of gradients over the strength of an objective, one column per
objective.

Srinivas et al. (2023), Figure 2 (both rows) and Figure 3 (the lower row alone). Upper row: change of the
output by noise on and off the data manifold. Lower row: accuracy at the left axis, alignment at the right
one. Lines are means over seeds, bands go from the smallest to the largest seed. Ours besides: the three
regimes of section 5, found from the means (`pagrepro.regimes`), and curves read off published figures, pale
with open diamonds. A column has the colour of its objective; what a curve shows is said by its dash and mark.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pydantic import Field

from pagrepro import palette, regimes, sweeps
from pagrepro.artifact import FigureResult
from pagrepro.figure_options import Published
from pagrepro.figures import _curves as curves
from pagrepro.figures import _pictures as pictures
from pagrepro.figures import _regimes as shading
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.palette import Look
from pagrepro.results import Context
from pagrepro.sweeps import Sweep

REVISION = 1


class Quantity(Strict):
    """A value of a measurement; array: its per-example array, by which images are counted (without it,
    the one of the value's name); label: how an axis calls it."""

    evaluation: str
    value: str
    label: str = ""
    array: str | None = None


class Column(Strict):
    """xlabel: what the strength is; scale: `categorical` puts strengths at equal distances; published: curves
    by quantity, `alignment` being that of the first quantity of `alignment`."""

    label: str
    group: str
    xlabel: str = "strength"
    scale: Literal["log", "categorical"] = "log"
    published: dict[Literal["on", "off", "accuracy", "alignment"], Published] = {}


class Config(Strict):
    """rows: which of the two rows; strength: numeric label of the runs; on, off, accuracy: quantities;
    alignment: the first of these that a group has is drawn, under its own label; sensitivity: how the
    upper row calls on and off; drop: accuracy that an accurate network may lack of the best one
    (regimes)."""

    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Literal["sensitivity", "alignment"], ...] = Field(("sensitivity", "alignment"), min_length=1)
    strength: str = "strength"
    on: Quantity = Quantity(evaluation="sensitivity", value="on", label="on the manifold")
    off: Quantity = Quantity(evaluation="sensitivity", value="off", label="off the manifold")
    accuracy: Quantity = Quantity(evaluation="clean", value="accuracy", label="accuracy", array="correct")
    alignment: tuple[Quantity, ...] = Field(min_length=1)
    sensitivity: str = "L1 change of the softmax"
    drop: Number = Field(0.10, gt=0)


QUANTITIES = ("on", "off", "accuracy", "alignment")
# Dash and mark of the first and of the second curve of a row; columns beside each other on a page.
LOOKS = ({"ls": "-", "marker": "o"}, {"ls": "--", "marker": "s"})
ACROSS = 2
PUBLISHED = "published (read off)"
FRAME = [
    "objective", "run", "seed", "status", "strength", "on", "off", "accuracy", "alignment", "measure",
    "regime",
]  # fmt: skip


@dataclass(frozen=True)
class _Drawn:
    """What one column shows. points: one row per run; measure: the alignment that is drawn, None where
    there is none; substitute: it is not the first of the configuration; reasons: quantity -> why it
    cannot be had; x: places of the strengths on the axis; colour: of the objective."""

    column: Column
    colour: str
    points: pd.DataFrame
    sweep: Sweep | None
    measure: Quantity | None
    substitute: bool
    reasons: dict[str, str]
    found: regimes.Regimes | None
    x: np.ndarray

    def has(self, quantity: str) -> bool:
        return self.sweep is not None and bool(np.isfinite(self.sweep.values[quantity]).any())

    @property
    def logarithmic(self) -> bool:
        return self.column.scale == "log"


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per run; `measure` says which alignment it is. Raises DataError when a run lacks the
    label of the strength."""
    figure, grid = _grid(len(config.columns), len(config.rows))
    drawn = [_column(config, context, column) for column in config.columns]
    for line, here in zip(grid, drawn, strict=True):
        for axes, row in zip(line, config.rows, strict=True):
            _sensitivity(axes, config, here) if row == "sensitivity" else _alignment(axes, config, here)
            axes.set_xlabel(here.column.xlabel if axes is line[-1] and here.sweep is not None else "")
        shading.name(line[0], here.found, here.x, here.logarithmic)
        title = pictures.titled(context, here.column.label, [here.column.group])
        line[0].set_title(title, pad=6 if here.found is None else 22)
    _legend(figure, config, drawn)
    figure.supxlabel(_counts(config, context, drawn), fontsize=style.SMALL)
    return FigureResult(figure, pd.concat([_frame(here) for here in drawn], ignore_index=True)[FRAME])


def _grid(columns: int, rows: int) -> tuple[Figure, list[list[Axes]]]:
    """A figure, and for every column its axes from top to bottom; more columns than a page holds go below."""
    wide = min(columns, ACROSS)
    blocks = -(-columns // wide)
    figure = style.figure(3.0 * wide + 1.0, blocks * (1.75 * rows + 0.35) + 0.9)
    grid = figure.subplots(blocks * rows, wide, squeeze=False)
    found = [
        [grid[block * rows + row, n] for row in range(rows)] for block in range(blocks) for n in range(wide)
    ]
    for axes in (axes for column in found[columns:] for axes in column):
        axes.set_axis_off()
    return figure, found[:columns]


def _column(config: Config, context: Context, column: Column) -> _Drawn:
    upper, lower = "sensitivity" in config.rows, "alignment" in config.rows
    wanted = {"on": config.on, "off": config.off} if upper else {}
    reasons = {name: context.reason(column.group, q.evaluation) for name, q in wanted.items()}
    wanted["accuracy"] = config.accuracy
    reasons["accuracy"] = context.reason(column.group, config.accuracy.evaluation)
    measure = None
    if lower:
        why = [context.reason(column.group, q.evaluation) for q in config.alignment]
        measure = next((q for q, reason in zip(config.alignment, why) if not reason), None)
        reasons["alignment"] = None if measure else why[0]
    if measure:
        wanted["alignment"] = measure
    measured = {name: (q.evaluation, q.value) for name, q in wanted.items()}
    points = sweeps.points(context, column.group, measured, config.strength)
    points = points.reindex(columns=["run", "seed", "status", "strength", *QUANTITIES])
    sweep = sweeps.from_points(points, list(QUANTITIES)) if len(points) else None
    strengths = np.zeros(0) if sweep is None else sweep.strengths
    x = strengths if column.scale == "log" else np.arange(len(strengths), dtype=float)
    found = None
    if sweep is not None and np.isfinite(sweep.values["on"]).any() and np.isfinite(sweep.values["off"]).any():
        found = regimes.find(*(sweep.mean(name) for name in QUANTITIES), drop=config.drop)
    told = {name: reason for name, reason in reasons.items() if reason}
    colour = style.look(context.group(column.group)).colour
    return _Drawn(column, colour, points, sweep, measure, measure != config.alignment[0], told, found, x)


def _sensitivity(axes: Axes, config: Config, here: _Drawn) -> None:
    if not (here.has("on") or here.has("off")):
        style.unavailable(axes, here.reasons.get("on") or here.reasons.get("off") or "")
        return
    shading.shade(axes, here.found, here.x, here.logarithmic)
    told = [here.column.published[name].y for name in ("on", "off") if name in here.column.published]
    ours = [here.sweep.values[name] for name in ("on", "off") if here.has(name)]
    pale = curves.axis_apart(axes, told, ours, PUBLISHED)
    for order, (name, quantity) in enumerate((("on", config.on), ("off", config.off))):
        _curve(axes, here, name, quantity.label or name, order, pale)
    _axis(axes, here)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(config.sensitivity)
    if pale is not axes:
        pale.set_ylim(bottom=0)


def _alignment(axes: Axes, config: Config, here: _Drawn) -> None:
    if not (here.has("accuracy") or here.has("alignment")):
        style.unavailable(axes, here.reasons.get("accuracy") or here.reasons.get("alignment") or "")
        return
    shading.shade(axes, here.found, here.x, here.logarithmic)
    _curve(axes, here, "accuracy", config.accuracy.label or "accuracy", 0)
    _axis(axes, here)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel(f"{config.accuracy.label or 'accuracy'} (solid)")
    if not here.has("alignment"):
        what = "not testable" if "alignment" in here.reasons else "not finished yet"
        axes.text(0.02, 0.03, f"alignment: {what}", transform=axes.transAxes, fontsize=style.SMALL)
        return
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    _curve(right, here, "alignment", "alignment of gradients", 1)
    right.set_ylabel(f"{here.measure.label or here.measure.value}\n(dashed)")
    right.margins(y=0.12)


def _curve(
    axes: Axes, here: _Drawn, name: str, label: str, order: int, published_axes: Axes | None = None
) -> None:
    """Our curve, and the published one where it is of the same quantity (a substitute is another one)."""
    if here.has(name):
        # Marks say which quantity it is here: all curves are of one objective.
        look = Look(here.colour, LOOKS[order]["marker"])
        curves.band(axes, here.x, here.sweep.values[name], look, label, order)
    published = here.column.published.get(name)
    if published is None or (name == "alignment" and here.substitute):
        return
    x, y = (np.array(values, float) for values in (published.x, published.y))
    if not here.logarithmic:
        at = {strength: place for strength, place in zip(here.sweep.strengths, here.x)}
        kept = np.isin(x, here.sweep.strengths)
        x, y = np.array([at[strength] for strength in x[kept]]), y[kept]
    curves.published(published_axes or axes, x, y, here.colour, PUBLISHED, order=order)


def _axis(axes: Axes, here: _Drawn) -> None:
    if here.logarithmic:
        curves.logarithmic(axes, here.sweep.strengths)
    else:
        names = [f"{strength:.3g}" for strength in here.sweep.strengths]
        axes.set_xticks(here.x, names, rotation=45 if len(names) > 6 else 0)


def _legend(figure: Figure, config: Config, drawn: list[_Drawn]) -> None:
    """What dashes and marks mean, in grey: colours are those of the objectives, which the titles name."""
    names = {"sensitivity": (config.on.label or "on", config.off.label or "off")}
    names["alignment"] = (config.accuracy.label or "accuracy", "alignment of gradients")
    handles = []
    for row in config.rows if any(here.sweep is not None for here in drawn) else ():
        for label, look in zip(names[row], LOOKS, strict=True):
            face = palette.DARK_GREY if look is LOOKS[0] else "white"
            handles.append(_key(label, lw=1.2, ms=3.4, mfc=face, **look))
    if any(here.column.published and here.sweep is not None for here in drawn):
        handles.append(_key(PUBLISHED, ls="none", marker="D", ms=4, mfc="white"))
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=3)


def _key(label: str, **look: Any) -> Line2D:
    return Line2D([], [], color=palette.DARK_GREY, label=label, **look)


def _counts(config: Config, context: Context, drawn: list[_Drawn]) -> str:
    """Numbers of seeds, and of images that each quantity was measured on."""
    seeds = [len(here.sweep.seeds) for here in drawn if here.sweep is not None]
    if not seeds:
        return ""
    few, many = min(seeds), max(seeds)
    words = [f"{few} seed{'s' * (few != 1)}" if few == many else f"{few} to {many} seeds"]
    for name, quantity in (("on", config.on), ("accuracy", config.accuracy), ("alignment", None)):
        for here in drawn:
            measure = quantity or here.measure
            count = _images(context, here, measure) if measure and here.has(name) else None
            if count:
                words.append(f"{count:,} images ({'on and off the manifold' if name == 'on' else name})")
                break
    return "; ".join(words) + "; bands from the smallest to the largest seed"


def _images(context: Context, here: _Drawn, quantity: Quantity) -> int | None:
    """How many images the first run was measured on, by its per-example array; None where there is none."""
    result = next(iter(context.results(here.column.group, quantity.evaluation)), None)
    array = quantity.array or quantity.value
    return len(result.array(array)) if result is not None and array in result.arrays else None


def _frame(here: _Drawn) -> pd.DataFrame:
    names = (
        here.found.names if here.found else ("",) * (0 if here.sweep is None else len(here.sweep.strengths))
    )
    by_strength = dict(zip([] if here.sweep is None else here.sweep.strengths, names))
    return here.points.assign(
        objective=here.column.label,
        measure=(here.measure.label or here.measure.value) if here.measure else "",
        regime=[by_strength[strength] for strength in here.points["strength"]],
    )
