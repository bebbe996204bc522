"""From declared claims to claims.csv, the terminal, the page and the report's first page."""

import json
import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import jinja2
import pandas as pd
import pytest
from docutils.core import publish_parts
from made_up import group, put

from pagrepro import judge, palette, verdict_page
from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.spec import canonical_json

ROOT = Path(__file__).parents[2]


def select(name, evaluation="pgd"):
    return {"groups": [name], "evaluation": evaluation, "value": "accuracy"}


def part(above, high="high", not_testable=None, rule="difference"):
    chosen = {"high": select(high), "low": select("low")}
    return {"label": f"above {above}", "rule": {"name": rule, "above": above}, "select": chosen,
            "not_testable": not_testable}  # fmt: skip


def claim(name, *parts):
    return {"paper": "a2000", "claim": name, "statement": f"Statement <{name}>", "place": "Table 1",
            "published": "> 0.1", "parts": list(parts)}  # fmt: skip


@pytest.fixture
def declared(tmp_path):
    for seed, value in enumerate((0.3, 0.32, 0.31)):
        put(tmp_path, f"high_s{seed}", "pgd", {"accuracy": value})
        put(tmp_path, f"low_s{seed}", "pgd", {"accuracy": 0.0})
    groups = {
        "high": group(*(f"high_s{s}" for s in range(3))), "low": group(*(f"low_s{s}" for s in range(3))),
        "gone": group(not_testable="no net"),
    }  # fmt: skip
    claims = [
        claim("C1", part(0.1)), claim("C2", part(0.1), part(0.5)), claim("C3", part(0.31)),
        claim("C4", part(0.1, "gone", "no net")), claim("C5", part(0.1), part(0.1, "gone", "no net")),
    ]  # fmt: skip
    return {"tier": "demo", "claims": claims, "groups": groups}


@pytest.fixture
def table(declared, tmp_path):
    return judge.to_frame(judge.judge_all(declared, Layout(tmp_path)))


def test_one_line_per_claim(table):
    assert list(table.columns[:8]) == [
        "paper", "claim", "statement", "published", "measured", "n_seeds", "verdict", "reason",
    ]  # fmt: skip
    assert table["verdict"].tolist() == [
        "confirmed",
        "contradicted",
        "inconclusive",
        "not testable",
        "confirmed",
    ]
    assert table["n_seeds"].tolist() == [3, 3, 3, 0, 3]
    assert "judged without what is not testable: above 0.1 (no net)" in table["reason"][4]
    assert table["reason"][3] == "no net"


def test_unfinished_runs_leave_a_claim_open_in_previews(declared, tmp_path):
    Layout(tmp_path).result("high_s1", "pgd").unlink()
    with pytest.raises(DataError, match="high_s1"):
        judge.judge_all(declared, Layout(tmp_path))
    found = judge.to_frame(judge.judge_all(declared, Layout(tmp_path), allow_missing=True))
    assert found["verdict"][0] == "inconclusive"
    assert found["reason"][0] == "incomplete: 5 of 6 runs"


def test_unsuitable_results_name_claim_and_rule(declared, tmp_path):
    declared["claims"][0]["parts"][0]["rule"] = {"name": "within", "low": 0}
    with pytest.raises(DataError, match=r"a2000 C1, above 0\.1: rule within: .*needs the role 'value'"):
        judge.judge_all(declared, Layout(tmp_path))


def test_terminal_shows_all_verdicts_and_colours_only_when_asked(table):
    plain = judge.to_text(table)
    assert "\033" not in plain
    assert "2 confirmed, 1 contradicted, 1 inconclusive, 1 not testable" in plain
    assert "Of 4 judged claims, 0.1 would be expected" in plain
    assert sum(line.startswith("a2000 C") for line in plain.splitlines()) == 5
    coloured = judge.to_text(table, colour=True)
    assert all(f"\033[{code};1m" in coloured for code in judge.ANSI.values())


