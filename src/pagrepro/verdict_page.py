"""The page of all verdicts: each claim with its figures and tables, its rule and its runs. Torch-free.

The report shows the part between two comments on its first page, so that needs no style sheet of its own, and
no line of it is long: docutils, which that page goes through, refuses lines of 10,000 characters.
"""

import ast
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from pagrepro import judge, palette, plugins
from pagrepro.statistics import VERDICTS

REVISION = 1

BEGIN, END = "<!-- claims -->", "<!-- end of claims -->"
HEADS = ("claim", "verdict", "statement", "published", "measured", "seeds", "reason", "place", "shown in",
         "rule", "runs")  # fmt: skip

# Comparisons of a cell that are shown at once.
SHOWN = 3

Evidence = dict[str, dict[str, dict[str, Any]]]


def page(table: pd.DataFrame, evidence: Evidence) -> str:
    """HTML of its own. table: a claims.csv; evidence: paper -> claim -> entry of `claims/<paper>.json`.

    Links are relative to the folder of results: `figures/<paper>/<name>.png`, `tables/<paper>/<name>.csv`.
    """
    tiers = ", ".join(dict.fromkeys(table["tier"]))
    body = [_summary(table), f"<p>{escape(judge.chance(table))}</p>"]
    for paper, rows in table.groupby("paper", sort=False):
        body += [f'<h3 id="claims-{escape(str(paper))}">{escape(str(paper))}</h3>']
        body.append(_claims(str(paper), rows, evidence.get(str(paper), {})))
    body.append(_rules(evidence))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Claims</title>'
        '<body style="font:14px/1.4 sans-serif;margin:2em">'
        f"<h1>Claims, tier {escape(tiers)}</h1>\n" + BEGIN + "\n".join(body) + END + "</body></html>\n"
    )


def _badge(verdict: str, text: str = "") -> str:
    colour = palette.VERDICTS[verdict]
    style = f"background:{colour};color:#fff;font-weight:bold;padding:.1em .5em;white-space:nowrap"
    return f'<span style="{style}">{escape(text or verdict)}</span>'


def _summary(table: pd.DataFrame) -> str:
    """Counts of each paper, with a link to its claims."""
    lines = [_line("th", ("paper", *VERDICTS, "claims"))]
    for paper, rows in [*table.groupby("paper", sort=False), ("all", table)]:
        found = Counter(rows["verdict"])
        name = escape(str(paper))
        link = name if paper == "all" else f'<a href="#claims-{name}">{name}</a>'
        badges = (_badge(word, str(found[word])) for word in VERDICTS)
        lines.append(_line("td", (link, *badges, str(len(rows)))))
    return _table(lines)


def _claims(paper: str, rows: pd.DataFrame, evidence: dict[str, dict[str, Any]]) -> str:
    lines = [_line("th", HEADS)]
    for r in rows.itertuples():
        told = (r.statement, r.published, r.measured, r.n_seeds, r.reason, r.place)
        cells = [_comparisons(judge.text(value)) for value in told]
        mine = evidence.get(str(r.claim), {"artifacts": [], "rules": [], "results": []})
        more = (_artifacts(paper, mine["artifacts"]), _rule(mine["rules"]), _results(mine["results"]))
        lines.append(_line("td", (escape(str(r.claim)), _badge(r.verdict), *cells, *more)))
    return _table(lines)


def _comparisons(words: str) -> str:
    """One line per comparison; a claim may be made of many: of more than SHOWN the others open on a click."""
    lines = [escape(part) for part in words.split("; ")]
    more = lines[SHOWN:] if len(lines) > SHOWN + 1 else []
    shown = ";<br>\n".join(lines[: len(lines) - len(more)])
    if not more:
        return shown
    return f"{shown}<details><summary>{len(more)} more</summary>" + ";<br>\n".join(more) + "</details>"


def _artifacts(paper: str, found: Sequence[dict[str, str]]) -> str:
    """Links by number; what is ours has no number of its own, and goes by its title."""
    if not found:
        return "no figure or table"
    names = [a["number"] if a["number"][-1:].isdigit() else a["title"] for a in found]
    links = [artifact_link(paper, a["kind"], a["name"]) for a in found]
    return "<br>\n".join(f'<a href="{link}">{escape(name)}</a>' for name, link in zip(names, links))


def artifact_link(paper: str, kind: str, name: str) -> str:
    """Path of a figure or table, relative to the folder of results."""
    return escape(f"{kind}s/{paper}/{name}.{'png' if kind == 'figure' else 'csv'}")


def _rule(rules: Sequence[dict[str, Any]]) -> str:
    """Each rule with its parameters, and on a click the parts that are judged by it."""
    found = []
    for rule in rules:
        told = {key: value for key, value in rule["parameters"].items() if value not in (None, {}, [])}
        given = ", ".join(f"{key} = {value}" for key, value in told.items())
        parts = "<br>\n".join(escape(part) for part in rule["parts"])
        found.append(
            f'<a href="#rule-{escape(rule["name"])}">{escape(rule["name"])}</a>'
            f"<details><summary>{escape(given) or 'no parameters'}</summary>{parts}</details>"
        )
    return "".join(found)


def _results(results: Sequence[Sequence[str]]) -> str:
    """How many runs, and on a click the paths of their measurements, which say specification and versions."""
    if not results:
        return "none"
    runs = len({run for run, _ in results})
    paths = "<br>\n".join(escape(f"evaluations/{run}/{name}.json") for run, name in results)
    count = f"{runs} run{'s' * (runs != 1)}"
    return f'<details><summary style="white-space:nowrap">{count}</summary><code>{paths}</code></details>'


def _rules(evidence: Evidence) -> str:
    """What each rule that was used does, by its module's own words."""
    claims = (claim for paper in evidence.values() for claim in paper.values())
    used = sorted({rule["name"] for claim in claims for rule in claim["rules"]})
    entries = []
    for name in used:
        words = ast.get_docstring(ast.parse(plugins.source_path("claims", name).read_text(encoding="utf-8")))
        path = f"src/pagrepro/claims/{name}.py"
        entries.append(
            f'<dt id="rule-{escape(name)}"><b>{escape(name)}</b>, <code>{escape(path)}</code></dt>'
            f'<dd style="white-space:pre-line">{escape(words or "")}</dd>'
        )
    return "<h3>Rules</h3><dl>" + "".join(entries) + "</dl>" if entries else ""


def _table(lines: Sequence[str]) -> str:
    return '<table style="border-collapse:collapse">' + "\n".join(lines) + "</table>"


def _line(tag: str, cells: Sequence[str]) -> str:
    style = "border:1px solid #bbb;padding:.3em .6em;text-align:left;vertical-align:top"
    wide = ("statement", "published", "measured", "reason")
    widths = [";min-width:14em" if tag == "th" and cell in wide else "" for cell in cells]
    return "<tr>" + "".join(f'<{tag} style="{style}{w}">{c}</{tag}>' for c, w in zip(cells, widths)) + "</tr>"
