"""A tiny fit for tests, in this process or as a process of its own that can be killed.

As a program: `fit_worker.py JSON` with keys results, run, spec, save_every_steps, and `fault`:
{"at": "step" | "measure" | "before_replace" | "after_replace" | "half_written", "n": passes that go well,
"signal": what this process then sends itself, "sleep": seconds per step}.
"""

import json
import os
import signal
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pagrepro import storage
from pagrepro.fit import fit
from pagrepro.fit_options import FitOptions, Parts
from pagrepro.layout import Layout
from pagrepro.optimizer_options import Adam, AdamW, Sgd
from pagrepro.optimizers import build_optimizer
from pagrepro.task import finite_or_diverge
from pagrepro.training_data import TrainingData

OPTIMIZERS = {
    "sgd": Sgd(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": Adam(name="adam", lr=0.01),
    "adamw": AdamW(name="adamw", lr=0.01),
}
STEPS_PER_EPOCH = 5


def spec(**changes: Any) -> dict[str, Any]:
    """A resolved spec with everything in it that a state has to carry."""
    fit_spec = {
        "epochs": 4, "batch_size": 8, "drop_last": True, "ema": {"decay": 0.9}, "amp": "none",
        "schedule": {"name": "step", "milestones": {"0.5": 0.1}}, "keep_epochs": [1, 3],
        "deterministic": True, "tf32": False, "channels_last": False,
    }  # fmt: skip
    monitor = {"name": "val", "measure": {"name": "tiny"}, "split": {}, "every": 1, "select": "max:score"}
    content = {
        "task": {"name": "tiny", "optimizer": "sgd"}, "dataset": {"name": "tiny", "files": {}},
        "split": {}, "fit": fit_spec, "monitor": [monitor], "seed": 3, "inputs": {},
    }  # fmt: skip
    content["fit"] |= changes.pop("fit", {})
    return content | changes


class TinyTask:
    """Everything that could make a resumed fit differ: batch statistics, dropout, noise, momentum."""

    def __init__(self, optimizer: str, fault: "Fault", poison: int | None):
        self.network = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2)
        )
        self.optimizers = {"network": build_optimizer(OPTIMIZERS[optimizer], self.network.parameters())}
        self.fault, self.poison = fault, poison

    def step(self, state, batch):
        self.fault.reached("step")
        x = batch.x + 0.1 * torch.randn(batch.x.shape, generator=state.generator("noise"))
        # A step that fails takes the batch statistics with it, as a real divergence does.
        x = x * float("nan") if state.step == self.poison else x
        optimizer = self.optimizers["network"]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.network(x), batch.y)
        loss.backward()
        finite_or_diverge(loss, self.network.parameters(), {}, state.step, self.network.buffers())
        optimizer.step()
        return {"loss": loss.detach(), "share": (batch.index.float().mean())}


@dataclass
class Fault:
    """Counts how often a place was passed and strikes after `n` passes."""

    at: str = ""
    n: int = 0
    signal: int = 0
    sleep: float = 0.0
    error: BaseException | None = None

    def reached(self, place: str) -> None:
        if place == "step":
            time.sleep(self.sleep)
        if place == self.at:
            self.n -= 1
            if self.n < 0:
                self.at = ""
                self.strike()

    def strike(self) -> None:
        if self.error is not None:
            raise self.error
        os.kill(os.getpid(), self.signal)

    def install(self) -> None:
        """Strike inside the real atomic write (of this process), at its two system calls."""
        replace, fsync = os.replace, os.fsync

        def faulty_replace(source, target):
            self.reached("before_replace")
            replace(source, target)
            self.reached("after_replace")

        def faulty_fsync(descriptor):
            is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)  # folders are synchronised too
            if is_file and self.at == "half_written" and self.n == 0:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            if is_file:
                self.reached("half_written")
            fsync(descriptor)

        storage.os = type("os", (), {**vars(os), "replace": staticmethod(faulty_replace)})
        storage.os.fsync = staticmethod(faulty_fsync)


def parts(fault: Fault | None = None, poison: int | None = None) -> Parts:
    """Data, task and monitor of the tiny fit."""
    fault = fault or Fault()

    def data(spec, layout, device, root):
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(STEPS_PER_EPOCH * 8 + 3, 3, generator=generator)
        return TrainingData(x, (x[:, 0] > 0).long(), 2, None, None)

    def task(spec, setup):
        return TinyTask(spec["task"]["optimizer"], fault, poison)

    def measure(entry, spec, layout, device, root):
        def score(network):
            fault.reached("measure")
            torch.rand(7)  # a measurement may draw what it likes
            # Not monotone over epochs, so that the best is not the last.
            return {"score": float(network(torch.ones(1, 3))[0].sin().sum()), "other": 0.0}

        return score

    return Parts(data, task, measure)


def main(argument: str) -> None:
    torch.set_num_threads(1)
    request = json.loads(argument)
    fault = Fault(**request.get("fault", {}))
    fault.install()
    options = FitOptions(save_every_steps=request.get("save_every_steps"), heartbeat_s=0.5, wait_s=60)
    layout = Layout(Path(request["results"]))
    fit(request["spec"], request["run"], layout, {"fit": 1}, options=options, parts=parts(fault))
    print("compiler imported:", "torch._dynamo" in sys.modules)


KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)

if __name__ == "__main__":
    main(sys.argv[1])
