"""What monitors measured during training, over epochs: one line per method, mean over seeds in a band.

Rodriguez-Munoz et al. (2024), Figures 4 (clean accuracy and that under PGD-10, with two activations) and 12
(PGD-10, with the collapse of single-step training). Read from the histories of the fits.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from pydantic import Field, model_validator

from pagrepro.artifact import FigureResult
from pagrepro.errors import DataError
from pagrepro.figure_options import Line, check_panels
from pagrepro.figures import _curves as curves
from pagrepro.figures import _lines as lines
from pagrepro.figures import _style as style
from pagrepro.options import Number, Strict
from pagrepro.palette import Look
from pagrepro.results import Context, Member

REVISION = 1


class Panel(Strict):
    """value: of the monitor, or, without a monitor, a metric of the training itself (mean of an epoch);
    scale: from its unit to that of the axis; published: what lines ended with, by their labels."""

    label: str
    monitor: str | None = None
    value: str
    scale: Number = 1
    ylabel: str
    published: dict[str, Number] = {}


class Config(Strict):
    """columns: panels side by side. The artifact has to say `histories: true`."""

    lines: tuple[Line, ...] = Field(min_length=1)
    panels: tuple[Panel, ...] = Field(min_length=1)
    columns: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _panels_differ(self) -> "Config":
        check_panels(self.panels)
        return self


COLUMNS = ["panel", "line", "run", "seed", "epoch", "value"]

History = tuple[Member, list[dict[str, Any]]]


def draw(config: Config, context: Context) -> FigureResult:
    """Frame: one row per panel, line, run and epoch with the value, NaN where it was not finite. Raises
    DataError when no run of a line has what a panel asks for."""
    figure, grid = lines.panels(len(config.panels), config.columns, 3.2, 2.2)
    looks = lines.looks(context, config.lines)
    frames, drawn, reasons = [], {}, {}
    for line in config.lines:
        histories, reasons[line.label] = _histories(context, line)
        if not any(history for _, history in histories):
            continue
        drawn[line.label] = (line.group, _count(histories))
        for axes, panel in zip(grid, config.panels, strict=True):
            rows = _rows(panel, line.label, histories)
            frames.append(rows)
            _band(axes, panel, rows, line.label, looks[line.label])
    for axes, panel in zip(grid, config.panels, strict=True):
        axes.set_title(panel.label)
        if not axes.get_lines():
            style.unavailable(axes, next(filter(None, reasons.values()), ""), wide=36)
            continue
        axes.set(xlabel="epoch", ylabel=panel.ylabel)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        if drawn.keys() & panel.published.keys():
            curves.published_key(axes)
    lines.legend(figure)
    words = "bands from the smallest to the largest run"
    if any(drawn.keys() & panel.published.keys() for panel in config.panels):
        words += "; published: at the end of the published fits"
    lines.foot(figure, context, drawn, reasons, words)
    return FigureResult(figure, lines.frame(frames, COLUMNS))


def _histories(context: Context, line: Line) -> tuple[list[History], str]:
    """(the line's runs with their histories, why there are none)."""
    reason = context.group(line.group).not_testable
    if reason:
        return [], reason
    found = context.histories(line.group)
    kept = [(member, history) for member, history in found if lines.has_labels(member, line)]
    if found and not kept and not context.incomplete:
        raise DataError(f"{context.content['name']}: no run of {line.group} has the labels {line.where}")
    return kept, ""


def _count(histories: list[History]) -> str:
    """`3 runs, 1 ended early`: a fit that diverges ends there."""
    ends = [history[-1]["epoch"] if history else 0 for _, history in histories]
    early = sum(end < max(ends) for end in ends)
    runs = f"{len(ends)} run{'s' * (len(ends) != 1)}"
    return f"{runs}, {early} ended early" if early else runs


def _rows(panel: Panel, label: str, histories: list[History]) -> pd.DataFrame:
    rows, there = [], {}
    for member, history in histories:
        for line in history:
            found = line["metrics"] if panel.monitor is None else line["monitor"].get(panel.monitor, {})
            there |= dict.fromkeys(_names(panel, line))
            if panel.value in found:
                number = np.nan if found[panel.value] is None else panel.scale * found[panel.value]
                rows.append((panel.label, label, member.run, member.seed, line["epoch"], number))
    if there and not rows:
        wanted = panel.value if panel.monitor is None else f"{panel.monitor}.{panel.value}"
        raise DataError(f"{label}: no {wanted} in the histories; there are: {', '.join(there)}")
    return pd.DataFrame(rows, columns=COLUMNS)


def _names(panel: Panel, line: dict[str, Any]) -> list[str]:
    """What a panel of this kind could have asked for in a line of a history."""
    if panel.monitor is None:
        return list(line["metrics"])
    return [f"{monitor}.{name}" for monitor, values in line["monitor"].items() for name in values]


def _band(axes: Axes, panel: Panel, rows: pd.DataFrame, label: str, look: tuple[Look, int]) -> None:
    """The line, and above the last epoch what the published fits ended with."""
    if rows["value"].notna().any():
        table = rows.pivot(index="run", columns="epoch", values="value")
        epochs = table.columns.to_numpy(float)
        curves.band(axes, epochs, table.to_numpy(float), look[0], label, look[1], marks=12)
        if label in panel.published:
            curves.published(axes, epochs[-1], panel.published[label], look[0].colour, "", joined=False)