EVIDENCE = {
    "a2000": {
        "C1": {
            "artifacts": [
                {"kind": "figure", "name": "figure3", "number": "Figure 3", "title": "Curves"},
                {"kind": "table", "name": "table_ours", "number": "Table (ours)", "title": "Two <sides>"},
            ],
            "rules": [{"name": "difference", "parameters": {"above": 0.1}, "parts": ["above 0.1"]}],
            "results": [["high_s0", "pgd"], ["high_s1", "pgd"], ["low_s0", "pgd"]],
        }
    }
}


def row_of(page, claim):
    return next(row for row in page.split("<tr>") if f">{claim}</td>" in row)


def test_page_shows_all_verdicts_alike_and_escapes(table):
    page = verdict_page.page(table, EVIDENCE)
    assert "Statement &lt;C1&gt;" in page
    styles = {
        row_of(page, claim).split(f">{word}<")[0].rsplit("style=", 1)[1].replace(colour, "")
        for claim, word in zip(table["claim"], table["verdict"])
        for colour in [palette.VERDICTS[word]]
    }
    assert len(styles) == 1
    assert "src=" not in page
    assert "http" not in page


def test_every_claim_links_to_its_figures_its_rule_and_its_runs(table):
    page = verdict_page.page(table, EVIDENCE)
    first, second = row_of(page, "C1"), row_of(page, "C2")
    assert '<a href="figures/a2000/figure3.png">Figure 3</a>' in first
    # What is ours has no number.
    assert '<a href="tables/a2000/table_ours.csv">Two &lt;sides&gt;</a>' in first
    assert '<a href="#rule-difference">difference</a>' in first
    assert "above = 0.1" in first
    assert "3 runs" in first
    assert "evaluations/high_s1/pgd.json" in first
    assert "no figure or table" in second
    assert '<dt id="rule-difference">' in page
    assert "src/pagrepro/claims/difference.py" in page
    assert "lies above (or below) a threshold" in page


def test_no_line_is_too_long_for_docutils(table):
    many = [[f"a_run_with_quite_a_long_name_s{seed}", "eps50_linf"] for seed in range(500)]
    entry = EVIDENCE["a2000"]["C1"]
    rules = [{**entry["rules"][0], "parts": [f"comparison number {n}" for n in range(500)]}]
    page = verdict_page.page(table, {"a2000": {"C1": {**entry, "results": many, "rules": rules}}})
    assert len(page) > 40_000
    assert max(map(len, page.splitlines())) < 5_000


def test_counts_of_every_paper_and_of_all(table):
    other = table.assign(paper="b2001")
    page = verdict_page.page(pd.concat([table, other]), {})
    lines = [row for row in page.split("<tr>") if "</td>" in row][:3]
    assert [line.count("white-space:nowrap") for line in lines] == [4, 4, 4]
    counts = [re.findall(r">(\d+)<", line) for line in lines]
    assert counts == [["2", "1", "1", "1", "5"]] * 2 + [["4", "2", "2", "2", "10"]]


def test_no_claims_at_all():
    empty = judge.to_frame([])
    assert "0 confirmed, 0 contradicted, 0 inconclusive, 0 not testable" in judge.to_text(empty)
    assert "Of 0 judged claims" in verdict_page.page(empty, {})


