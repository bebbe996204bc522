"""Finished runs and fields are loaded as they were made, or refused."""

import hashlib

import pytest
import torch

from pagrepro import plugins
from pagrepro.convert import convert
from pagrepro.errors import DataError, StateError
from pagrepro.layout import Layout
from pagrepro.load import load_field, load_inputs, load_run
from pagrepro.outcome import finished_record, run_record, write_run
from pagrepro.spec import spec_hash
from pagrepro.storage import read_json, save_tensors, write_json


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "results", tmp_path / "resources")


SPEC = {
    "task": {
        "name": "classifier",
        "model": {"name": "toy_mlp", "hidden": [4], "input_scale": 1.0},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "sgd", "lr": 0.1},
    },
    "dataset": {"name": "toy", "shape": [2], "classes": 2},
    "seed": 0,
    "fit": {"ema": {"decay": 0.5}},
}


def weights(value):
    network = plugins.instantiate("models", SPEC["task"]["model"], (2,), 2)
    return {name: torch.full_like(t, value) for name, t in network.state_dict().items()}


def write(layout, run="a", spec=SPEC, **more):
    contents = {"final": weights(1.0), "ema": weights(2.0), **more}
    return write_run(layout, run, contents, [], run_record(run, spec, {"fit": 1}, status="complete"))


def test_each_kind_of_weights_frozen_and_in_eval_mode(layout):
    write(layout)
    before = torch.random.get_rng_state()
    for which, value in (("final", 1.0), ("ema", 2.0)):
        run = load_run(layout, "a", which, expected_hash=spec_hash(SPEC))
        assert (run.name, run.spec) == ("a", SPEC)
        assert not run.model.training
        assert all(bool((p == value).all()) and not p.requires_grad for p in run.model.parameters())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_loaded_weights_do_not_follow_the_file(layout):
    write(layout)
    run = load_run(layout, "a")
    layout.weights("a").write_bytes(b"gone")
    assert all(bool((p == 1).all()) for p in run.model.parameters())


def test_refusals(layout):
    with pytest.raises(StateError, match="has not finished"):
        load_run(layout, "a")
    write(layout)
    with pytest.raises(StateError, match=f"spec {spec_hash(SPEC)}, but spec 0123 is wanted"):
        load_run(layout, "a", expected_hash="0123")
    with pytest.raises(StateError, match=r"no weights 'epoch:3'.*there are: ema, model"):
        load_run(layout, "a", "epoch:3")
    layout.weights("a").write_bytes(layout.weights("a").read_bytes()[:-4])
    with pytest.raises(StateError, match="damaged"):
        load_run(layout, "a")
    save_tensors(layout.weights("a"), {"other": torch.zeros(1)})
    with pytest.raises(StateError, match="does not fit the network"):
        load_run(layout, "a")


def test_a_finished_run_is_recognised_only_whole_and_of_this_identity(layout):
    identity = {"spec_hash": spec_hash(SPEC), "revisions": {"fit": 1}}
    assert finished_record(layout, "a", SPEC, identity) is None
    record = write(layout)
    assert finished_record(layout, "a", SPEC, identity) == record
    assert finished_record(layout, "a", SPEC, {**identity, "revisions": {"fit": 2}}) is None
    save_tensors(layout.weights("a", "ema"), weights(3.0))
    assert finished_record(layout, "a", SPEC, identity) is None


def field_spec(shards):
    return {
        "field": plugins.resolve("fields", {"name": "teacher_gradient"}),
        "dataset": SPEC["dataset"], "split": {}, "seed": 0, "shards": shards, "inputs": {},
    }  # fmt: skip


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_of_a_field_are_joined(layout, shards):
    directions = torch.arange(7 * 2 * 2, dtype=torch.float32).view(7, 2, 2)
    for k in range(shards):
        rows = slice(k * 7 // shards, (k + 1) * 7 // shards)
        save_tensors(layout.field_shard("f", k), {"directions": directions[rows]})
    spec = field_spec(shards)
    write_json(layout.field_json("f"), {"spec": spec, "spec_hash": spec_hash(spec)})
    field = load_field(layout, "f", expected_hash=spec_hash(spec))
    rows = torch.tensor([6, 0, 3])
    assert torch.equal(field.read(rows, torch.zeros(3, 2)).float(), directions[rows])
    with pytest.raises(StateError, match="make the field again"):
        load_field(layout, "f", expected_hash="0123")


def test_inputs_by_role(layout):
    write(layout)
    wanted = {
        "teacher": {"run": "a", "weights": "ema", "hash": spec_hash(SPEC)},
        "file": {"source": "s", "filename": "f.pt", "hash": None},
    }
    found = load_inputs(wanted, layout)
    assert found["teacher"].name == "a"
    assert bool((next(found["teacher"].model.parameters()) == 2).all())
    assert found["file"] == layout.source("s", "f.pt")
    with pytest.raises(StateError, match="is wanted"):
        load_inputs({"teacher": {"run": "a", "hash": "0123"}}, layout)


# --- converted weights -------------------------------------------------------------------------------


@pytest.fixture
def adapter(monkeypatch):
    """An adapter that reads what this test wrote, in the place of a real one."""
    real = plugins.load

    class Adapter:
        Config = real("sources", "robustness_checkpoint").Config

        @staticmethod
        def convert(config, path):
            return torch.load(path, weights_only=True)

    monkeypatch.setattr(plugins, "load", lambda k, n: Adapter if k == "sources" else real(k, n))


def external(digest):
    task = {
        "name": "external",
        "adapter": plugins.resolve("sources", {"name": "robustness_checkpoint"}),
        "model": SPEC["task"]["model"],
    }
    source = {"source": "s", "filename": "f.pt", "hash": digest}
    return {**SPEC, "task": task, "fit": None, "inputs": {"file": source}}


def test_converted_weights_are_a_run(layout, adapter):
    path = layout.source("s", "f.pt")
    path.parent.mkdir(parents=True)
    torch.save(weights(5.0), path)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    record = convert(external(digest), "e", layout, {"convert": 1}, torch.device("cpu"))
    assert record["status"] == "complete"
    assert record["inputs"] == {"input:file": digest}
    assert layout.history("e").read_bytes() == b""
    assert all(bool((p == 5).all()) for p in load_run(layout, "e").model.parameters())
    assert read_json(layout.run_json("e"))["notes"] == ["converted from s, not fitted here"]


def test_converted_weights_are_refused(layout, adapter):
    path = layout.source("s", "f.pt")

    def attempt(digest):
        convert(external(digest), "e", layout, {}, torch.device("cpu"))

    with pytest.raises(DataError, match="no hash is declared"):
        attempt(None)
    with pytest.raises(DataError, match="is not there"):
        attempt("sha256:00")
    path.parent.mkdir(parents=True)
    torch.save({"other": torch.zeros(1)}, path)
    with pytest.raises(Exception, match="not the declared file"):
        attempt("sha256:00")
    with pytest.raises(DataError, match="does not fit the network"):
        attempt(f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    assert not layout.run_folder("e").exists()
