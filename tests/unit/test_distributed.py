"""Several processes fit what one would; killed or stopped, they go on where they were.

Every process costs seconds before it starts (DistributedDataParallel imports PyTorch's compiler), so that few
are started, and each for several fits.
"""

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

FILES = ("model.safetensors", "ema.safetensors", "best.safetensors")


def job(results: Path, objective="gradient_norm", micro_batches=2, **more) -> str:
    """What a worker is told of one fit."""
    return json.dumps(
        {"results": str(results), "objective": objective, "micro_batches": micro_batches, **more}
    )


def launch(*jobs: str) -> tuple[int, str]:
    """Exit code and output of fits in two processes."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(Path(worker.__file__)), *jobs,
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
        worker.run(json.loads(job(found[objective], objective)))
    return found


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Two processes, objective -> results; and what they said."""
    found = {objective: tmp_path_factory.mktemp(objective) for objective in worker.OBJECTIVES}
    refused = job(tmp_path_factory.mktemp("refused"), micro_batches=1)
    code, text = launch(*(job(results, objective) for objective, results in found.items()), refused)
    assert code == 0, text
    return found, text


@pytest.mark.parametrize("objective", worker.OBJECTIVES)
def test_two_processes_train_what_one_does(alone, together, objective):
    results = together[0][objective]
    assert difference(alone[objective], results) < 1e-5
    record = read_json(Layout(results).run_json(worker.RUN))
    assert record["status"] == "complete"
    assert record["spec"] == worker.spec(objective, 2)
    assert record["steps"] == worker.EPOCHS * (worker.EXAMPLES // worker.BATCH)
    assert record["provenance"]["processes"] == 2


def test_objectives_differ_by_more_than_processes_do(alone):
    first, second, _ = alone.values()
    assert difference(first, second) > 1e-3


@pytest.mark.parametrize("objective", worker.OBJECTIVES)
def test_histories_agree_and_the_leader_alone_measures(alone, together, objective):
    lines = [
        [json.loads(line) for line in Layout(results).history(worker.RUN).read_text().splitlines()]
        for results in (alone[objective], together[0][objective])
    ]
    assert len(lines[0]) == len(lines[1]) == worker.EPOCHS
    for one, two in zip(*lines, strict=True):
        assert one["metrics"] == pytest.approx(two["metrics"], rel=1e-4)
        assert one["monitor"].keys() == two["monitor"].keys() == {"val"}


def test_micro_batches_that_cannot_be_shared_out_are_refused(together):
    for process in (0, 1):
        assert (
            f"process {process}: fit.micro_batches: 1 cannot be shared out evenly among 2 processes"
            in together[1]
        )


def test_killed_and_stopped_processes_resume_to_the_same_bits(together, tmp_path):
    killed, stopped = tmp_path / "killed", tmp_path / "stopped"
    code, _ = launch(job(killed, save_every_steps=2, death=5))
    assert code != 0
    assert not Layout(killed).run_json(worker.RUN).exists()
    # A signal to one of them stops both at the same step.
    code, text = launch(job(stopped, stop=2))
    assert code != 0
    assert "stopped by signal 15 at step 3" in text
    code, text = launch(job(killed, save_every_steps=2), job(stopped))
    assert code == 0, text
    assert "resumes at step 4" in text
    assert "resumes at step 3" in text
    for results in (killed, stopped):
        assert difference(together[0]["gradient_norm"], results) == 0
        assert read_json(Layout(results).run_json(worker.RUN))["provenance"]["resumed"] == 1


def test_one_process_has_all_micro_batches_and_speaks_for_itself():
    assert distributed.mine(3) == [0, 1, 2]
    assert distributed.leads()
    assert distributed.world() == 1
    assert distributed.agreed(2, 0) == [2, 0]
    with pytest.raises(UserError):
        distributed.by_leader(lambda: (_ for _ in ()).throw(UserError("no")))
