"""Relative robustness to noise on the signal and on the distractor, over the size of the noise.

Srinivas et al. (2023), Figure 4 and section 4.3: R(sigma) is the change that noise on the signal makes,
divided by that of the same noise on the distractor; above 1 a network relies on the signal. One line per
network, mean over seeds, in a band from the smallest to the largest.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.figures import _curves as curves
from pagrepro.figures import _lines as lines
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.results import Context
from pagrepro.sweeps import over_seeds

REVISION = 1


class Line(Strict):
    """label: how the figure calls the network."""

    label: str
    group: str


class Config(Strict):
    """evaluation: with the arrays `sigma` and `ratio`; middle: noise whose mean ratio is judged, shaded;
    top: end of the vertical axis, where the largest ratios would hide the others."""

    lines: tuple[Line, ...] = Field(min_length=1)
    evaluation: str = "distractor_noise"
    sigma: str = "sigma"
    ratio: str = "ratio"
    middle: tuple[Number, Number] | None = (0.1, 1)
    top: Number | None = None


COLUMNS = ["network", "run", "seed", "status", "sigma", "ratio"]


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per run and noise level. Noise of size 0 is left out: nothing changes."""
    figure = style.figure(4.2, 2.9)
    axes = figure.subplots()
    frames, reasons = [], {}
    looks = lines.looks(context, config.lines)
    for line in config.lines:
        reason = context.reason(line.group, config.evaluation)
        results = [] if reason else context.results(line.group, config.evaluation)
        if not results:
            reasons[line.label] = reason or ""
            continue
        sigma, ratio = curves.arrays(results, config.sigma, config.ratio)
        kept = sigma > 0
        sigma, ratio = sigma[kept], ratio[:, kept]
        label = f"{line.label}, {len(results)} seed{'s' * (len(results) != 1)}"
        curves.band(axes, sigma, ratio, looks[line.label][0], label, looks[line.label][1], marks=12)
        for result, heights in zip(results, ratio, strict=True):
            about = (line.label, result.run, result.seed, result.status)
            frames.append(pd.DataFrame({**dict(zip(COLUMNS, about)), "sigma": sigma, "ratio": heights}))
    if frames:
        frame = pd.concat(frames, ignore_index=True)
        _axes(axes, config, frame)
        curves.absent(figure, reasons)
    else:
        style.unavailable(axes, next(filter(None, reasons.values()), ""), wide=56)
        frame = pd.DataFrame(columns=COLUMNS)
    groups = [context.group(line.group) for line in config.lines]
    axes.set_title(", ".join(dict.fromkeys(group.dataset for group in groups if group.runs)))
    return FigureResult(figure, frame)


def _axes(axes: Axes, config: Config, frame: pd.DataFrame) -> None:
    curves.logarithmic(axes, frame["sigma"].to_numpy())
    if config.middle is not None:
        axes.axvspan(*config.middle, color="#eeeeee", zorder=0, label="judged: mean over these σ")
    axes.axhline(1, color=palette.DARK_GREY, lw=1, ls=":", zorder=1, label="equal")
    top = config.top or 1.08 * over_seeds(frame["ratio"].to_numpy()[:, None])[2].max(initial=1.0)
    axes.set(
        xlabel="standard deviation of the noise σ", ylabel="R(σ): change by noise on signal\n/ on distractor"
    )
    axes.set_ylim(0, float(np.nan_to_num(top, nan=1.1)))
    axes.legend(loc="lower left")
