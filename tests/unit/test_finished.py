"""Finished work is put back as it was, or not at all."""

import os
import shutil

import pytest

from pagrepro import finished
from pagrepro.layout import Layout


@pytest.fixture
def outputs(tmp_path):
    folder = tmp_path / "models" / "a"
    folder.mkdir(parents=True)
    paths = [folder / "model.safetensors", folder / "run.json"]
    for path in paths:
        path.write_text(f"content of {path.name}")
    return paths


def delete(paths):
    for path in paths:
        path.unlink()


def test_kept_files_come_back_newer_than_before(tmp_path, outputs):
    finished.keep(tmp_path / "kept", "key", outputs)
    assert (tmp_path / "kept" / "key" / "run.json").stat().st_nlink == 2
    os.utime(outputs[0], (0, 0))
    delete(outputs)
    assert finished.restore(tmp_path / "kept", "key", outputs)
    assert [p.read_text() for p in outputs] == ["content of model.safetensors", "content of run.json"]
    assert outputs[0].stat().st_mtime > 1e9
    assert sorted(p.name for p in outputs[0].parent.iterdir()) == ["model.safetensors", "run.json"]


def test_restoring_over_what_is_there(tmp_path, outputs):
    finished.keep(tmp_path / "kept", "key", outputs)
    assert finished.restore(tmp_path / "kept", "key", outputs)
    assert sorted(p.name for p in outputs[0].parent.iterdir()) == ["model.safetensors", "run.json"]


def test_another_key_is_another_work(tmp_path, outputs):
    finished.keep(tmp_path / "kept", "key", outputs)
    delete(outputs)
    assert not finished.restore(tmp_path / "kept", "other", outputs)
    assert not any(p.exists() for p in outputs)


def test_one_generation(tmp_path, outputs):
    finished.keep(tmp_path / "kept", "first", outputs)
    finished.keep(tmp_path / "kept", "second", outputs)
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["second"]


@pytest.mark.parametrize("damage", ["same size", "shorter", "missing", "no record"])
def test_damaged_work_is_not_used(tmp_path, outputs, damage):
    finished.keep(tmp_path / "kept", "key", outputs)
    delete(outputs)
    kept = tmp_path / "kept" / "key" / "model.safetensors"
    if damage == "same size":
        kept.write_text("CONTENT of model.safetensors")
    elif damage == "shorter":
        kept.write_text("content")
    elif damage == "missing":
        kept.unlink()
    else:
        (kept.parent / finished.RECORD).unlink()
    assert not finished.restore(tmp_path / "kept", "key", outputs)
    assert not any(p.exists() for p in outputs)


def test_an_output_that_was_not_kept(tmp_path, outputs):
    finished.keep(tmp_path / "kept", "key", outputs[:1])
    assert not finished.restore(tmp_path / "kept", "key", outputs)


def test_copied_where_links_do_not_work(tmp_path, outputs, monkeypatch):
    def no_links(source, target):
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    finished.keep(tmp_path / "kept", "key", outputs)
    assert (tmp_path / "kept" / "key" / "run.json").stat().st_nlink == 1
    delete(outputs)
    assert finished.restore(tmp_path / "kept", "key", outputs)
    assert outputs[1].read_text() == "content of run.json"


def test_no_room_is_no_failure(tmp_path, outputs, monkeypatch, capsys):
    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    finished.keep(tmp_path / "kept", "key", outputs)
    assert "could not be kept" in capsys.readouterr().out
    assert not finished.restore(tmp_path / "kept", "key", outputs)


def test_key_depends_on_spec_and_revisions_but_not_on_order():
    key = finished.key_for({"a": 1, "b": 2}, {"fit": 1})
    assert key == finished.key_for({"b": 2, "a": 1}, {"fit": 1})
    assert (
        len({key, finished.key_for({"a": 1}, {"fit": 1}), finished.key_for({"a": 1, "b": 2}, {"fit": 2})})
        == 3
    )


def test_outputs_of_a_run(tmp_path):
    layout = Layout(tmp_path)
    spec = {"fit": {"ema": {"decay": 0.9}, "keep_epochs": [50, 2]}, "monitor": [{"select": "max:accuracy"}]}
    names = [path.name for path in finished.run_outputs(layout, "a", spec)]
    assert names == [
        "model.safetensors", "ema.safetensors", "best.safetensors", "epoch_002.safetensors",
        "epoch_050.safetensors", "history.jsonl", "run.json",
    ]  # fmt: skip
    external = finished.run_outputs(layout, "a", {"fit": None, "monitor": []})
    assert [path.name for path in external] == ["model.safetensors", "history.jsonl", "run.json"]
