"""Jobs that measure and make fields: what they write, what they keep, what survives a failure."""

import json
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pagrepro import plugins
from pagrepro.errors import DataError, StateError
from pagrepro.evaluations import accuracy
from pagrepro.fields import nearest_neighbour
from pagrepro.layout import Layout
from pagrepro.load import load_field
from pagrepro.make_field import make_all, shard_rows
from pagrepro.measuring import measure_all, measure_run
from pagrepro.spec import spec_hash
from pagrepro.storage import read_json, read_metadata, save_tensors, write_json

CPU = torch.device("cpu")
SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"

DATA = plugins.resolve("data", {"name": "toy_line", "per_mode_train": 10, "per_mode_test": 5})
TOY = {
    "name": "toy_line", "data": DATA, "classes": 2, "shape": [2], "low": None, "high": None, "seed": 3,
    "parts": {"train": 60, "test": 30}, "files": {},
}  # fmt: skip
TRAIN, TEST = ({"name": p, "part": p, "indices": None, "sha256": None} for p in ("train", "test"))
FIELD = plugins.resolve("fields", {"name": "nearest_neighbour", "pool": 4, "coordinates": "raw"})
TASK = plugins.resolve(
    "tasks",
    {
        "name": "classifier",
        "model": {"name": "toy_mlp"},
        "objective": {"name": "cosine_alignment", "weight": 0.5},
        "optimizer": {"name": "adam", "lr": 0.01},
    },
)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "results", tmp_path / "resources")


def field_member(name="targets", shards=1, split=TRAIN, seed=0, **options):
    spec = {
        "field": {**FIELD, **options},
        "dataset": TOY,
        "split": split,
        "seed": seed,
        "shards": shards,
        "inputs": {},
    }
    return {"name": name, "spec": spec, "revisions": {"fields.nearest_neighbour": 1}}


