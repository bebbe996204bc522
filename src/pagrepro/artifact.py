"""Tables and figures as files, each with a sidecar that says what it was made from. Torch-free."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pagrepro import plugins
from pagrepro.results import Context

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REVISION = 1

TABLE_COLUMNS = (
    "row", "column", "published", "published_sd", "measured", "measured_sd", "n_seeds", "tier", "note",
)  # fmt: skip

# Larger images are cropped in Snakemake's report.
DPI = 150


@dataclass(frozen=True)
class TableResult:
    """frame: long form, TABLE_COLUMNS; markdown: laid out as in the paper."""

    frame: pd.DataFrame
    markdown: str


@dataclass(frozen=True)
class FigureResult:
    """frame: the plotted numbers, where the figure plots numbers."""

    figure: "Figure"
    frame: pd.DataFrame | None = None


def draw(context: Context) -> TableResult | FigureResult:
    """Draw the artifact that `context.content` declares, with the plugin it names."""
    kind = "table" if context.content.get("table") else "figure"
    chosen = context.content[kind]
    plugin = plugins.load(f"{kind}s", chosen["name"])
    config = plugin.Config(**{key: value for key, value in chosen.items() if key != "name"})
    return plugin.draw(config, context)


def heading(context: Context) -> str:
    """`Table 1. Title (incomplete: 41 of 90 runs)`."""
    content = context.content
    mark = f" ({context.incomplete})" if context.incomplete else ""
    return f"{content['number']}. {content['title']}{mark}"


def used_on(context: Context) -> str:
    """Data and networks really used, by the names of what they are."""
    pairs = {f"{g.dataset} with {g.network}": None for g in context.groups.values() if g.runs}
    return "; ".join(pairs) or "nothing (no group is testable)"


def save_table(result: TableResult, context: Context, path: Path) -> None:
    """`path` (.csv), and .md and .json beside it."""
    table = result.frame
    if context.incomplete:
        table = table.assign(
            note=[f"{n}; {context.incomplete}" if n else context.incomplete for n in table["note"]]
        )
    _write(path.with_suffix(".md"), lambda p: p.write_text(result.markdown, encoding="utf-8"))
    _write(path.with_suffix(".json"), lambda p: p.write_text(sidecar(context), encoding="utf-8"))
    _write(path, lambda p: table.to_csv(p, index=False))


def save_figure(result: FigureResult, context: Context, path: Path) -> None:
    """`path` (.png); .pdf, .json and, where numbers are plotted, .csv beside it. Same numbers, same bytes."""
    if context.incomplete:
        result.figure.text(
            0.995, 0.995, context.incomplete, ha="right", va="top", color="#d55e00", weight="bold"
        )
    if result.frame is not None:
        _write(path.with_suffix(".csv"), lambda p: result.frame.to_csv(p, index=False))
    stamps = {".pdf": {"CreationDate": None}, ".png": {"Software": None}}
    for suffix, metadata in stamps.items():
        _write(
            path.with_suffix(suffix),
            lambda p, m=metadata, s=suffix: result.figure.savefig(p, format=s[1:], dpi=DPI, metadata=m),
        )
    _write(path.with_suffix(".json"), lambda p: p.write_text(sidecar(context), encoding="utf-8"))


def sidecar(context: Context) -> str:
    """JSON: what the artifact is, and the results it was drawn from with their spec hashes."""
    content = context.content
    about: dict[str, Any] = {
        key: content[key] for key in ("paper", "name", "number", "title", "caption", "tier")
    }
    about["incomplete"] = context.incomplete
    about["used_on"] = used_on(context)
    about["not_testable"] = {g.name: g.not_testable for g in context.groups.values() if g.not_testable}
    about["inputs"] = [
        {"run": run, "result": result, "spec_hash": digest} for (run, result), digest in context.used.items()
    ]
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"


def _write(path: Path, writer: Callable[[Path], Any]) -> None:
    """Write under another name first: a file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    writer(partial)
    os.replace(partial, path)
