"""Fits that fail or diverge, and files that cannot be had: what is left on disk and what the user reads."""

import csv
import json
from pathlib import Path

import pytest
from sandbox import Ended, Sandbox, Server
from small_workflow import small


@pytest.fixture(scope="module")
def broken(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """One member of the pack of fits and one of the pack of fields cannot work, and a file is to be
    downloaded from where nobody answers."""
    tiny = small()
    paper, settings = tiny.paper, tiny.paper["settings"]
    settings["members"] = [{"seed": 0, "lr": 0.01, "batch": 60}, {"seed": 1, "lr": 0.01, "batch": 1000}]
    settings["near"] = [{"seed": 0, "pool": "all"}, {"seed": 1, "pool": 1000}]
    paper["runs"]["plain"]["fit"]["batch_size"] = "$member.batch"
    near = paper["fields"]["near"]
    near |= {"grid": {"near": "$near"}, "name": "line_near_s{near.seed}", "seed": "$near.seed"}
    near["field"]["pool"] = "$near.pool"
    tiny.tier["packs"].append({"name": "near", "stage": "field", "match": ["line_near_*"]})
    tiny.tier["unavailable"] = []
    return Sandbox(tmp_path_factory.mktemp("broken"), tiny, server)


@pytest.fixture(scope="module")
def failed(broken: Sandbox) -> Ended:
    models, fields = broken.results / "models", broken.results / "fields"
    targets = [models / "line_plain_s0" / "run.json", fields / "line_near_s0" / "field.json"]
    names = [str(path.relative_to(broken.root)) for path in targets]
    return broken.snakemake("--keep-going", "--show-failed-logs", *names, "downloads")


def assert_kept(folder: Path) -> None:
    """A finished piece of work with its record lies there, out of reach of Snakemake's cleaning up."""
    (record,) = folder.glob("*/kept.json")
    assert all((record.parent / name).is_file() for name in json.loads(record.read_text()))


def test_failures_end_with_an_exit_status_and_no_python_traceback(failed: Ended) -> None:
    assert failed.status == 1
    assert "Traceback" not in failed.text


def test_a_failed_fit_is_named_and_leaves_the_finished_members(broken: Sandbox, failed: Ended) -> None:
    assert "failed: line_plain_s1: " in failed.text
    assert "failed: line_plain_s0" not in failed.text
    assert_kept(broken.results / "kept" / "models" / "line_plain_s0")
    assert not (broken.results / "kept" / "models" / "line_plain_s1").exists()


def test_a_failed_field_is_named_and_leaves_the_finished_members(broken: Sandbox, failed: Ended) -> None:
    assert "failed: line_near_s1: " in failed.text
    assert "1000" in broken.log("make_field/pack_near_0")
    assert_kept(broken.results / "kept" / "fields" / "line_near_s0" / "000")
    assert not (broken.results / "kept" / "fields" / "line_near_s1").exists()


def test_a_file_that_cannot_be_had_names_the_line_to_add(broken: Sandbox, failed: Ended) -> None:
    assert "source archive (a.tar.gz, sha256:0000" in failed.text
    assert "http://127.0.0.1:9/a" in failed.text
    assert "add to config/tiers/<tier>.yaml: `unavailable: [archive]`" in failed.text
    assert not list((broken.root / "resources" / "sources").rglob("a.tar.gz"))


def test_a_diverged_fit_is_a_result_that_the_table_carries(finished: Sandbox) -> None:
    run = json.loads((finished.results / "models" / "line_wild_s0" / "run.json").read_text())
    assert run["status"] == "diverged"
    result = json.loads((finished.results / "evaluations" / "line_wild_s0" / "clean.json").read_text())
    assert result["status"] == "diverged"
    rows = list(csv.DictReader((finished.results / "tables" / "tiny" / "table1.csv").open()))
    assert {row["row"] for row in rows if "1 of 1 diverged" in row["note"]} == {"Wild"}
    assert "1 of 1 diverged" in (finished.results / "tables" / "tiny" / "table1.md").read_text()