def write_run(layout, name="run", seed=0, status="complete"):
    """A run as a finished fit leaves it, with weights drawn instead of fitted."""
    targets = {"field": "targets", "hash": spec_hash(field_member()["spec"])}
    spec = {
        "task": TASK, "dataset": TOY, "split": TRAIN, "monitor": [], "seed": seed,
        "inputs": {"targets": targets}, "fit": {"epochs": 1, "batch_size": 16, "drop_last": True},
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = plugins.instantiate("models", TASK["model"], (2,), 2)
    save_tensors(layout.weights(name), model.state_dict())
    write_json(layout.run_json(name), {"spec": spec, "spec_hash": spec_hash(spec), "status": status})
    return spec_hash(spec)


def member(run_hash, evaluation="clean", inputs=None, seed=0, run="run", **chosen):
    spec = {
        "measure": plugins.resolve("evaluations", chosen or {"name": "accuracy"}),
        "dataset": TOY, "split": TEST, "seed": seed, "batch_size": 8,
        "run": {"hash": run_hash, "weights": "final"}, "inputs": inputs or {},
    }  # fmt: skip
    return {"run": run, "evaluation": evaluation, "spec": spec, "revisions": {"measure": 1}}


def result(layout, run, name):
    return json.loads(layout.result(run, name).read_text())


def test_what_is_made_from_a_diverged_run_carries_its_name(layout):
    """A field of a diverged teacher, and a measurement of a sound run that reads it."""
    teacher = write_run(layout, "teacher", seed=1, status="diverged")
    sound = write_run(layout)
    field = {
        "field": plugins.resolve("fields", {"name": "teacher_gradient"}), "dataset": TOY, "split": TEST,
        "seed": 0, "shards": 1,
        "inputs": {"teacher": {"run": "teacher", "weights": "final", "hash": teacher}},
    }  # fmt: skip
    assert make_all([{"name": "gradients", "spec": field, "revisions": {}}], layout, CPU) == []
    assert read_json(layout.field_json("gradients"))["diverged_inputs"] == ["teacher"]
    inputs = {"targets": {"field": "gradients", "hash": spec_hash(field)}}
    assert measure_all([member(sound, "cosines", inputs, name="alignment")], layout, CPU) == []
    assert measure_all([member(sound)], layout, CPU) == []
    made, plain = (read_json(layout.result("run", name)) for name in ("cosines", "clean"))
    assert (made["status"], made["flags"]) == ("diverged", ["made from teacher, which diverged"])
    assert (plain["status"], plain["flags"]) == ("complete", [])


# --- fields --------------------------------------------------------------------------------------


def test_shards_cover_every_row_once():
    rows = [shard_rows(10, 3, k) for k in range(3)]
    assert torch.cat(rows).tolist() == list(range(10))


def test_a_field_in_shards_is_the_field_in_one(layout):
    assert make_all([field_member("one"), field_member("three", shards=3)], layout, CPU) == []
    one, three = (load_field(layout, name) for name in ("one", "three"))
    x = torch.randn(60, 2)
    assert torch.equal(one.read(torch.arange(60), x), three.read(torch.arange(60), x))
    sidecar = json.loads(layout.field_json("three").read_text())
    assert sidecar["shards"] == ["000.safetensors", "001.safetensors", "002.safetensors"]
    assert sidecar["spec_hash"] == spec_hash(field_member(shards=3)["spec"])
    assert sidecar["provenance"]["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_an_interrupted_field_goes_on_with_the_missing_shards(layout, monkeypatch):
    real, computed = nearest_neighbour.compute, []

    def counted(config, request):
        computed.append(int(request.rows[0]))
        if len(computed) == 3:
            raise DataError("interrupted")
        return real(config, request)

    monkeypatch.setattr(nearest_neighbour, "compute", counted)
    job = [field_member(shards=4)]
    assert make_all(job, layout, CPU) == ["targets: interrupted"]
    assert not layout.field_json("targets").exists()
    for path in layout.field_shard("targets", 0).parent.iterdir():
        path.unlink()  # what Snakemake does with the outputs of a failed job
    assert make_all(job, layout, CPU) == []
    assert computed == [0, 15, 30, 30, 45]
    assert layout.field_json("targets").exists()


def test_another_spec_or_revision_makes_all_shards_again(layout):
    make_all([field_member()], layout, CPU)
    before = read_metadata(layout.field_shard("targets", 0))
    make_all([field_member(seed=1)], layout, CPU)
    assert read_metadata(layout.field_shard("targets", 0))["spec_hash"] != before["spec_hash"]
    changed = {**field_member(seed=1), "revisions": {"fields.nearest_neighbour": 2}}
    make_all([changed], layout, CPU)
    assert read_metadata(layout.field_shard("targets", 0))["revisions"] == changed["revisions"]


def test_single_shards_and_the_last_one_writes_the_sidecar(layout):
    for shard in (1, 0):
        assert not layout.field_json("targets").exists()
        make_all([{**field_member(shards=2), "shard": shard}], layout, CPU)
    assert layout.field_json("targets").exists()


def test_teacher_gradients_of_a_run(layout):
    run_hash = write_run(layout)
    spec = field_member()["spec"] | {
        "field": plugins.resolve("fields", {"name": "teacher_gradient"}),
        "inputs": {"teacher": {"run": "run", "weights": "final", "hash": run_hash}},
    }
    assert make_all([{"name": "teacher", "spec": spec, "revisions": {}}], layout, CPU) == []
    read = load_field(layout, "teacher").read(torch.tensor([5]), torch.zeros(1, 2))
    assert read.norm(dim=2).tolist()[0] == pytest.approx([1, 1], abs=2e-3)
    assert json.loads(layout.field_json("teacher").read_text())["inputs"]["teacher"].startswith("sha256:")


# --- measurements --------------------------------------------------------------------------------


def test_a_job_writes_results_with_their_arrays(layout):
    run_hash = write_run(layout, status="diverged")
    make_all([field_member("held_out", split=TEST)], layout, CPU)
    given = {"targets": {"field": "held_out", "hash": spec_hash(field_member(split=TEST)["spec"])}}
    pgd = {"name": "pgd", "norm": "l2", "eps": 15, "steps": 2, "step_size": 2}
    jobs = [
        member(run_hash),
        member(run_hash, "pgd", name="pgd_accuracy", attack=pgd),
        member(run_hash, "align", given, name="alignment"),
    ]
    assert measure_all(jobs, layout, CPU) == []
    clean = result(layout, "run", "clean")
    assert clean["status"] == "diverged"
    assert clean["spec_hash"] == spec_hash(jobs[0]["spec"])
    assert clean["arrays"] == ["correct", "margin"]
    with np.load(layout.arrays("run", "clean"), allow_pickle=False) as arrays:
        assert arrays["correct"].shape == (30,)
        assert arrays["correct"].mean() == pytest.approx(clean["values"]["accuracy"])
    assert result(layout, "run", "pgd")["values"]["accuracy"] <= clean["values"]["accuracy"]
    assert -1 <= result(layout, "run", "align")["values"]["cosine"] <= 1
    assert clean["provenance"]["inputs"]["run"].startswith("sha256:")


def test_values_that_are_not_finite_become_null(layout, monkeypatch):
    run_hash = write_run(layout)
    real = accuracy.measure

    def broken(config, request):
        found = real(config, request)
        found.values["loss"] = math.nan
        return found

    monkeypatch.setattr(accuracy, "measure", broken)
    assert measure_all([member(run_hash)], layout, CPU) == []
    assert result(layout, "run", "clean")["values"]["loss"] is None


def count_measurements(monkeypatch):
    real, taken = accuracy.measure, []

    def counted(config, request):
        taken.append(request.seed)
        return real(config, request)

    monkeypatch.setattr(accuracy, "measure", counted)
    return taken


def test_a_job_that_runs_again_measures_only_what_changed(layout, monkeypatch):
    taken = count_measurements(monkeypatch)
    run_hash = write_run(layout)
    jobs = [member(run_hash, "a"), member(run_hash, "b", seed=1)]
    measure_all(jobs, layout, CPU)
    first = layout.result("run", "a").read_bytes()
    for name in ("a", "b"):
        layout.result("run", name).unlink()
        layout.arrays("run", name).unlink()
    jobs[1] = member(run_hash, "b", seed=2)
    assert measure_all(jobs, layout, CPU) == []
    assert taken == [0, 1, 2]
    assert layout.result("run", "a").read_bytes() == first
    assert layout.arrays("run", "a").exists()


def test_what_a_long_measurement_keeps_is_of_this_spec_alone_and_goes_in_the_end(layout, monkeypatch):
    real, folders = accuracy.measure, []

    def long(config, request):
        folders.append(request.scratch)
        there = request.scratch.exists()
        request.scratch.mkdir(parents=True, exist_ok=True)
        if not there:
            raise DataError("killed")
        return real(config, request)

    monkeypatch.setattr(accuracy, "measure", long)
    run_hash = write_run(layout)
    one, other = [member(run_hash, "a")], [member(run_hash, "a", seed=1)]
    assert measure_all(one, layout, CPU) == measure_all(other, layout, CPU) == ["run/a: killed"]
    assert folders[0] != folders[1]
    assert all(layout.scratch("run", "a") in folder.parents for folder in folders)
    assert layout.results / "state" in folders[0].parents
    assert measure_all(one, layout, CPU) == []
    assert folders[2] == folders[0]
    assert not layout.scratch("run", "a").exists()


def test_a_measurement_by_hand_keeps_nothing(layout, monkeypatch):
    real, folders = accuracy.measure, []
    monkeypatch.setattr(accuracy, "measure", lambda c, r: folders.append(r.scratch) or real(c, r))
    measure_run(member(write_run(layout))["spec"], "run", layout)
    assert folders == [None]


def test_new_weights_under_an_old_spec_are_measured_again(layout, monkeypatch):
    """A fit whose code changed has the same spec but other weights: the kept result is not theirs."""
    taken = count_measurements(monkeypatch)
    job = [member(write_run(layout))]
    measure_all(job, layout, CPU)
    other = plugins.instantiate("models", TASK["model"], (2,), 2)
    save_tensors(layout.weights("run"), other.state_dict())
    measure_all(job, layout, CPU)
    assert len(taken) == 2


def test_a_failure_loses_nothing_that_is_finished(layout, monkeypatch):
    taken = count_measurements(monkeypatch)
    run_hash = write_run(layout)
    images = member(run_hash, "wrong", name="targeted_images", attack={
        "name": "pgd", "norm": "l2", "eps": 1, "steps": 1, "step_size": 1, "targeted": True,
    })  # fmt: skip
    absent = member("0" * 16, "absent", run="nobody")
    failed = measure_all([images, absent, member(run_hash)], layout, CPU)
    assert [line.split(":")[0] for line in failed] == ["run/wrong", "nobody/absent"]
    assert "images in [0, 1]" in failed[0]
    assert "has not finished" in failed[1]
    assert result(layout, "run", "clean")["values"]["accuracy"] >= 0
    assert not layout.result("run", "wrong").exists()
    assert len(taken) == 1


def test_a_bug_in_one_measurement_shows_its_traceback_and_spares_the_others(layout, monkeypatch, capsys):
    def buggy(config, request):
        raise ZeroDivisionError("oops")

    run_hash = write_run(layout)
    monkeypatch.setattr("pagrepro.evaluations.grid_attack.measure", buggy)
    failed = measure_all([member(run_hash, "bug", name="grid_attack"), member(run_hash)], layout, CPU)
    assert failed == ["run/bug: ZeroDivisionError: oops"]
    assert "Traceback" in capsys.readouterr().err
    assert layout.result("run", "clean").exists()


def test_another_run_under_the_same_name_is_refused(layout):
    write_run(layout)
    with pytest.raises(StateError, match="ffffffffffffffff"):
        measure_run(member("f" * 16)["spec"], "run", layout)


def test_measuring_changes_nothing_global(layout):
    run_hash = write_run(layout)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = measure_run(member(run_hash)["spec"], "run", layout)
    assert torch.equal(torch.get_rng_state(), state)
    assert set(found.values) == {"accuracy", "loss"}
    assert not torch.are_deterministic_algorithms_enabled()


def test_protocol_replays_the_training_of_the_run(layout):
    run_hash = write_run(layout)
    make_all([field_member()], layout, CPU)
    assert measure_all([member(run_hash, "protocol", name="protocol")], layout, CPU) == []
    values = result(layout, "run", "protocol")["values"]
    assert values["max_input_shift"] == 0
    assert values["alignment_scale_change"] < 1e-9
    assert not layout.arrays("run", "protocol").exists()


# --- scripts ---------------------------------------------------------------------------------------


def call(monkeypatch, script, members, layout):
    arguments = ["--spec", json.dumps(members), "--results", str(layout.results), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(SCRIPTS / script), run_name="__main__")


def test_scripts_write_files_and_fail_naming_the_member(layout, monkeypatch, capsys):
    run_hash = write_run(layout)
    call(monkeypatch, "make_field.py", [field_member()], layout)
    assert layout.field_json("targets").exists()
    call(monkeypatch, "evaluate.py", [member(run_hash)], layout)
    assert layout.result("run", "clean").exists()
    assert "torch=" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="failed: nobody/clean"):
        call(monkeypatch, "evaluate.py", [member(run_hash, run="nobody")], layout)
    with pytest.raises(SystemExit, match=r"failed: targets: .*a pool of 99"):
        call(monkeypatch, "make_field.py", [field_member(pool=99)], layout)
