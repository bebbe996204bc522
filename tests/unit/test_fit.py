"""The loop: a fit that is killed anywhere and continued ends in the same bits as one that is not."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import fit_worker
import pytest
import torch
from fit_worker import KILL, STEPS_PER_EPOCH, TERM, Fault, parts, spec

from pagrepro import plugins, storage
from pagrepro.errors import Diverged, StateError
from pagrepro.finished import run_outputs
from pagrepro.fit import fit
from pagrepro.fit_all import fit_all
from pagrepro.fit_options import FitOptions, Stopped
from pagrepro.layout import Layout
from pagrepro.load import load_run
from pagrepro.lock import NoLock
from pagrepro.monitor import Monitors
from pagrepro.storage import load_tensors, read_json, write_atomic
from pagrepro.task import finite_or_diverge

RUN = "tiny"
REVISIONS = {"fit": 1}
OFTEN = FitOptions(save_every_steps=3)
REPOSITORY = Path(__file__).parents[2]


class Killed(BaseException):
    """Stands for a death of the process, where a real one would take two seconds per case."""


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "results", tmp_path / "resources")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(layout, content, options=OFTEN, fault=None, poison=None, revisions=REVISIONS):
    return fit(content, RUN, layout, revisions, options=options, parts=parts(fault, poison))


def written(layout, content):
    """All weights of a run, and its history without times."""
    paths = run_outputs(layout, RUN, content)
    weights = {path.name: load_tensors(path) for path in paths if path.suffix == ".safetensors"}
    lines = [json.loads(line) for line in layout.history(RUN).read_text().splitlines()]
    return weights, [{k: line[k] for k in ("epoch", "steps", "lr", "metrics", "monitor")} for line in lines]


def assert_same(one, other):
    assert one[1] == other[1]
    assert one[0].keys() == other[0].keys()
    for name, tensors in one[0].items():
        assert tensors.keys() == other[0][name].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, other[0][name][key]), f"{name}: {key}"


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Outputs of uninterrupted fits, by optimiser."""
    found = {}
    for optimizer in fit_worker.OPTIMIZERS:
        layout = Layout(tmp_path_factory.mktemp("straight"))
        content = spec(task={"name": "tiny", "optimizer": optimizer})
        run(layout, content, FitOptions())
        found[optimizer] = written(layout, content)
    return found