def run(monkeypatch, script, *arguments):
    """Run a script in this process (a new one would spend its time on imports)."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(ROOT / "workflow" / "scripts" / script), run_name="__main__")


FIGURE = {"kind": "figure", "name": "figure3", "number": "Figure 3", "title": "Curves"}


def test_scripts(declared, tmp_path, table, monkeypatch, capsys):
    declared["claims"][0]["artifacts"] = [FIGURE]
    csv = tmp_path / "claims" / "a2000.csv"
    run(
        monkeypatch, "claims.py", "--claims", canonical_json(declared), "--results", tmp_path, "--output", csv
    )
    evidence = csv.with_suffix(".json")
    assert json.loads(evidence.read_text())["C1"]["artifacts"] == [FIGURE]
    run(monkeypatch, "verdicts.py", "--claims", csv, csv, "--csv", tmp_path / "claims.csv", "--html",
        tmp_path / "claims.html", "--evidence", evidence)  # fmt: skip
    shown = capsys.readouterr().out
    assert "4 confirmed, 2 contradicted, 2 inconclusive, 2 not testable" in shown
    assert "\033" not in shown
    assert pd.read_csv(tmp_path / "claims.csv")["verdict"].tolist() == table["verdict"].tolist() * 2
    assert 'href="figures/a2000/figure3.png"' in (tmp_path / "claims.html").read_text()
    assert judge.terminal_table(csv, colour=False).startswith("a2000 C1")


def test_papers_without_claims_give_an_empty_table(tmp_path, monkeypatch, capsys):
    page = tmp_path / "claims.html"
    run(monkeypatch, "verdicts.py", "--claims", "--csv", tmp_path / "claims.csv", "--html", page)
    assert pd.read_csv(tmp_path / "claims.csv").columns.tolist() == list(judge.COLUMNS)
    assert "0 confirmed" in capsys.readouterr().out
    assert "<h1>Claims" in page.read_text()
    assert "<h3" not in page.read_text()


def test_script_error_is_a_message(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(
            monkeypatch,
            "claims.py",
            "--claims",
            "{broken",
            "--results",
            tmp_path,
            "--output",
            tmp_path / "c.csv",
        )
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("error: expected JSON")


def rendered(name, links="", **names):
    """As Snakemake does it: Jinja without loaders, then docutils; links: what it adds below."""
    text = (ROOT / "workflow" / "report" / name).read_text(encoding="utf-8") + links
    text = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text).render(**names)
    settings = {"halt_level": 2, "report_level": 2}
    return publish_parts(text, writer="html", settings_overrides=settings)["html_body"]


@dataclass(frozen=True, order=True)
class Category:
    name: str


def test_first_page_of_the_report_has_the_verdicts(table, tmp_path):
    (tmp_path / "claims.html").write_text(verdict_page.page(table, EVIDENCE), encoding="utf-8")
    files = [SimpleNamespace(target="claims.csv", path=tmp_path / "claims.csv")]
    shown = [tmp_path / name for name in ("figures/a2000/figure3.png", "tables/a2000/table_ours.csv")]
    results = {
        Category(name): [SimpleNamespace(path=path)] for name, path in zip(("Figures", "Tables"), shown)
    }
    snakemake = SimpleNamespace(config={"tier": "demo"})
    categories = {Category("a2000"): results}
    # Snakemake adds a target for each category.
    links = "\n.. _a2000: javascript:app.showCategory('a2000')\n"
    page = rendered("workflow.rst", links, files=files, categories=categories, snakemake=snakemake)
    assert all(f">{word}</span>" in page for word in table["verdict"])
    assert "Statement &lt;C3&gt;" in page
    # Links open what the report holds: figures at once, tables by what is said of them.
    assert f"resultPath:'{quote(str(shown[0]))}',content:'img'" in page
    assert f"app.showResultInfo('{quote(str(shown[1]))}')" in page
    assert 'href="figures/' not in page
    assert 'href="tables/' not in page
    without = rendered("workflow.rst", files=[], categories={}, snakemake=snakemake)
    assert "not been judged yet" in without


def test_captions():
    snakemake = SimpleNamespace(
        config={"tier": "demo"},
        rule="draw_table",
        params=SimpleNamespace(title="Accuracies", caption="Of *all*."),
    )
    assert "<strong>Accuracies</strong>" in rendered("artifact.rst", snakemake=snakemake)
    assert "not testable" in rendered("claims.rst", snakemake=snakemake)
