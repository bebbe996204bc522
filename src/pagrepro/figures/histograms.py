"""Histograms of a per-example number over a logarithmic axis, one outline per method, conditions in panels.

Rodriguez-Munoz et al. (2024), Figures 6 (L1 norm of the loss gradient: all images, those classified
correctly, the others), 9 (curvature) and 10 (local linearity). Mean and standard deviation (n - 1) are of
the numbers themselves. The paper adds 1e-16 before the logarithm and smooths with a kernel; here nothing is
smoothed, and zeros are counted.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field, model_validator

from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figure_options import Line, check_panels
from pagrepro.figures import _curves as curves
from pagrepro.figures import _lines as lines
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.palette import Look
from pagrepro.results import Context

REVISION = 1


class Panel(Strict):
    """mask: per-example array of booleans; only examples where it is `keep` are counted; lines: labels of
    those drawn, all if none is given; published: means by the labels of lines."""

    label: str
    mask: str | None = None
    keep: bool = True
    lines: tuple[str, ...] = ()
    published: dict[str, Number] = {}


class Config(Strict):
    """array: of the evaluation, one number that is not negative per example; floor: added before the
    logarithm (with 0, zeros are left out of the histogram); seed: only the run that has it, else the first
    (none: all runs pooled); bins: between the smallest and the largest number of a panel's lines, masks
    aside; columns: panels side by side."""

    lines: tuple[Line, ...] = Field(min_length=1)
    panels: tuple[Panel, ...] = Field((Panel(label="all"),), min_length=1)
    evaluation: str
    array: str
    xlabel: str
    floor: Number = Field(0, ge=0)
    seed: int | None = None
    bins: int = Field(50, ge=1)
    columns: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _lines_there(self) -> "Config":
        check_panels(self.panels, self.lines)
        return self


COLUMNS = ["panel", "line", "examples", "mean", "std", "zeros", "not_finite", "low", "high", "count"]
WIDTH = 2.6


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per panel, line and bin; `low` and `high` are the ends of the bin, floor included.
    Raises DataError for negative numbers."""
    figure, grid = lines.panels(len(config.panels), config.columns, WIDTH, 1.9)
    looks = lines.looks(context, config.lines)
    samples, drawn, reasons = {}, {}, {}
    for line in config.lines:
        results, reasons[line.label] = lines.results_of(context, line, config.evaluation, config.seed)
        if results:
            samples[line.label] = _sample(config, results)
            drawn[line.label] = (line.group, lines.count(results))
    frames = []
    for axes, panel in zip(grid, config.panels, strict=True):
        chosen = [line.label for line in config.lines if not panel.lines or line.label in panel.lines]
        here = {label: samples[label] for label in chosen if label in samples}
        if not here:
            axes.set_title(panel.label, loc="left", fontsize=style.SMALL)
            style.unavailable(axes, next(filter(None, (reasons[label] for label in chosen)), ""), wide=30)
            continue
        frames.append(_panel(axes, config, panel, here, looks))
    lines.legend(figure)
    words = "marks at the means" + "; runs of a line are pooled" * (config.seed is None)
    lines.foot(figure, context, drawn, reasons, words)
    return FigureResult(figure, lines.frame(frames, COLUMNS))


def _sample(config: Config, results: list) -> dict[str | None, np.ndarray]:
    """The numbers (n,) under None, and the masks (n,) by their names."""
    values = lines.joined(results, config.array).astype(float)
    if (values < 0).any():
        raise DataError(
            f"{results[0].group}: {config.array!r} has negative numbers, and none has a logarithm"
        )
    masks = {panel.mask: lines.joined(results, panel.mask) for panel in config.panels if panel.mask}
    for name, mask in masks.items():
        if mask.shape != values.shape or mask.dtype != bool:
            raise DataError(
                f"{results[0].group}: {name!r} is {mask.dtype} {mask.shape}, expected bool {values.shape}"
            )
    return {None: values, **masks}


def _panel(
    axes: Axes, config: Config, panel: Panel, here: dict[str, dict], looks: dict[str, tuple[Look, int]]
) -> pd.DataFrame:
    edges = _edges(np.concatenate([sample[None] for sample in here.values()]) + config.floor, config.bins)
    said, frames = [], []
    for label, sample in here.items():
        values = sample[None] if panel.mask is None else sample[None][sample[panel.mask] == panel.keep]
        finite = values[np.isfinite(values)]
        shown = finite + config.floor
        count, _ = np.histogram(np.log10(shown[shown > 0]), edges)
        look, order = looks[label]
        density = count / max(count.sum(), 1) / np.diff(edges)
        axes.stairs(density, 10**edges, fill=True, color=look.colour, alpha=0.15)
        axes.stairs(density, 10**edges, lw=1.1, color=look.colour, ls=curves.DASHES[order % 4])
        # Two lines of a histogram look the same without their marks: these stand at the means.
        mean = finite.mean() + config.floor if len(finite) else np.nan
        axes.plot(mean, 0, color=look.colour, label=label, lw=1.1, clip_on=False, zorder=4,
                  **curves.line(look, order) | {"ms": 5})  # fmt: skip
        if label in panel.published:
            curves.published(axes, panel.published[label], 0, look.colour, "", joined=False)
        about = {
            "examples": len(values), "mean": finite.mean() if len(finite) else np.nan,
            "std": finite.std(ddof=1) if len(finite) > 1 else np.nan,
            "zeros": int((finite == 0).sum()), "not_finite": len(values) - len(finite),
        }  # fmt: skip
        said.append(f"{label}: {_words(about)}")
        bins = {"low": 10 ** edges[:-1], "high": 10 ** edges[1:], "count": count}
        frames.append(pd.DataFrame({"panel": panel.label, "line": label, **about, **bins}))
    axes.set(xscale="log", xlabel=config.xlabel, ylabel="density per decade", ylim=(0, None))
    if here.keys() & panel.published.keys():
        curves.published_key(axes)
    lines.told(axes, panel.label, said)
    return pd.concat(frames)[COLUMNS]


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """(bins + 1,) in log10 over the positive finite values; a decade around a single one."""
    logarithms = np.log10(values[np.isfinite(values) & (values > 0)])
    low, high = (logarithms.min(), logarithms.max()) if len(logarithms) else (0.0, 0.0)
    return np.linspace(low, high, bins + 1) if high > low else np.linspace(low - 0.5, low + 0.5, bins + 1)


def _words(about: dict[str, float]) -> str:
    if not about["examples"]:
        return "no examples"
    spread = f" ± {lines.short(about['std'])}" if np.isfinite(about["std"]) else ""
    more = [f"n = {about['examples']:,}"]
    more += [f"{about['zeros']:,} zero"] * bool(about["zeros"])
    more += [f"{about['not_finite']:,} not finite"] * bool(about["not_finite"])
    return f"{lines.short(about['mean'])}{spread} ({', '.join(more)})"
