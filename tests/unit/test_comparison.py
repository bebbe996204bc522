"""Two result folders: what is equal, what differs, what cannot be compared, what does not count."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_up import put

from pagrepro import comparison_text
from pagrepro.comparison import Tolerance, compare
from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.storage import save_tensors

SCRIPT = Path(__file__).parents[2] / "workflow/scripts/compare.py"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def read(path):
    return json.loads(path.read_text())


def edit(path, **changes):
    write(path, {**read(path), **changes})


def provenance(**changes):
    device = {"type": "cpu", "name": "one", "threads": 1}
    return {
        "versions": {"torch": "2.14.1"}, "device": device, "git": {"commit": "abc", "dirty": False},
        "host": "here", "wall_s": 1.0, **changes,
    }  # fmt: skip


def artifact(results, kind, name, number, sources, table):
    path = getattr(Layout(results), kind)("paper2000", name).with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = [{"run": run, "result": result, "spec_hash": f"hash of {run}"} for run, result in sources]
    write(path.with_suffix(".json"), {"number": number, "inputs": inputs})
    pd.DataFrame(table).to_csv(path, index=False)


def fill(results):
    """A small folder with something of everything."""
    layout = Layout(results)
    run = {
        "run": "a",
        "status": "complete",
        "spec_hash": "s",
        "revisions": {"fit": 1},
        "metrics": {"loss": 0.5},
    }
    outputs = {"model.safetensors": "00", "history.jsonl": "times differ"}
    write(layout.run_json("a"), {**run, "outputs": outputs, "provenance": provenance()})
    save_tensors(layout.field_shard("f", 0), {"x": torch.ones(3)}, {"inputs": "hash of something with times"})
    field = {"spec_hash": "s", "revisions": {}, "shards": ["000.safetensors"], "content": ["sha256:1"]}
    write(layout.field_json("f"), field)
    values = {"accuracy": 0.25, "undefined": None}
    put(results, "a", "clean", values, {"margin": np.array([1.0, math.nan]), "label": np.array([1, 2])})
    put(results, "a", "cost", {"seconds": 1.0}, spec={"measure": {"name": "step_cost"}})
    cells = {
        "row": ["Vanilla", "hours"],
        "measured": ["25.0", "0.1"],
        "n_seeds": ["1", "1"],
        "note": ["", ""],
    }
    artifact(results, "table", "table1", "Table 1", [("a", "clean")], cells)
    artifact(results, "table", "table2", "Table 2", [("a", "cost")], {"row": ["x"], "measured": [1.0]})
    artifact(results, "figure", "figure1", "Figure 1", [("a", "clean")], {"run": ["a"], "accuracy": [0.25]})
    claims = [
        {"paper": "paper2000", "claim": "K1", "place": "Table 1", "verdict": "confirmed", "n_seeds": 1,
         "effect": 0.25, "low": math.nan, "high": 0.5},
        {"paper": "paper2000", "claim": "K2", "place": "Table 2", "verdict": "confirmed", "n_seeds": 1,
         "effect": 1.0, "low": 0.5, "high": 2.0},
    ]  # fmt: skip
    pd.DataFrame(claims).to_csv(results / "claims.csv", index=False)


@pytest.fixture
def both(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    fill(a)
    shutil.copytree(a, b)
    return a, b


def found(both, **options):
    """(part, name, quantity, how) of what counts."""
    differences = compare(*both, **options).differences
    return [(d.part, d.name, d.quantity, d.how) for d in differences if d.counts]


def test_identical_folders_are_equal_and_nan_equals_nan(both):
    result = compare(*both, weights=True)
    assert (result.equal, result.differences) == (True, [])
    assert result.compared == {
        "runs": 1, "weights": 1, "fields": 1, "results": 2, "tables": 2, "figures": 1, "claims": 2
    }  # fmt: skip
    assert comparison_text.text(result, Tolerance()).startswith("equal, bit for bit\n")


def test_a_value_that_differs(both):
    edit(Layout(both[1]).result("a", "clean"), values={"accuracy": 0.2, "undefined": None})
    (difference,) = compare(*both).differences
    assert (difference.name, difference.quantity) == ("a/clean", "accuracy")
    assert (difference.a, difference.b) == (0.25, 0.2)
    assert difference.relative == pytest.approx(0.2)
    assert difference.counts


@pytest.mark.parametrize(
    ("rtol", "atol", "equal"), [(0, 0, False), (0.1, 0, False), (0.21, 0, True), (0, 0.051, True)]
)
def test_tolerances(both, rtol, atol, equal):
    edit(Layout(both[1]).result("a", "clean"), values={"accuracy": 0.2, "undefined": None})
    result = compare(*both, Tolerance(rtol, atol))
    assert result.equal == equal
    assert len(result.differences) == 1, "what is within is told all the same"


def test_tolerances_are_symmetric_and_know_infinity():
    a, b = np.array([1.0, math.inf, math.nan, math.inf, 0.0]), np.array([1.1, math.inf, math.nan, 1.0, -0.0])
    for x, y in ((a, b), (b, a)):
        assert Tolerance(rtol=0.1).within(x, y).tolist() == [True, True, True, False, True]


def test_a_number_that_became_nan(both):
    edit(Layout(both[1]).result("a", "clean"), values={"accuracy": None, "undefined": None})
    (difference,) = compare(*both, Tolerance(rtol=10.0)).differences
    assert difference.relative == math.inf
    assert difference.counts


def test_what_only_one_has(both):
    put(both[1], "a", "pgd", {})
    shutil.rmtree(Layout(both[1]).run_folder("a"))
    assert found(both) == [("runs", "a", "", "only in A"), ("results", "a/pgd", "", "only in B")]
    text = comparison_text.text(compare(*both), Tolerance())
    assert "results a/pgd: only in B" in text


def test_another_spec_is_not_compared(both):
    edit(Layout(both[1]).result("a", "clean"), spec_hash="other", values={"accuracy": 0.0})
    assert found(both) == [("results", "a/clean", "", "another specification")]


def test_another_revision_alone_is_told_and_does_not_count(both):
    edit(Layout(both[1]).run_json("a"), revisions={"fit": 2})
    result = compare(*both)
    assert result.equal
    assert [(d.quantity, d.how) for d in result.differences] == [("fit", "another revision")]
    assert "1 of them were made by code of other revisions" in comparison_text.summary(result, Tolerance())


def test_status_metrics_and_flags(both):
    edit(Layout(both[1]).run_json("a"), status="diverged", metrics={"loss": None})
    edit(Layout(both[1]).result("a", "clean"), flags=["zero gradients"])
    assert [(part, quantity) for part, _, quantity, _ in found(both)] == [
        ("runs", "status"), ("runs", "loss"), ("results", "flags")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"margin": [1.0, math.nan], "label": [1, 2]}, []),
        ({"margin": [1.5, math.nan], "label": [1, 2]}, ["array margin"]),
        ({"margin": [1.0, 2.0], "label": [1, 3]}, ["array label", "array margin"]),
        ({"margin": [1.0], "label": [1, 2]}, ["array margin"]),
        ({"margin": [1.0, math.nan], "more": [1]}, ["array label", "array more"]),
    ],
)
def test_arrays(both, arrays, expected):
    np.savez(Layout(both[1]).arrays("a", "clean"), **{k: np.array(v) for k, v in arrays.items()})
    assert [quantity for _, _, quantity, _ in found(both)] == expected


def test_arrays_that_one_lacks_or_both(both):
    Layout(both[1]).arrays("a", "clean").unlink()
    assert found(both) == [("results", "a/clean", "arrays", "only in A")]
    Layout(both[0]).arrays("a", "clean").unlink()
    assert found(both) == []


def test_cells_of_tables_and_figures(both):
    cells = {"row": ["Vanilla", "hours"], "measured": ["24.0", "0.1"], "n_seeds": [1, 1], "note": ["x", ""]}
    artifact(both[1], "table", "table1", "Table 1", [("a", "clean")], cells)
    artifact(
        both[1], "figure", "figure1", "Figure 1", [("a", "clean")], {"run": ["a", "b"], "accuracy": [1, 2]}
    )
    assert found(both) == [
        ("tables", "paper2000/table1", "measured", "value"),
        ("tables", "paper2000/table1", "note, row 1", "value"),
        ("figures", "paper2000/figure1", "rows and columns", "value"),
    ]


def test_a_cell_that_is_text_in_one(both):
    cells = {
        "row": ["Vanilla", "hours"],
        "measured": ["diverged", "0.1"],
        "n_seeds": [1, 1],
        "note": ["", ""],
    }
    artifact(both[1], "table", "table1", "Table 1", [("a", "clean")], cells)
    assert found(both) == [("tables", "paper2000/table1", "measured, row 1", "value")]


def test_a_table_of_other_results_is_not_compared(both):
    artifact(both[1], "table", "table1", "Table 1", [("b", "clean")], {"row": ["x"]})
    assert found(both) == [("tables", "paper2000/table1", "made from", "another specification")]


def test_verdicts(both):
    claims = pd.read_csv(both[1] / "claims.csv")
    claims.loc[0, "verdict"] = "contradicted"
    claims.to_csv(both[1] / "claims.csv", index=False)
    assert found(both) == [("claims", "paper2000 K1", "verdict", "value")]
    assert "paper2000 K1 verdict: confirmed | contradicted" in comparison_text.text(
        compare(*both), Tolerance()
    )
    claims.iloc[1:].to_csv(both[1] / "claims.csv", index=False)
    assert found(both) == [("claims", "paper2000 K1", "verdict", "only in A")]


def test_timings_are_told_apart_and_do_not_count(both):
    edit(Layout(both[1]).result("a", "cost"), values={"seconds": 2.0})
    artifact(both[1], "table", "table2", "Table 2", [("a", "cost")], {"row": ["x"], "measured": [2.0]})
    cells = {"row": ["Vanilla", "hours"], "measured": ["25.0", "0.2"], "n_seeds": [1, 1], "note": ["", ""]}
    artifact(both[1], "table", "table1", "Table 1", [("a", "clean")], cells)
    claims = pd.read_csv(both[1] / "claims.csv")
    claims.loc[1, "effect"] = 2.0
    claims.to_csv(both[1] / "claims.csv", index=False)
    result = compare(*both)
    assert result.equal
    assert [(d.part, d.name) for d in result.differences if d.timing] == [
        ("results", "a/cost"), ("tables", "paper2000/table1 (wall times)"), ("tables", "paper2000/table2"),
        ("claims", "paper2000 K2"),
    ]  # fmt: skip
    assert "Timings (they do not count):" in comparison_text.text(result, Tolerance())


def test_a_verdict_counts_even_of_a_timing(both):
    claims = pd.read_csv(both[1] / "claims.csv")
    claims.loc[1, "verdict"] = "contradicted"
    claims.to_csv(both[1] / "claims.csv", index=False)
    assert found(both) == [("claims", "paper2000 K2", "verdict", "value")]


def test_weights_and_fields_are_compared_when_asked_for(both):
    edit(Layout(both[1]).run_json("a"), outputs={"model.safetensors": "11", "history.jsonl": "x"})
    shard = Layout(both[1]).field_shard("f", 0)
    save_tensors(shard, {"x": torch.ones(3)}, {"inputs": "another hash"})
    assert found(both) == []
    assert found(both, weights=True) == [("weights", "a", "model.safetensors", "value")]
    save_tensors(shard, {"x": torch.zeros(3)}, {"inputs": "another hash"})
    assert found(both, weights=True)[1:] == [("fields", "f", "000.safetensors", "value")]


def test_machines_and_code_that_differ_are_named(both):
    new = provenance(host="there", git={"commit": "def", "dirty": True}, versions={"torch": "3"})
    edit(Layout(both[1]).run_json("a"), provenance=new)
    result = compare(*both)
    assert result.equal
    text = comparison_text.text(result, Tolerance())
    for line in (
        "version of torch: 2.14.1  |  3",
        "commit: abc  |  def with changes",
        "host: here  |  there",
    ):
        assert line in text
    assert "threads" not in text


def test_folders_without_anything_in_common(both, tmp_path):
    shutil.rmtree(both[1])
    put(both[1], "b", "clean", {})
    result = compare(*both)
    assert not result.equal
    assert "nothing is in both folders" in comparison_text.summary(result, Tolerance())


def test_long_lists_are_cut(both):
    for number in range(30):
        put(both[1], f"more{number}", "clean", {})
    text = comparison_text.text(compare(*both), Tolerance(), limit=5)
    assert "... and 25 more" in text
    assert len(text.splitlines()) < 25


def run(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_script_exits_with_1_unless_equal(both, tmp_path):
    assert run(*both).returncode == 0
    edit(Layout(both[1]).result("a", "clean"), values={"accuracy": 0.2, "undefined": None})
    done = run(*both, "--output", tmp_path / "all.csv")
    assert done.returncode == 1
    assert done.stdout.startswith("DIFFERENT, bit for bit")
    assert "clean accuracy: 0.2 (0.25 | 0.2, a/clean); differs in 1" in done.stdout
    assert pd.read_csv(tmp_path / "all.csv")["quantity"].tolist() == ["accuracy"]
    assert run(*both, "--rtol", "0.5").returncode == 0
    assert "no folder of results" in run(both[0], tmp_path / "nowhere").stderr


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_sidecar_is_named(both, content):
    write(Layout(both[1]).result("a", "clean"), content)
    with pytest.raises(DataError, match=r"a/clean\.json: no"):
        compare(*both)
