"""Two definitions of off-manifold robustness become one as the noise becomes small.

Srinivas et al. (2023), Theorem 1: the relative sensitivity to noise off the manifold, rho1(sigma) (Definition
1), tends to the share of the gradient that is off the manifold, rho2 (Definition 2). Their difference over
sigma, both axes logarithmic.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from pydantic import Field

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figures import _curves as curves
from pagrepro.figures import _lines as lines
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.palette import Look
from pagrepro.results import Context, Result

REVISION = 1


class Line(Strict):
    """evaluation: with the arrays `sigma`, `rho1` (both over noise levels) and `rho2` (of examples, whose
    mean is taken, or a single number); where: labels that the runs must have."""

    label: str
    group: str
    evaluation: str
    where: dict[str, Any] = {}


class Config(Strict):
    """relative: the difference as a share of rho2; limit: a line at this height."""

    lines: tuple[Line, ...] = Field(min_length=1)
    relative: bool = True
    limit: Number | None = Field(0.05, gt=0)


COLUMNS = ["line", "run", "seed", "sigma", "rho1", "rho2", "difference"]


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per run and noise level. Raises DataError when no run of a line has its labels."""
    figure = style.figure(6.6, 3.0)
    axes = figure.subplots()
    frames, reasons = [], {}
    looks = lines.looks(context, config.lines)
    for line in config.lines:
        reason = context.reason(line.group, line.evaluation)
        results = [] if reason else _chosen(context, line)
        if not results:
            reasons[line.label] = reason or ""
            continue
        frames.append(_line(axes, config, line.label, results, looks[line.label]))
    if frames:
        _axes(axes, config)
        curves.absent(figure, reasons)
        return FigureResult(figure, pd.concat(frames, ignore_index=True)[COLUMNS])
    style.unavailable(axes, next(filter(None, reasons.values()), ""), wide=56)
    return FigureResult(figure, pd.DataFrame(columns=COLUMNS))


def _chosen(context: Context, line: Line) -> list[Result]:
    found = context.results(line.group, line.evaluation)
    kept = [r for r in found if all(r.labels.get(key) == value for key, value in line.where.items())]
    if found and not kept and not context.incomplete:
        raise DataError(f"{context.content['name']}: no run of {line.group} has the labels {line.where}")
    return kept


def _line(
    axes: Axes, config: Config, label: str, results: list[Result], look: tuple[Look, int]
) -> pd.DataFrame:
    sigma, rho1 = curves.arrays(results, "sigma", "rho1")
    rho2 = np.array([np.nanmean(r.array("rho2").astype(float)) for r in results])[:, None]
    difference = np.abs(rho1 - rho2)
    if config.relative:
        with np.errstate(divide="ignore", invalid="ignore"):
            difference = difference / rho2
    positive = np.where((difference > 0) & np.isfinite(difference), difference, np.nan)
    many = f" ({len(results)} runs)" if len(results) > 1 else ""
    curves.band(axes, sigma, positive, look[0], label + many, look[1])
    rows = [
        pd.DataFrame(
            {
                "line": label, "run": r.run, "seed": r.seed, "sigma": sigma, "rho1": rho1[k],
                "rho2": rho2[k, 0], "difference": difference[k],
            }
        )
        for k, r in enumerate(results)
    ]  # fmt: skip
    return pd.concat(rows)


def _axes(axes: Axes, config: Config) -> None:
    axes.set(xscale="log", yscale="log", xlabel="size of the noise σ")
    axes.set_ylabel("|ρ₁(σ) − ρ₂| / ρ₂" if config.relative else "|ρ₁(σ) − ρ₂|")
    if config.limit is not None:
        axes.axhline(
            config.limit, color=palette.DARK_GREY, lw=0.8, ls=":", zorder=0, label=f"limit {config.limit:g}"
        )
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
