"""Benchmarks of data, fields, processes and the workflow itself: what they report, right and wrong."""

import pytest
import torch
from benchmark_modules import FOLDER, load

CPU = torch.device("cpu")


def test_tangent_spaces_are_the_same_every_way():
    """Times are not judged."""
    spaces = load("tangent_space")
    result = spaces.run(CPU, quick=True)
    forward, _, backward = result["rows"]
    assert [row["variant"] for row in result["rows"]] == list(spaces.VARIANTS)
    assert backward["time ratio"] == 1
    assert all(row["error"] < spaces.ERROR_LIMIT and row["seconds"] > 0 for row in result["rows"])
    wrong = {**forward, "error": 1e-9, "time ratio": 0.06}
    assert [bar["met"] for bar in spaces.bars([wrong])] == [False, False]
    right = {**forward, "error": 1e-11, "time ratio": 0.05}
    assert [bar["met"] for bar in spaces.bars([right])] == [True, True]


def test_data_loading_makes_the_same_pixels():
    """Times are not judged."""
    loading = load("data_loading")
    result = loading.run(CPU, quick=True)
    ours, theirs = result["rows"]
    assert ours["error"] == 0
    assert theirs["wall ratio"] == theirs["CPU ratio"] == 1
    assert ours["images per s, wall"] > theirs["images per s, wall"] > 0
    assert loading.bars([ours])[2]["met"]
    slow = {**ours, "wall ratio": 0.11, "CPU ratio": 0.2, "error": 0.1}
    assert [bar["met"] for bar in loading.bars([slow])] == [False, False, False]


def test_data_loading_tells_another_crop(monkeypatch):
    loading = load("data_loading")
    kind = type(loading.draw(loading.AUGMENT, 1, (3, 32, 32), torch.Generator()))
    apply = kind.apply
    monkeypatch.setattr(kind, "apply", lambda self, x: apply(self, x).roll(1, -1))
    assert loading.difference(4) > 0.1


def test_data_loading_takes_every_image_of_the_epoch_once():
    loading = load("data_loading")
    pixels, labels = loading.images(300)
    data = loading.Images(pixels, labels, loading.transforms())
    assert len(data) == 300
    x, y = data[7]
    assert (x.shape, y) == ((3, 32, 32), labels[7])
    kept = loading.TrainingData(torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels), 10)
    assert loading.resident(loading.Batches(kept, loading.BATCH, True, 0), 2, CPU) == 2 * loading.BATCH


def test_startup_starts_every_program(monkeypatch):
    """Seconds are not judged; a fit of one step is a real one."""
    startup = load("startup")
    result = startup.run(CPU, quick=True)
    spent = {row["variant"]: row["seconds of CPU"] for row in result["rows"]}
    assert list(spent) == [
        startup.PYTHON, startup.TORCH, startup.SNAKEFILE, startup.TRAIN, startup.EVALUATE, startup.FIT,
    ]  # fmt: skip
    assert spent[startup.PYTHON] < spent[startup.SNAKEFILE] < spent[startup.TORCH]
    *_, torch_free = result["bars"]
    assert torch_free["met"]
    slow = [{**row, "seconds of CPU": 3.5} for row in result["rows"]]
    assert [bar["met"] for bar in startup.bars(slow, torch_free=False)] == [False] * 5


def test_startup_tells_a_job_that_fails():
    process = load("_process")
    with pytest.raises(RuntimeError, match="nothing here"):
        process.launched([process.sys.executable, "-c", "raise SystemExit('nothing here')"], FOLDER)


def test_dag_finds_a_finished_workflow_finished():
    """Seconds are not judged; the workflow is the real one."""
    dag = load("dag")
    result = dag.run(CPU, quick=True)
    dry, nothing = result["rows"]
    assert dry["jobs"] > 20
    ratio = result["settings"]["this machine is slower by"]
    for row in (dry, nothing):
        assert row["CPU by the speed of the machine"] == pytest.approx(
            row["seconds of CPU"] / ratio, rel=0.05
        )
    slow = [{**row, "CPU by the speed of the machine": 16} for row in result["rows"]]
    judged = dag.bars(slow)
    assert [bar["met"] for bar in judged] == [False, False]
    assert all("by the speed of the machine" in bar["bar"] for bar in judged)


def test_machine_compares_this_one_with_that_of_the_budgets():
    rows = load("machine").run(CPU, quick=True)["rows"]
    assert len(rows) == 3
    for row in rows:
        assert row["ms here"] > 0
        assert row["ratio"] == pytest.approx(row["ms here"] / row["ms then"])


def test_scaling_lengthens_seeds_and_nothing_else():
    more = load("scaling").more_seeds
    before = {"a": {"seeds": [0, 1], "sweep_seeds": [3], "radii": [1, 2], "grid": [{"seeds_one_image": [0]}]}}
    after = {"a": {"seeds": list(range(6)), "sweep_seeds": [0, 1, 2], "radii": [1, 2]}}
    after["a"]["grid"] = [{"seeds_one_image": [0, 1, 2]}]
    assert more(before, 3) == after
    assert more(before, 1) == before | {"a": before["a"] | {"sweep_seeds": [0]}}
