"""Several processes fit what one would; killed or stopped, they go on where they were."""

import json
import os
import subprocess
import sys
from pathlib import Path

import distributed_worker as worker
import pytest
import torch

from pagrepro import distributed
from pagrepro.errors import UserError
from pagrepro.layout import Layout
from pagrepro.storage import load_tensors, read_json

FILES = ("model.safetensors", "ema.safetensors")


def launch(results: Path, processes: int = 2, micro_batches: int = 2, objective="gradient_norm", **more):
    """Exit code and output of a fit in so many processes."""
    given = {"results": str(results), "objective": objective, "micro_batches": micro_batches, **more}
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
        str(Path(worker.__file__)), json.dumps(given),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    return done.returncode, done.stdout + done.stderr


def weights(results: Path) -> dict[str, torch.Tensor]:
    folder = Layout(results).run_json(worker.RUN).parent
    return {f"{file}: {k}": v for file in FILES for k, v in load_tensors(folder / file).items()}


def difference(one: Path, other: Path) -> float:
    """Largest difference of two runs' weights."""
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    return max((a[k].double() - b[k].double()).abs().max().item() for k in a)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process, objective -> results."""
    found = {}
    for objective in worker.OBJECTIVES:
        found[objective] = tmp_path_factory.mktemp(objective)
        worker.run({"results": str(found[objective]), "objective": objective, "micro_batches": 2})
    return found


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two processes with the gradient norm."""
    results = tmp_path_factory.mktemp("together")
    code, text = launch(results)
    assert code == 0, text
    return results


def test_two_processes_train_what_one_does(alone, together):
    start = worker.spec("gradient_norm", 2)
    assert difference(alone["gradient_norm"], together) < 1e-5
    record = read_json(Layout(together).run_json(worker.RUN))
    assert record["status"] == "complete"
    assert record["spec"] == start
    assert record["steps"] == worker.EPOCHS * (worker.EXAMPLES // worker.BATCH)


def test_histories_agree(alone, together):
    lines = [
        [json.loads(line) for line in Layout(results).history(worker.RUN).read_text().splitlines()]
        for results in (alone["gradient_norm"], together)
    ]
    assert len(lines[0]) == len(lines[1]) == worker.EPOCHS
    for one, two in zip(*lines, strict=True):
        assert one["metrics"] == pytest.approx(two["metrics"], rel=1e-4)


def test_attacks_with_random_starts_agree_too(alone, tmp_path):
    code, text = launch(tmp_path, objective="adversarial_training")
    assert code == 0, text
    assert difference(alone["adversarial_training"], tmp_path) < 1e-5
    assert difference(alone["adversarial_training"], alone["gradient_norm"]) > 1e-3


def test_killed_processes_resume_to_the_same_bits(together, tmp_path):
    code, _ = launch(tmp_path, save_every_steps=2, death=5)
    assert code != 0
    assert not Layout(tmp_path).run_json(worker.RUN).exists()
    code, text = launch(tmp_path, save_every_steps=2)
    assert code == 0, text
    assert "resumes at step 4" in text
    assert difference(together, tmp_path) == 0


def test_a_signal_to_one_stops_all_at_the_same_step(together, tmp_path):
    code, text = launch(tmp_path, stop=3)
    assert code != 0
    assert "stopped by signal 15 at step 4" in text
    code, text = launch(tmp_path)
    assert code == 0, text
    assert "resumes at step 4" in text
    assert difference(together, tmp_path) == 0


def test_micro_batches_that_cannot_be_shared_out_are_refused(tmp_path):
    code, text = launch(tmp_path, micro_batches=1)
    assert code != 0
    assert "fit.micro_batches: 1 cannot be shared out evenly among 2 processes" in text


def test_one_process_has_all_micro_batches_and_speaks_for_itself():
    assert distributed.mine(3) == [0, 1, 2]
    assert distributed.leads() and distributed.world() == 1
    assert distributed.agreed(2, 0) == [2, 0]
    with pytest.raises(UserError):
        distributed.by_leader(lambda: (_ for _ in ()).throw(UserError("no")))
