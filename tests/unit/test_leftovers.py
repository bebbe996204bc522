"""What can go is found, what is in use or wanted stays, and bytes are those that are really freed."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import Tiny

from pagrepro import finished, pack
from pagrepro.errors import UserError
from pagrepro.layout import Layout
from pagrepro.leftovers import ANOTHER, NOT_ASKED, Found, Search, Wanted, wanted
from pagrepro.lock import RunLock
from pagrepro.removal import check_results, remove, rows
from pagrepro.state import StateStore
from pagrepro.storage import save_tensors

SCRIPT = Path(__file__).parents[2] / "workflow/scripts/clean_state.py"
IDENTITY = {"spec_hash": "one", "revisions": {"fit": 1}}
ASKED = ("one", {"fit": 1})


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "results" / "demo")


def put(path, content="x" * 1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def save_state(layout, run, **changes):
    StateStore(layout.state(run), {**IDENTITY, **changes}).save(3, {"w": torch.zeros(500)})


def look(layout, asked=None, idle_s=0.0, **options) -> Found:
    return Search(layout, asked, idle_s, **options).find()


def reasons(found):
    return {(item.what, item.path.name): item.why for item in found.leftovers}


def asks(models=(), fields=(), evaluations=(), spared=()):
    names = {"models": models, "fields": fields, "evaluations": evaluations}
    return Wanted({kind: dict.fromkeys(of, ASKED) for kind, of in names.items()}, frozenset(spared))


# --- states ------------------------------------------------------------------------------------------


def test_a_state_goes_when_its_run_is_finished(layout):
    save_state(layout, "a")
    assert look(layout).leftovers == []
    put(layout.run_json("a"), {**IDENTITY, "status": "complete"})
    assert reasons(look(layout)) == {("resume state", "a"): "the run is finished"}


@pytest.mark.parametrize("change", [{"spec_hash": "two"}, {"revisions": {"fit": 2}}])
def test_a_state_of_another_spec_than_the_finished_run_stays(layout, change):
    save_state(layout, "a", **change)
    put(layout.run_json("a"), {**IDENTITY, "status": "complete"})
    assert look(layout).leftovers == []
    assert reasons(look(layout, asks(models=["a"]))) == {("resume state", "a"): ANOTHER}


def test_a_wanted_state_stays_and_one_that_nobody_asks_for_goes(layout):
    for run in ("a", "b", "c"):
        save_state(layout, run)
    found = look(layout, asks(models=["a"], spared=["c"]))
    assert reasons(found) == {("resume state", "b"): NOT_ASKED}


def test_a_damaged_state_stays(layout):
    put(layout.state("a") / "000000000003.safetensors", "no tensors")
    assert look(layout, asks()).leftovers == []


def test_a_run_that_is_being_fitted_is_left_alone(layout):
    save_state(layout, "a")
    put(layout.run_json("a"), {**IDENTITY, "status": "complete"})
    put(layout.state("a") / ".half.1.ab.tmp")
    lock = RunLock(layout.state("a"))
    lock.acquire()
    found = look(layout, asks())
    assert (found.leftovers, found.in_use) == ([], ["a"])
    lock.release()
    assert {item.what for item in look(layout, asks()).leftovers} == {"resume state", "run"}


def test_a_fit_that_begins_after_the_look_keeps_its_state(layout):
    save_state(layout, "a")
    found = look(layout, asks())
    lock = RunLock(layout.state("a"))
    lock.acquire()
    (line,) = remove(found.leftovers, layout.results)
    assert f"in use by process {os.getpid()}" in line
    assert list(layout.state("a").glob("*.safetensors"))
    lock.release()


def test_a_dead_lock_goes_with_its_folder(layout):
    lock = RunLock(layout.state("a"))
    lock.me = dataclasses.replace(lock.me, started="1")
    assert lock._try()
    found = look(layout)
    assert len(found.leftovers) == 1
    assert remove(found.leftovers, layout.results) == []
    assert not layout.state("a").exists()


# --- the rest ----------------------------------------------------------------------------------------


def test_scratch_goes_when_its_measurement_is_finished_or_not_asked_for(layout):
    for name in ("done", "going", "gone"):
        put(layout.scratch("a", name) / "key" / "000001.safetensors")
    put(layout.result("a", "done"), {"values": {}})
    layout.scratch("b", "x").parent.mkdir()
    assert reasons(look(layout)) == {
        ("scratch of measurements", "done"): "the measurement is finished",
        ("scratch of measurements", "b"): "empty folders",
    }
    found = look(layout, asks(evaluations=["a/done", "a/going"]))
    assert reasons(found)["scratch of measurements", "gone"] == NOT_ASKED
    assert ("scratch of measurements", "going") not in reasons(found)


def test_scratch_that_is_newer_than_the_result_stays(layout):
    os.utime(put(layout.result("a", "again"), {}), (0, 0))
    put(layout.scratch("a", "again") / "key" / "000001.safetensors")
    assert look(layout).leftovers == []


def test_temporary_files_go_when_nobody_touched_them_lately(layout):
    for name in (".model.safetensors.1.ab.tmp", ".table1.csv.partial", ".clock.1.ab"):
        put(layout.run_folder("a") / name)
    put(layout.run_folder("a") / "model.safetensors")
    assert {item.path.name[:6] for item in look(layout).leftovers} == {".model", ".table", ".clock"}
    assert look(layout, idle_s=3600).leftovers == []


def test_finished_work_goes_only_when_a_configuration_does_not_ask_for_it(layout):
    for name in ("a", "b"):
        put(layout.run_json(name), IDENTITY)
        put(layout.field_json(name), IDENTITY)
        for evaluation in ("clean", "pgd"):
            put(layout.result(name, evaluation), IDENTITY)
        put(layout.arrays(name, "pgd"))
    assert look(layout).leftovers == []
    found = look(layout, asks(models=["a"], fields=["a"], evaluations=["a/clean", "a/pgd", "b/clean"]))
    assert sorted((item.what, item.path.name) for item in found.leftovers) == [
        ("field", "b"), ("result", "pgd.json"), ("result", "pgd.npz"), ("run", "b"),
    ]  # fmt: skip
    assert look(layout, asks(spared=["b", "b/pgd", "b/clean"]), idle_s=3600).leftovers == []


def test_a_configuration_is_read_from_its_expansion(tmp_path):
    found = Tiny().expand(tmp_path)
    asked = wanted(found)
    run = found.runs["line_plain_s0"]
    identity = (run.hash, pack.revisions_of("train", run.spec))
    assert asked.why_not("models", "line_plain_s0", identity) is None
    assert asked.why_not("models", "line_plain_s0", ("other", {})) == ANOTHER
    assert asked.why_not("models", "line_gone_s0") == NOT_ASKED
    assert asked.why_not("fields", "line_near_s0") is None
    assert all(asked.why_not("evaluations", f"{r}/{e}") is None for r, e in found.evaluations)


# --- kept work, and bytes ------------------------------------------------------------------------------


def keep_all(layout, key="key"):
    """One run, one field and one result, each kept; returns their outputs."""
    run = [put(layout.weights("a", "final")), put(layout.run_json("a"), IDENTITY)]
    shard = layout.field_shard("f", 0)
    save_tensors(shard, {"x": torch.zeros(300)}, {**IDENTITY, "shard": 0})
    result = [put(layout.arrays("a", "pgd")), put(layout.result("a", "pgd"), IDENTITY)]
    finished.keep(finished.kept_folder(layout, "models", "a"), key, run)
    finished.keep(finished.kept_folder(layout, "fields", "f", "000"), key, [shard])
    finished.keep(finished.kept_folder(layout, "evaluations", "a", "pgd"), key, result)
    return [*run, shard, *result]


def test_kept_work_stays_while_it_is_asked_for(layout):
    keep_all(layout)
    assert look(layout).leftovers == []
    assert look(layout, asks(["a"], ["f"], ["a/pgd"])).leftovers == []


def test_kept_work_of_another_spec_or_not_asked_for_goes(layout):
    keep_all(layout)
    other = Wanted({kind: {} for kind in ("models", "fields", "evaluations")})
    assert {i.why for i in look(layout, other).leftovers if i.what == "kept work"} == {NOT_ASKED}
    changed = {
        "models": {"a": ("two", {})},
        "fields": {"f": ("two", {})},
        "evaluations": {"a/pgd": ("two", {})},
    }
    found = look(layout, Wanted(changed))
    assert [(i.what, i.why) for i in found.leftovers] == [("kept work", ANOTHER)] * 3


def test_half_and_older_kept_work_goes(layout):
    keep_all(layout)
    folder = finished.kept_folder(layout, "models", "a")
    put(folder / "half" / "model.safetensors")
    older = put(folder / "older" / finished.RECORD, {})
    for path in (older, older.parent):
        os.utime(path, (0, 0))
    assert {item.path.name for item in look(layout).leftovers} == {"half", "older"}


def test_hard_links_free_nothing_until_the_last_goes(layout):
    outputs = keep_all(layout)
    kept = look(layout, Wanted({k: {} for k in ("models", "fields", "evaluations")})).leftovers
    only_kept = [item for item in kept if item.what == "kept work"]
    records = sum(path.stat().st_size for path in layout.results.rglob(finished.RECORD))
    assert sum(row.freed for row in rows(only_kept)) == records
    everything = records + sum(path.stat().st_size for path in outputs)
    assert sum(row.freed for row in rows(kept)) == everything
    assert [(row.what, row.count) for row in rows(kept)] == [
        ("run", 1), ("field", 1), ("result", 2), ("kept work", 3)
    ]  # fmt: skip


def test_copies_go_only_when_asked_for(layout, monkeypatch):
    def no_links(source, target):
        raise OSError("no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    outputs = keep_all(layout)
    assert look(layout).leftovers == []
    found = look(layout, copies=True)
    assert len(found.leftovers) == 3
    assert sum(row.freed for row in rows(found.leftovers)) > sum(p.stat().st_size for p in outputs)
    outputs[0].write_text("changed")
    assert len(look(layout, copies=True).leftovers) == 2


def test_hard_links_are_no_copies(layout):
    keep_all(layout)
    assert look(layout, copies=True).leftovers == []


def test_removing_takes_what_was_listed_and_empty_folders(layout):
    outputs = keep_all(layout)
    save_state(layout, "a")
    found = look(layout)
    assert remove(found.leftovers, layout.results) == []
    assert not layout.state("a").exists()
    assert all(path.is_file() for path in outputs)
    nothing = Wanted({k: {} for k in ("models", "fields", "evaluations")})
    assert remove(look(layout, nothing).leftovers, layout.results) == []
    assert [path for path in layout.results.rglob("*") if path.is_file()] == []
    assert look(layout, nothing).leftovers == []


# --- the script --------------------------------------------------------------------------------------


def clean(layout, *options):
    command = [sys.executable, str(SCRIPT), "--results", str(layout.results), "--idle-s", "0", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parents[2])


def test_the_script_deletes_only_when_told_to(layout):
    save_state(layout, "a")
    put(layout.run_json("a"), IDENTITY)
    shown = clean(layout, "--paths")
    assert shown.returncode == 0, shown.stderr
    assert "resume state  the run is finished" in shown.stdout
    assert str(layout.state("a")) in shown.stdout
    assert "Nothing was deleted" in shown.stdout
    assert layout.state("a").exists()
    assert clean(layout, "--delete").returncode == 0
    assert not layout.state("a").exists()
    assert layout.run_json("a").exists()


def test_the_script_refuses_another_tier_and_other_folders(layout, tmp_path):
    put(layout.run_json("a"), IDENTITY)
    refused = clean(layout, "--tier", "small", "--delete")
    assert refused.returncode == 1
    assert "is not of tier 'small'" in refused.stderr
    assert layout.run_json("a").exists()
    with pytest.raises(UserError, match="no folder of results"):
        check_results(tmp_path / "elsewhere")


def test_time_is_the_only_protection_of_what_has_no_lock(layout):
    path = put(layout.scratch("a", "x") / "key" / "000001.safetensors")
    assert look(layout, asks(), idle_s=3600).leftovers == []
    for place in (path, path.parent, path.parents[1]):
        os.utime(place, (time.time() - 7200,) * 2)
    assert len(look(layout, asks(), idle_s=3600).leftovers) == 1
