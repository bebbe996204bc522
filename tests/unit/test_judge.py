"""From declared claims to claims.csv, the terminal, the page and the report's first page."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pandas as pd
import pytest
from docutils.core import publish_parts
from made_up import group, put

from pagrepro import judge
from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.spec import canonical_json
from pagrepro.statistics import VERDICTS

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


def test_page_shows_all_verdicts_alike_and_escapes(table):
    page = judge.to_html(table, {"a2000": ["figures/a2000/figure3.png"]})
    assert "Statement &lt;C1&gt;" in page
    assert '<a href="figures/a2000/figure3.png">' in page
    styles = {
        page.split(f">{word}<")[0].rsplit("style=", 1)[1].replace(judge.HTML[word], "") for word in VERDICTS
    }
    assert len(styles) == 1
    assert "src=" not in page


def test_no_claims_at_all():
    empty = judge.to_frame([])
    assert "0 confirmed, 0 contradicted, 0 inconclusive, 0 not testable" in judge.to_text(empty)
    assert "Of 0 judged claims" in judge.to_html(empty)


def run(monkeypatch, script, *arguments):
    """Run a script in this process (a new one would spend its time on imports)."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(ROOT / "workflow" / "scripts" / script), run_name="__main__")


def test_scripts(declared, tmp_path, table, monkeypatch, capsys):
    csv = tmp_path / "claims" / "a2000.csv"
    run(
        monkeypatch, "claims.py", "--claims", canonical_json(declared), "--results", tmp_path, "--output", csv
    )
    figure = tmp_path / "figures" / "a2000" / "figure3.png"
    run(monkeypatch, "verdicts.py", "--claims", csv, csv, "--csv", tmp_path / "claims.csv", "--html",
        tmp_path / "claims.html", "--artifacts", figure)  # fmt: skip
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
    assert "0 confirmed" in page.read_text()


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


def rendered(name, **names):
    """As Snakemake does it: Jinja without loaders, then docutils."""
    text = (ROOT / "workflow" / "report" / name).read_text(encoding="utf-8")
    text = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(text).render(**names)
    settings = {"halt_level": 2, "report_level": 2}
    return publish_parts(text, writer="html", settings_overrides=settings)["html_body"]


def test_first_page_of_the_report_has_the_verdicts(table, tmp_path):
    page = tmp_path / "claims.html"
    page.write_text(judge.to_html(table), encoding="utf-8")
    files = [SimpleNamespace(target="claims.html", path=page)]
    snakemake = SimpleNamespace(config={"tier": "demo"})
    shown = rendered("workflow.rst", files=files, categories={}, snakemake=snakemake)
    assert all(f">{word}</span>" in shown for word in VERDICTS)
    assert "Statement &lt;C3&gt;" in shown
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
