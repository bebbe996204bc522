"""The page of a tier that has really been run, and what `progress.py` reads off its files."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import Sandbox

from pagrepro import pack, progress
from pagrepro.configuration import load
from pagrepro.expand import expand_loaded
from pagrepro.layout import Layout


@pytest.fixture
def content(finished: Sandbox) -> dict:
    """The data of the page."""
    text = (finished.results / "index.html").read_text()
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1]
    )


def test_the_page_shows_what_was_measured(finished: Sandbox, content: dict) -> None:
    assert [run["name"] for run in content["runs"]] == [
        "line_plain_s0", "line_plain_s1", "line_aligned_s0", "line_wild_s0",
    ]  # fmt: skip
    for run in content["runs"]:
        assert run["sidecar"] == json.loads((finished.results / run["folder"] / "run.json").read_text())
        for name, result in run["results"].items():
            stored = json.loads((finished.results / "evaluations" / run["name"] / f"{name}.json").read_text())
            finite = {key: value for key, value in stored["values"].items() if value is not None}
            assert (result["values"], result["status"]) == (finite, stored["status"])
    assert {run["name"]: run["status"] for run in content["runs"]}["line_wild_s0"] == "diverged"


def test_the_page_shows_claims_and_artifacts(finished: Sandbox, content: dict) -> None:
    with (finished.results / "claims.csv").open(newline="") as file:
        verdicts = {row["claim"]: row["verdict"] for row in csv.DictReader(file)}
    assert {claim["claim"]: claim["verdict"] for claim in content["claims"]} == verdicts
    used = {c["claim"]: [content["runs"][n]["name"] for n in c["runs"]] for c in content["claims"]}
    assert used == {"K1": ["line_plain_s0", "line_plain_s1", "line_aligned_s0"], "K2": []}
    for artifact in content["artifacts"]:
        assert all((finished.results / file).is_file() for file in artifact["files"])
    assert [artifact["name"] for artifact in content["artifacts"]] == ["table1", "figure2"]


def test_an_edit_of_the_page_makes_the_page_alone(finished: Sandbox) -> None:
    path = finished.root / "workflow/page/page.js"
    before = path.read_text()
    path.write_text(before + "// an edit\n")
    try:
        assert finished.dry().rules == ["all", "page"]
    finally:
        path.write_text(before)


def look(sandbox: Sandbox) -> str:
    """What `progress.py` prints."""
    script = Path("workflow/scripts/progress.py")
    command = [sys.executable, str(script), "--tier", "tiny"]
    environment = os.environ | {"PYTHONPATH": str(sandbox.root / "src")}
    done = subprocess.run(command, cwd=sandbox.root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_progress_of_a_finished_tier(finished: Sandbox) -> None:
    config = {"papers": ["tiny"], "tier": "tiny"}
    loaded = load(config, finished.root)
    expansion = expand_loaded(loaded, finished.root)
    jobs = pack.jobs(expansion, loaded)
    for job in jobs:
        log = progress.log_of(job, Layout(finished.results))
        assert log.is_file(), log
        assert progress.script.used(progress.end_of(log))
    assert (
        look(finished).splitlines()[0]
        == f"tier tiny: {len(jobs)} of {len(jobs)} jobs done, 0 running, 0 left"
    )


def test_progress_of_a_run_under_way(finished: Sandbox, tmp_path: Path) -> None:
    """As it is between the two fits of a pack."""
    sandbox = finished.copy(tmp_path)
    log = sandbox.results / "logs/train/pack_plain_0.log"
    text = log.read_text()
    log.write_text(text[: text.index("line_plain_s1: starts")] + "line_plain_s1: starts at step 0 of 8\n")
    for run in ("line_plain_s1", "line_wild_s0"):
        (sandbox.results / "models" / run / "run.json").unlink()
    lines = look(sandbox).splitlines()
    assert "1 running" in lines[0]
    assert "2 of 4 fits" in lines[1]
    assert re.match(r"about \d+ s left, with 1 at a time", lines[2])
    assert lines[3] == "  train plain_0: 1 of 3  line_plain_s1: begun"
