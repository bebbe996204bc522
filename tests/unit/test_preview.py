"""Previews draw what is finished, mark what is not, leave out what is stale, and start nothing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import Tiny

from pagrepro import artifact, pack, preview
from pagrepro.errors import DataError
from pagrepro.expansion import Expansion
from pagrepro.layout import Layout

ROOT = Path(__file__).parents[2]
RUNS = [f"line_{method}_s{seed}" for method in ("plain", "aligned") for seed in (0, 1, 2)]


@pytest.fixture
def expansion(tmp_path) -> Expansion:
    return Tiny().expand(tmp_path)


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout(tmp_path / "results/tiny")


def make_result(expansion: Expansion, layout: Layout, run: str, name: str, accuracy: float, **other) -> None:
    """A made-up result, as `measure.py` would write it."""
    wanted = expansion.evaluations[run, name]
    path = layout.result(run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "run": run, "evaluation": name, "status": "complete", "values": {"accuracy": accuracy}, "flags": [],
        "arrays": ["correct"], "spec": wanted.spec, "spec_hash": wanted.hash, "seed": 0,
        "revisions": pack.revisions_of("evaluate", wanted.spec), **other,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    np.savez(layout.arrays(run, name), correct=np.arange(60) < 60 * accuracy)


def finish(expansion: Expansion, layout: Layout, runs: list[str]) -> None:
    for run in runs:
        robust = 0.7 if "aligned" in run else 0.0
        make_result(expansion, layout, run, "clean", 1.0)
        make_result(expansion, layout, run, "pgd", robust + 0.01 * int(run[-1]))


def states(drawn: list[preview.Drawn]) -> dict[str, str]:
    return {item.name: item.state for item in drawn}


def table(layout: Layout) -> pd.DataFrame:
    return pd.read_csv(layout.results / "preview/tables/tiny/table1.csv").set_index(["row", "column"])


def verdicts(layout: Layout) -> pd.Series:
    return pd.read_csv(layout.results / "preview/claims/tiny.csv").set_index("claim")["verdict"]


def test_nothing_finished_draws_nothing(expansion, layout):
    drawn = preview.draw_all(expansion, layout)
    assert states(drawn)["table1"] == "incomplete: 0 of 6 runs; not drawn"
    assert not (layout.results / "preview/tables").exists()
    assert list(verdicts(layout)) == ["inconclusive", "not testable"]


def test_partly_finished_is_drawn_and_marked(expansion, layout):
    finish(expansion, layout, [run for run in RUNS if not run.endswith("s2")])
    drawn = preview.draw_all(expansion, layout)
    assert states(drawn)["table1"] == "incomplete: 4 of 6 runs"
    rows = table(layout)
    assert rows.loc[("Aligned", "PGD"), "n_seeds"] == 2
    assert rows.loc[("Aligned", "PGD"), "measured"] == pytest.approx(70.5)
    assert rows["note"].str.contains("incomplete: 4 of 6 runs").all()
    sidecar = json.loads((layout.results / "preview/tables/tiny/table1.json").read_text())
    assert sidecar["incomplete"] == "incomplete: 4 of 6 runs"
    assert "incomplete: 4 of 6 runs" in (layout.results / "preview/tables/tiny/table1.md").read_text()
    # Which runs finish first may depend on what they measure: no verdict before the last.
    assert list(verdicts(layout)) == ["inconclusive", "not testable"]
    assert "0 of 2 complete" in preview.summary(drawn)


def test_finished_is_complete_and_judged(expansion, layout):
    finish(expansion, layout, RUNS)
    drawn = preview.draw_all(expansion, layout)
    assert states(drawn)["table1"] == "complete"
    assert "incomplete" not in (layout.results / "preview/tables/tiny/table1.md").read_text()
    assert list(verdicts(layout)) == ["confirmed", "not testable"]
    assert preview.summary(drawn).endswith("2 of 2 complete")


STALE = {
    "another spec": {"spec_hash": "0" * 16},
    "no spec": {"spec_hash": None},
    "earlier code": {"revisions": {"measure": 0}},
}


@pytest.mark.parametrize("change", STALE.values(), ids=STALE)
def test_stale_result_is_missing(expansion, layout, change):
    finish(expansion, layout, RUNS)
    make_result(expansion, layout, RUNS[-1], "pgd", 0.0, **change)
    assert states(preview.draw_all(expansion, layout))["table1"] == "incomplete: 5 of 6 runs"
    rows = table(layout)
    assert rows.loc[("Aligned", "PGD"), "n_seeds"] == 2
    assert rows.loc[("Aligned", "Clean"), "n_seeds"] == 3
    assert rows.loc[("Aligned", "PGD"), "measured"] == pytest.approx(70.5)


def test_changed_setting_makes_results_stale(tmp_path, expansion, layout):
    finish(expansion, layout, RUNS)
    changed = Tiny()
    changed.paper["settings"]["weight"] = 0.25
    drawn = preview.draw_all(changed.expand(tmp_path), layout)
    assert states(drawn)["table1"] == "incomplete: 3 of 6 runs"
    assert pd.isna(table(layout).loc[("Aligned", "PGD"), "measured"])


def test_half_a_result_is_missing(expansion, layout):
    finish(expansion, layout, RUNS)
    layout.arrays(RUNS[0], "pgd").unlink()
    layout.result(RUNS[1], "clean").write_text('{"run": ')
    assert states(preview.draw_all(expansion, layout))["table1"] == "incomplete: 4 of 6 runs"


def test_history_counts_only_beside_its_own_run(expansion, layout):
    run = expansion.runs[RUNS[0]]
    layout.run_folder(run.name).mkdir(parents=True)
    layout.history(run.name).write_text("{}\n")
    assert not preview.finished(expansion, layout).history(run.name).is_file()
    sidecar = {"spec_hash": run.hash, "revisions": pack.revisions_of("train", run.spec)}
    layout.run_json(run.name).write_text(json.dumps(sidecar))
    assert preview.finished(expansion, layout).history(run.name).is_file()


def test_earlier_preview_is_removed_and_nothing_else(expansion, layout):
    finish(expansion, layout, RUNS)
    preview.draw_all(expansion, layout)
    for path in layout.results.glob("evaluations/*/*.json"):
        path.write_text("{}")
    before = sorted(layout.results.glob("evaluations/*/*"))
    preview.draw_all(expansion, layout)
    assert not (layout.results / "preview/tables").exists()
    assert sorted(layout.results.glob("evaluations/*/*")) == before


def test_one_failure_does_not_hold_up_the_rest(expansion, layout, monkeypatch, capsys):
    finish(expansion, layout, RUNS)
    monkeypatch.setattr(artifact, "draw", lambda context: [][0])
    drawn = preview.draw_all(expansion, layout)
    assert [item.error for item in drawn] == [True, False]
    assert drawn[0].state.startswith("failed: IndexError")
    assert "Traceback" in capsys.readouterr().err
    assert verdicts(layout)["K1"] == "confirmed"


@pytest.mark.parametrize(("runs", "error"), [(RUNS[:5], False), (RUNS, True)], ids=["incomplete", "complete"])
def test_too_few_results_are_a_fault_only_when_none_is_missing(expansion, layout, monkeypatch, runs, error):
    def draw(context):
        for group in ("plain", "aligned"):
            context.results(group, "pgd")
        raise DataError("too few")

    finish(expansion, layout, runs)
    monkeypatch.setattr(artifact, "draw", draw)
    assert preview.draw_all(expansion, layout)[0].error is error


def test_script_starts_no_job_and_needs_no_torch(tmp_path):
    tiny = Tiny()
    finish(tiny.expand(tmp_path), Layout(tmp_path / "results/tiny"), RUNS[:4])
    alone = (
        "import sys, subprocess, runpy\n"
        "sys.modules['torch'] = None\n"
        "subprocess.Popen = subprocess.run = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    script = str(ROOT / "workflow/scripts/preview.py")
    command = [sys.executable, "-c", alone, script, "--config", json.dumps(tiny.config)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "incomplete: 4 of 6 runs" in done.stdout
    assert (tmp_path / "results/tiny/preview/tables/tiny/table1.md").is_file()
    assert not (tmp_path / ".snakemake").exists()
