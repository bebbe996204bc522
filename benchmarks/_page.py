"""Tables of docs/performance.md from a report of run.py: what the page says is what was measured."""

import re
from pathlib import Path
from typing import Any

from _measure import table

PAGE = Path(__file__).resolve().parents[1] / "docs/performance.md"

Report = dict[str, Any]


def filled(page: str, report: Report) -> str:
    """The page with every block between `<!-- NAME -->` and `<!-- end -->` written anew; a benchmark that the
    report does not have is said not to be in it."""
    return re.sub(
        r"<!-- (\w+) -->\n.*?<!-- end -->",
        lambda found: f"<!-- {found[1]} -->\n{_block(found[1], report)}\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


def _block(name: str, report: Report) -> str:
    if name == "conditions":
        return _conditions(report)
    if name == "bars_not_met":
        return _not_met(report)
    result = report["benchmarks"].get(name)
    if result is None:
        return "\nNot in this report.\n"
    settings = ", ".join(f"{key} {value}" for key, value in result["settings"].items())
    parts = [f"{result['date'][:10]}: {settings}; took {result['wall_s']:.0f} s.", table(result["rows"])]
    if result["bars"]:
        parts.append(table([_bar(bar) for bar in result["bars"]]))
    return "\n\n".join(["", *parts, ""])


def _conditions(report: Report) -> str:
    versions = report["versions"]
    return (
        f"\nMeasured until {report['date'][:10]} on an {report['device']['name']}, one thread, Python"
        f" {versions['python']}, torch {versions['torch']}; all benchmarks took"
        f" {report['wall_s'] / 60:.0f} minutes.\n"
    )


def _bar(bar: dict[str, Any]) -> dict[str, Any]:
    limit = f"at most {bar['limit']:g} {bar['unit']}"
    return {"bar": bar["bar"], "limit": limit, "measured": bar["value"], "met": bar["met"]}


def _not_met(report: Report) -> str:
    short = [
        {"benchmark": name, **_bar(bar)}
        for name, result in report["benchmarks"].items()
        for bar in result["bars"]
        if not bar["met"]
    ]
    return f"\n{table(short) if short else 'None.'}\n"
