"""Fits of made-up images in the real loop that die where they are told to, and what they leave behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pagrepro.finished import run_outputs
from pagrepro.fit import fit
from pagrepro.fit_options import FitOptions, Parts, make_task
from pagrepro.layout import Layout
from pagrepro.storage import load_tensors, read_json
from pagrepro.task import LoopState, Task, TaskSetup
from pagrepro.training_data import TrainingData

RUN, EXAMPLES, BATCH = "run", 30, 8
STEPS_PER_EPOCH = EXAMPLES // BATCH


class Killed(BaseException):
    """Stands for a death of the process."""


def before_each_step(act: Callable[[LoopState], None]) -> Callable[[dict[str, Any], TaskSetup], Task]:
    """The spec's own task, which calls `act` before every step."""

    def build(content: dict[str, Any], setup: TaskSetup) -> Task:
        made = make_task(content, setup)
        step = made.step

        def watched(state, batch):
            act(state)
            return step(state, batch)

        made.step = watched
        return made

    return build


def run(layout: Layout, content: dict[str, Any], options: FitOptions, death: int | None = None):
    """Fit random images of the spec's shape and classes; the process dies before step number `death`."""
    classes, shape = content["dataset"]["classes"], content["dataset"]["shape"]
    x = torch.rand(EXAMPLES, *shape, generator=torch.Generator().manual_seed(0))

    def data(content, layout, device, root):
        return TrainingData(x, torch.arange(EXAMPLES) % classes, classes)

    def die_in_time(state):
        if state.step == death:
            raise Killed

    return fit(
        content, RUN, layout, {}, options=options, parts=Parts(data=data, task=before_each_step(die_in_time))
    )


def written(layout: Layout, content: dict[str, Any]) -> tuple[dict[str, dict[str, Tensor]], list[dict]]:
    """Weights by file name, and the metrics of every epoch."""
    paths = [p for p in run_outputs(layout, RUN, content) if p.suffix == ".safetensors"]
    lines = [json.loads(line) for line in layout.history(RUN).read_text().splitlines()]
    return {path.name: load_tensors(path) for path in paths}, [line["metrics"] for line in lines]


def check_resumed(tmp_path: Path, content: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """Killed in the first epoch and in the second, each time some steps after the last saved state, a fit
    ends in the same bits as an uninterrupted one, whose weights are returned."""
    straight, resumed = Layout(tmp_path / "straight"), Layout(tmp_path / "resumed")
    run(straight, content, FitOptions())
    for death in (STEPS_PER_EPOCH - 1, 2 * STEPS_PER_EPOCH - 1):
        with pytest.raises(Killed):
            run(resumed, content, FitOptions(save_every_steps=2), death)
    run(resumed, content, FitOptions(save_every_steps=2))
    assert read_json(resumed.run_json(RUN))["provenance"]["resumed"] == 2
    (weights, lines), (found, found_lines) = written(straight, content), written(resumed, content)
    assert lines == found_lines
    assert {*weights} == {f"{n}.safetensors" for n in ("model", "ema", "best", "epoch_001")}
    for name, tensors in weights.items():
        assert tensors.keys() == found[name].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, found[name][key]), f"{name}: {key}"
    return weights


def moved(weights: dict[str, dict[str, Tensor]]) -> set[str]:
    """Names of the weights that changed after the first epoch."""
    first, last = weights["epoch_001.safetensors"], weights["model.safetensors"]
    return {key for key in last if not torch.equal(first[key], last[key])}
