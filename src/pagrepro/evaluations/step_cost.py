"""Cost of one training step of three recipes: seconds, floating-point operations and passes, side by side.

Rodriguez-Munoz, Wang and Torralba (2024), Table 3: natural training, gradient norm and PGD-3. The paper
counts 2, 5 and 8 passes and measures seconds per batch on 8 V100, whose attack also computes gradients of
weights. Here the three steps are the tasks' own (`tasks/classifier.py`), on one batch, in turns, in a process
that has the machine to itself. Weights are fresh: no cost depends on them.
"""

import time
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.flops import flops
from pagrepro.options import Strict
from pagrepro.replay import ReplayRequest
from pagrepro.request import Measurement
from pagrepro.task import LoopState, TaskSetup

REVISION = 1
ROLES = {"plain": "run", "adversarial": "run"}
REPLAYS = True
APART = True
ALONE = True
ARRAYS = False


class Config(Strict):
    """rounds: in each, every recipe has its turn, in rotating order; steps: timed together in one turn;
    batch: number of examples of a step, for all recipes; null: those that the measured run has on the device
    at once (its batch, or one of its micro-batches)."""

    rounds: Annotated[int, Field(ge=2)] = 3
    steps: Annotated[int, Field(ge=1)] = 5
    batch: Annotated[int, Field(ge=1)] | None = None


def measure(config: Config, request: ReplayRequest) -> Measurement:
    """values, for r in plain, own (the measured run's) and adversarial: seconds_r per step, mean over the
    rounds, with its standard deviation (n - 1) seconds_std_r; flops_r (convolutions and matrix products, a
    multiplication and an addition counted as two); forwards_r, backwards_r, how often an example goes through
    the network, and how often a gradient comes back from its output (twice for a double backward, the second
    time through the first backward pass, too); relative_seconds_r, relative_flops_r to adversarial; batch,
    the number of examples."""
    specs = {
        "plain": request.inputs["plain"].spec,
        "own": request.run_spec,
        "adversarial": request.inputs["adversarial"].spec,
    }
    batch = _batch(config, request)
    steps = {name: _Step(spec, request, batch) for name, spec in specs.items()}
    counts = {name: step.counts() for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for k in range(config.rounds):
        for name in names[k % 3 :] + names[: k % 3]:
            seconds[name].append(steps[name].seconds(config.steps))
    values = {"batch": float(len(batch.y))}
    for name in names:
        values[f"seconds_{name}"] = float(np.mean(seconds[name]))
        values[f"seconds_std_{name}"] = float(np.std(seconds[name], ddof=1))
        values[f"relative_seconds_{name}"] = float(np.mean(seconds[name]) / np.mean(seconds["adversarial"]))
        values |= {f"{what}_{name}": number for what, number in counts[name].items()}
        values[f"relative_flops_{name}"] = counts[name]["flops"] / counts["adversarial"]["flops"]
    return Measurement(values)


def _batch(config: Config, request: ReplayRequest) -> Batch:
    """The batch of all recipes, at half of the training, when ramps are over. The request has a few of the
    run's training examples; they are repeated where more are wanted, since no cost depends on them."""
    fit, given = request.run_spec["fit"], request.batch
    size = config.batch or fit["batch_size"] // fit.get("micro_batches", 1)
    rows = torch.arange(size, device=given.y.device) % len(given.y)
    return Batch(
        given.x[rows].float(), given.y[rows], given.index[rows], fields=given.fields, low=given.low,
        high=given.high, step=1, progress=0.5,
    )  # fmt: skip


class _Step:
    """The training step of a run on a batch."""

    def __init__(self, spec: dict[str, Any], request: ReplayRequest, batch: Batch):
        task, given = plugins.load("tasks", spec["task"]["name"]), dict(spec["task"])
        given.pop("name")
        # A compiled step cannot be counted.
        given["objective"] = given["objective"] | (
            {"compiled": False} if given["objective"].get("compiled") else {}
        )
        self.batch, self.device = batch, request.device
        setup = TaskSetup(
            tuple(batch.x.shape[1:]), request.classes, request.low, request.high, spec["seed"], 2, self.device
        )
        # Weights that the run started from are of no account, and so is the file they were in.
        self.task = task.build(task.Config(**{**given, "adapter": None}), setup)
        self.task.network.train()
        self.state = LoopState(spec["seed"], 2, self.device, 0, 1)

    def __call__(self) -> None:
        with torch.enable_grad():
            self.task.step(self.state, self.batch)

    def seconds(self, steps: int) -> float:
        """Wall time per step."""
        start = self._now()
        for _ in range(steps):
            self()
        return (self._now() - start) / steps

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def counts(self) -> dict[str, float]:
        """Passes per example and operations of one step; also its warm-up."""
        rows = {"forwards": 0, "backwards": 0}

        def backward(gradient: torch.Tensor) -> None:
            rows["backwards"] += len(gradient)

        def forward(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            rows["forwards"] += len(output)
            if output.requires_grad:
                output.register_hook(backward)

        self()
        hook = self.task.network.register_forward_hook(forward)
        operations = flops(self)
        hook.remove()
        passes = {name: count / len(self.batch.y) for name, count in rows.items()}
        return passes | {"flops": float(operations)}