def process(results, fault, **more):
    request = {"results": str(results), "run": RUN, "spec": spec(), "fault": fault, **more}
    return subprocess.Popen(
        [sys.executable, fit_worker.__file__, json.dumps(request)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY / "src")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


# --- interruption --------------------------------------------------------------------------------


def test_a_fit_changes_weights_and_selects_an_epoch(straight):
    weights, lines = straight["sgd"]
    assert [line["steps"] for line in lines] == [5, 10, 15, 20]
    assert [line["lr"] for line in lines] == pytest.approx([0.05, 0.05, 0.005, 0.005])
    assert {*weights} == {f"{n}.safetensors" for n in ("model", "ema", "best", "epoch_001", "epoch_003")}
    first = {name: tensors["0.weight"] for name, tensors in weights.items()}
    assert len({tuple(value.flatten().tolist()) for value in first.values()}) >= 4


@pytest.mark.parametrize("optimizer", fit_worker.OPTIMIZERS)
@pytest.mark.parametrize("step", [1, 3, 4, 5, 11, 17, 19])
def test_death_at_a_step(layout, straight, optimizer, step):
    content = spec(task={"name": "tiny", "optimizer": optimizer})
    with pytest.raises(Killed):
        run(layout, content, fault=Fault("step", step, error=Killed()))
    assert not layout.run_json(RUN).exists()
    assert run(layout, content)["provenance"]["resumed"] == (1 if step >= 3 else 0)
    assert_same(written(layout, content), straight[optimizer])
    assert not layout.state(RUN).exists()


@pytest.mark.parametrize("place", ["before_replace", "after_replace", "half_written", "measure"])
def test_death_at_every_write_and_every_epoch_end(layout, straight, monkeypatch, place):
    """Dies at the k-th file it writes, for all k: first state, states, each of the final files."""
    deaths = 0
    for k in range(40):
        with monkeypatch.context() as patch:
            patch.setattr(storage, "os", os)
            fault = Fault(place, k, error=Killed())
            fault.install()
            here = Layout(layout.results / str(k))
            try:
                run(here, spec(), FitOptions(save_every_steps=7), fault=fault)
            except Killed:
                deaths += 1
            else:
                break
        run(here, spec())
        assert_same(written(here, spec()), straight["sgd"])
    # 2 states (every 7 steps), 5 weight files, history, run.json; or one measurement per epoch.
    assert deaths == (4 if place == "measure" else 9)


def test_kill_9_again_and_again(layout, straight):
    """One run, killed for real in every phase, each time continued by the next process."""
    faults = [
        {"at": "step", "n": 2, "signal": KILL},  # before the first state
        {"at": "half_written", "n": 1, "signal": KILL},  # while the second state is written
        {"at": "before_replace", "n": 4, "signal": KILL},  # between the final files
    ]
    codes, logs = [], []
    for fault in faults:
        worker = process(layout.results, fault, save_every_steps=3)
        logs.append(worker.communicate(timeout=120)[0])
        codes.append(worker.returncode)
        assert not layout.run_json(RUN).exists()
    assert codes == [-KILL] * 3, "\n".join(logs)
    assert "resumes at step 3" in logs[2]
    run(layout, spec())
    assert not list(layout.results.rglob("*.tmp"))
    assert_same(written(layout, spec()), straight["sgd"])
    assert not layout.state(RUN).exists()


def test_sigterm_finishes_the_step_saves_and_leaves(layout, straight):
    handler = signal.getsignal(signal.SIGTERM)
    fault = Fault("step", 7, signal=TERM)
    with pytest.raises(Stopped) as stopped:
        run(layout, spec(), FitOptions(), fault=fault)
    assert stopped.value.code == 143
    assert [p.stem for p in layout.state(RUN).glob("*.safetensors")] == [f"{8:012d}"]
    assert signal.getsignal(signal.SIGTERM) is handler
    run(layout, spec())
    assert_same(written(layout, spec()), straight["sgd"])


def test_signal_during_the_last_step_does_not_stop_the_outputs(layout, straight):
    run(layout, spec(), fault=Fault("step", 19, signal=TERM))
    assert_same(written(layout, spec()), straight["sgd"])


def test_resumed_from_any_thread(layout, straight):
    """Signals are the main thread's; a fit in another thread just has none."""
    thread = threading.Thread(target=run, args=(layout, spec()))
    thread.start()
    thread.join()
    assert_same(written(layout, spec()), straight["sgd"])


# --- state ---------------------------------------------------------------------------------------


def interrupted(layout, content, step=11, **more):
    with pytest.raises(Killed):
        run(layout, content, fault=Fault("step", step, error=Killed()), **more)
    return sorted(layout.state(RUN).glob("*.safetensors"))


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped"])
def test_damaged_state_falls_back_to_the_one_before(layout, straight, capsys, damage):
    files = interrupted(layout, spec())
    assert [int(p.stem) for p in files] == [6, 9]
    content = bytearray(files[1].read_bytes())
    if damage == "flipped":
        content[-3] ^= 1
    files[1].write_bytes({"truncated": content[:-10], "empty": b"", "flipped": content}[damage])
    run(layout, spec())
    output = capsys.readouterr().out
    assert "WARNING: state discarded" in output
    assert "resumes at step 6" in output
    assert_same(written(layout, spec()), straight["sgd"])


def test_all_states_damaged_starts_over(layout, straight, capsys):
    for path in interrupted(layout, spec()):
        path.write_bytes(b"no state at all")
    run(layout, spec())
    output = capsys.readouterr().out
    assert output.count("WARNING: state discarded") == 2
    assert "starts at step 0" in output
    assert_same(written(layout, spec()), straight["sgd"])


@pytest.mark.parametrize("change", ["spec", "revisions"])
def test_another_spec_or_code_never_resumes(layout, tmp_path, capsys, change):
    interrupted(layout, spec())
    content = spec(fit={"epochs": 3}) if change == "spec" else spec()
    revisions = {"fit": 2} if change == "revisions" else REVISIONS
    run(layout, content, revisions=revisions)
    output = capsys.readouterr().out
    assert "belongs to another spec or code" in output
    assert "resumes at" not in output
    fresh = Layout(tmp_path / "fresh")
    run(fresh, content, revisions=revisions)
    assert_same(written(layout, content), written(fresh, content))


def test_the_identity_check_is_what_prevents_it(layout, tmp_path):
    """Without the check a state of another schedule is continued, and the result is neither's."""
    interrupted(layout, spec())
    content = spec(fit={"schedule": {"name": "constant"}, "epochs": 3})
    run(layout, content, FitOptions(check_state=False))
    fresh = Layout(tmp_path / "fresh")
    run(fresh, spec(fit={"schedule": {"name": "constant"}, "epochs": 3}, seed=4))
    assert written(layout, content)[1] != written(fresh, content)[1]
    assert read_json(layout.run_json(RUN))["provenance"]["resumed"] == 1


def full_disk(what):
    """A disk that has no room for files whose path `what` accepts."""

    def write(path, content):
        if what(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_atomic(path, content)

    return write


def test_full_disk_while_saving_keeps_the_last_good_state(layout, straight, capsys):
    write = full_disk(lambda path: path.stem.isdigit() and int(path.stem) > 6)
    options = FitOptions(save_every_steps=3, write=write)
    assert [int(p.stem) for p in interrupted(layout, spec(), step=15, options=options)] == [3, 6]
    assert capsys.readouterr().out.count("WARNING: tiny: state not saved") == 3
    run(layout, spec(), options)
    assert "resumes at step 6" in capsys.readouterr().out
    assert_same(written(layout, spec()), straight["sgd"])


def test_full_disk_at_the_end_leaves_a_state_and_no_run(layout, straight, capsys):
    options = FitOptions(save_every_steps=3, write=full_disk(lambda path: path.name == "ema.safetensors"))
    with pytest.raises(OSError, match="No space"):
        run(layout, spec(), options)
    assert not layout.run_json(RUN).exists()
    run(layout, spec())
    assert "resumes at step 18" in capsys.readouterr().out
    assert_same(written(layout, spec()), straight["sgd"])


def test_bf16_and_no_extras_resume_as_well(layout, tmp_path):
    content = spec(fit={"amp": "bf16", "ema": None, "keep_epochs": [], "drop_last": False}, monitor=[])
    interrupted(layout, content)
    run(layout, content)
    fresh = Layout(tmp_path / "fresh")
    run(fresh, content, FitOptions())
    assert_same(written(layout, content), written(fresh, content))
    # 43 examples in batches of 8: a sixth, smaller batch per epoch.
    assert read_json(fresh.run_json(RUN))["steps"] == 24
    assert [p.name for p in run_outputs(layout, RUN, content)] == [
        "model.safetensors", "history.jsonl", "run.json",
    ]  # fmt: skip


# --- one writer ----------------------------------------------------------------------------------


def test_two_processes_on_one_run_and_only_one_fits(layout, straight, capsys):
    worker = process(layout.results, {"at": "", "sleep": 0.1})
    # The other process owns the run once it has begun; this one then comes second.
    assert "starts at step 0" in worker.stdout.readline()
    run(layout, spec())
    output = capsys.readouterr().out
    assert "waiting for process" in output
    assert "already finished" in output
    log = worker.communicate(timeout=60)[0]
    assert worker.returncode == 0, log
    # PyTorch's compiler costs more to import than PyTorch, in every process that fits.
    assert "compiler imported: False" in log
    assert_same(written(layout, spec()), straight["sgd"])


def test_a_fit_that_lost_its_lock_stops_before_it_writes(layout):
    real = parts()

    def task(content, setup):
        tiny = real.task(content, setup)
        step = tiny.step

        def robbed(state, batch):
            if state.step == 7:  # another machine takes over, after three missed beats
                (layout.state(RUN) / "lock.000099").write_text("{}")
            return step(state, batch)

        tiny.step = robbed
        return tiny

    with pytest.raises(StateError, match="the lock of this fit is gone"):
        fit(spec(), RUN, layout, REVISIONS, options=OFTEN, parts=type(real)(real.data, task, real.measure))
    assert max(int(p.stem) for p in layout.state(RUN).glob("*.safetensors")) == 6
    assert not layout.run_folder(RUN).exists()


def test_without_a_lock_nobody_notices(layout):
    """The lock is what the test before relies on: with none, the fit writes over its rival's run."""

    def no_lock(*arguments):
        return NoLock()

    (layout.state(RUN)).mkdir(parents=True)
    (layout.state(RUN) / "lock.000099").write_text("{}")
    assert run(layout, spec(), FitOptions(lock=no_lock))["status"] == "complete"


# --- divergence ----------------------------------------------------------------------------------


def finite(tensors):
    return all(bool(torch.isfinite(t).all()) for t in tensors.values())


def test_divergence_writes_everything_with_the_last_finite_weights(layout, tmp_path):
    record = run(layout, spec(), poison=12)
    assert record["status"] == "diverged"
    assert record["diverged"] == {"term": "loss", "step": 12}
    weights, lines = written(layout, spec())
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(finite(tensors) for tensors in weights.values())
    # The weights are those after twelve good steps, batch statistics included: a state saved there has them.
    other = Layout(tmp_path / "other")
    with pytest.raises(Stopped):
        run(other, spec(), FitOptions(), fault=Fault("step", 11, signal=TERM))
    (state,) = other.state(RUN).glob("*.safetensors")
    saved = load_tensors(state).values()
    for tensor in weights["model.safetensors"].values():
        assert any(t.shape == tensor.shape and torch.equal(t, tensor) for t in saved)
    # Epoch 3 was never reached, epoch 1 was; the file says so.
    assert any(note.startswith("epoch:3: not reached") for note in record["notes"])
    assert not any(note.startswith("epoch:1") for note in record["notes"])
    for key, tensor in weights["epoch_003.safetensors"].items():
        assert torch.equal(tensor, weights["model.safetensors"][key])


def test_divergence_in_the_first_step_and_after_a_resume(layout, tmp_path):
    first = run(Layout(tmp_path / "first"), spec(), poison=0)
    assert first["diverged"]["step"] == 0
    assert any(note.startswith("best: not reached") for note in first["notes"])
    straight = Layout(tmp_path / "straight")
    run(straight, spec(), poison=12)
    with pytest.raises(Killed):
        run(layout, spec(), fault=Fault("step", 11, error=Killed()), poison=12)
    run(layout, spec(), poison=12)
    assert_same(written(layout, spec()), written(straight, spec()))


@pytest.mark.parametrize(
    ("name", "loss", "term", "gradient", "buffer"),
    [
        ("term", 1.0, float("nan"), 1.0, 1.0),
        ("loss", float("inf"), 1.0, 1.0, 1.0),
        ("gradient", 1.0, 1.0, float("nan"), 1.0),
        ("gradient", 1.0, 1.0, 1e30, 1.0),  # its norm does not fit a float32
        ("buffers", 1.0, 1.0, 1.0, float("inf")),
    ],
)
def test_the_first_value_that_is_not_finite_is_named(name, loss, term, gradient, buffer):
    weight = torch.zeros(2, requires_grad=True)
    weight.grad = torch.tensor([gradient, 1.0])
    with pytest.raises(Diverged) as error:
        finite_or_diverge(
            torch.tensor(loss), [weight], {"term": torch.tensor([1.0, term])}, 5, [torch.tensor([buffer])]
        )
    assert (error.value.term, error.value.step) == (name, 5)


def test_gradient_norm_is_returned():
    weights = [torch.zeros(2, requires_grad=True), torch.zeros(1, requires_grad=True)]
    weights[0].grad, weights[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert finite_or_diverge(torch.tensor(1.0), weights, {}, 0).item() == pytest.approx(5.0)


# --- what is already there, monitors ---------------------------------------------------------------


def test_a_finished_run_is_left_alone_until_asked(layout, capsys):
    run(layout, spec())
    before = layout.weights(RUN).stat().st_mtime_ns
    run(layout, spec())
    assert "already finished" in capsys.readouterr().out
    assert layout.weights(RUN).stat().st_mtime_ns == before
    run(layout, spec(), FitOptions(again=True))
    assert layout.weights(RUN).stat().st_mtime_ns != before


def test_damaged_and_stale_outputs_are_replaced(layout, straight, capsys):
    run(layout, spec())
    layout.weights(RUN, "best").write_bytes(b"damaged")
    layout.weights(RUN, "epoch:9").write_bytes(b"of an older spec")
    capsys.readouterr()
    run(layout, spec())
    assert "starts at step 0" in capsys.readouterr().out
    assert_same(written(layout, spec()), straight["sgd"])
    assert not layout.weights(RUN, "epoch:9").exists()


def test_monitors_do_not_touch_the_fit(layout, straight):
    content = spec(monitor=[])
    run(layout, content)
    for key, tensor in load_tensors(layout.weights(RUN)).items():
        assert torch.equal(tensor, straight["sgd"][0]["model.safetensors"][key])


def test_best_is_the_first_of_the_best_epochs():
    scores = iter([0.2, 0.7, float("nan"), 0.7, 0.1])
    entry = {"name": "val", "every": 1, "select": "max:score"}
    monitors = Monitors([entry], {"val": lambda network: {"score": next(scores)}}, 5)
    network = torch.nn.Linear(1, 1)
    for epoch in range(1, 6):
        torch.nn.init.constant_(network.weight, epoch)
        monitors.take(epoch, network, None)
    assert (monitors.best.epoch, monitors.best.value) == (2, 0.7)
    assert monitors.best.weights["weight"].item() == 2
    lowest = Monitors([{**entry, "select": "min:score"}], {"val": lambda network: {"score": 1.0}}, 1)
    lowest.take(1, network, None)
    assert lowest.best.epoch == 1


def test_monitor_every_other_epoch_and_at_the_end():
    entry = {"name": "val", "every": 2, "select": None}
    monitors = Monitors([entry], {"val": lambda network: {"score": 1.0}}, 5)
    taken = [bool(monitors.take(epoch, torch.nn.Linear(1, 1), None)) for epoch in range(1, 6)]
    assert taken == [False, True, False, True, True]


@pytest.mark.parametrize("select", ["best:score", "max:nothing"])
def test_select_that_cannot_be(layout, select):
    content = spec()
    content["monitor"][0]["select"] = select
    with pytest.raises(StateError, match="select"):
        run(layout, content)


def test_draws_without_a_generator_are_new_in_each_step(layout):
    real, drawn = parts(), []

    def task(content, setup):
        tiny = real.task(content, setup)
        step = tiny.step

        def drawing(state, batch):
            drawn.append(float(torch.rand(1)))
            torch.rand(state.step)  # how much one step draws does not matter to the next
            return step(state, batch)

        tiny.step = drawing
        return tiny

    for name in ("one", "two"):
        made = type(real)(real.data, task, real.measure)
        fit(spec(), name, layout, REVISIONS, options=FitOptions(), parts=made)
    assert len(set(drawn[:20])) == 20
    assert drawn[:20] == drawn[20:]


def test_an_old_run_json_goes_before_its_weights(layout):
    """It must never vouch for weights of another spec, not even for a moment."""
    run(layout, spec())
    options = FitOptions(write=full_disk(lambda path: path.name == "ema.safetensors"))
    with pytest.raises(OSError, match="No space"):
        run(layout, spec(seed=4), options)
    assert not layout.run_json(RUN).exists()


# --- the real plugins ------------------------------------------------------------------------------


def toy(seed=0, epochs=2, **fit_options):
    """A resolved spec of the toy line with its real plugins."""
    task = {
        "name": "classifier", "model": {"name": "toy_mlp"}, "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9},
    }  # fmt: skip
    data = {"name": "toy_line", "per_mode_train": 40, "per_mode_test": 10}
    split = {"name": "train", "part": "train", "indices": None, "sha256": None}
    return {
        "task": plugins.resolve("tasks", task),
        "dataset": {
            "name": "toy_line", "data": plugins.resolve("data", data), "classes": 2, "shape": [2],
            "low": None, "high": None, "seed": seed, "files": {},
        },
        "split": split,
        "fit": spec()["fit"] | {"epochs": epochs, "keep_epochs": []} | fit_options,
        "monitor": [
            {
                "name": "val", "measure": plugins.resolve("evaluations", {"name": "accuracy"}),
                "split": {**split, "name": "test", "part": "test"}, "every": 1, "select": "max:accuracy",
            }
        ],
        "seed": seed,
        "inputs": {},
    }  # fmt: skip


def test_real_classifier_resumes_and_loads(layout, tmp_path):
    with pytest.raises(Stopped):
        fit(toy(), RUN, layout, REVISIONS, options=FitOptions(save_every_steps=4), parts=stopped_at(20))
    fit(toy(), RUN, layout, REVISIONS)
    fresh = Layout(tmp_path / "fresh")
    fit(toy(), RUN, fresh, REVISIONS)
    assert_same(written(layout, toy()), written(fresh, toy()))
    loaded = load_run(layout, RUN, "ema")
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


def stopped_at(step):
    """The real parts, with a SIGTERM to this process at a step."""
    from pagrepro.fit_options import Parts, make_task

    def task(content, setup):
        made = make_task(content, setup)
        original = made.step

        def stopping(state, batch):
            if state.step == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(state, batch)

        made.step = stopping
        return made

    return Parts(task=task)


def test_pack_keeps_what_is_finished(layout, capsys):
    bad = toy(seed=1, batch_size=10_000)
    members = [
        {"name": name, "spec": content, "revisions": REVISIONS}
        for name, content in (("a", toy()), ("bad", bad), ("c", toy(seed=2)))
    ]
    (failed,) = fit_all(members, layout, torch.device("cpu"))
    assert failed.startswith("bad: fit.batch_size")
    weights = load_tensors(layout.weights("c"))
    for name in ("a", "c"):
        for path in run_outputs(layout, name, toy()):
            path.unlink()
    capsys.readouterr()
    # Again, with the bad member corrected: only that one is fitted.
    members[1]["spec"] = toy(seed=1)
    assert fit_all(members, layout, torch.device("cpu")) == []
    output = capsys.readouterr().out
    assert "a: unchanged" in output
    assert "c: unchanged" in output
    assert output.count("starts at step 0") == 1
    for key, tensor in load_tensors(layout.weights("c")).items():
        assert torch.equal(tensor, weights[key])


def test_a_pack_fits_what_each_run_fits_alone(layout, tmp_path):
    """The same bits, whoever came before in the process."""
    members = [
        {"name": f"run{seed}", "spec": toy(seed=seed, epochs=1), "revisions": REVISIONS} for seed in range(3)
    ]
    assert fit_all(members, layout, torch.device("cpu")) == []
    for number, member in enumerate(members):
        alone = Layout(tmp_path / f"alone{number}")
        assert fit_all([member], alone, torch.device("cpu")) == []
        weights = load_tensors(alone.weights(member["name"]))
        for key, tensor in load_tensors(layout.weights(member["name"])).items():
            assert torch.equal(tensor, weights[key])


def test_script_names_the_failed_member_and_stops_on_sigterm(layout):
    """The real script: exit code, opening line, and a pack that is stopped in its second member."""
    script = REPOSITORY / "workflow" / "scripts" / "train.py"
    members = [
        {"name": "quick", "spec": toy(), "revisions": REVISIONS},
        {"name": "long", "spec": toy(epochs=100_000), "revisions": REVISIONS},
    ]
    worker = subprocess.Popen(
        [sys.executable, "-u", script, "--spec", json.dumps(members), "--results", layout.results,
         "--device", "cpu", "--threads", "1"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY / "src")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines = []
    for line in worker.stdout:
        lines.append(line)
        if line.startswith("long: starts"):
            worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 143, "".join(lines)
    assert "torch=" in lines[0]
    assert "git" in lines[0]
    assert read_json(layout.run_json("quick"))["status"] == "complete"
    assert list((layout.results / "kept" / "models" / "quick").iterdir())
    assert list(layout.state("long").glob("*.safetensors"))


def test_batch_order_and_size():
    from pagrepro.training_data import Batches

    data = parts().data({}, None, torch.device("cpu"), Path())
    batches = Batches(data, 8, True, 3)
    assert batches.per_epoch == STEPS_PER_EPOCH
    assert Batches(data, 8, False, 3).per_epoch == STEPS_PER_EPOCH + 1
    order = batches.order(0)
    assert sorted(order.tolist()) == list(range(43))
    assert not torch.equal(order, batches.order(1))
    batch = batches.batch(order, 2, 7, 20)
    assert torch.equal(batch.x, data.x[order[16:24]])
    assert torch.equal(batch.index, order[16:24])
    assert (batch.step, batch.progress) == (7, 0.35)
