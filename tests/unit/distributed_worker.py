"""Tiny fits by the real task in the real loop, in as many processes as torchrun starts.

`distributed_worker.py JSON...`: each with keys results, objective, micro_batches, save_every_steps, and
`death`: the step before which every process kills itself, or `stop`: before which process 1 gets a SIGTERM.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from mortal_fits import before_each_step
from torch import nn

from pagrepro import distributed, plugins
from pagrepro.errors import UserError
from pagrepro.fit import fit
from pagrepro.fit_options import FitOptions, Parts
from pagrepro.layout import Layout
from pagrepro.training_data import TrainingData

RUN, EXAMPLES, BATCH, EPOCHS = "run", 34, 8, 2
PGD = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 2, "relative_step": 2}
OBJECTIVES = {
    "gradient_norm": {"name": "gradient_norm", "norm": "l1", "weight": 0.1, "ramp": 0.5},
    "adversarial_training": {"name": "adversarial_training", "attack": PGD, "ramp": 0.5},
    # With dropout, whose draws take no generator, and convolutions whose weights the loop lays out anew.
    "cross_entropy": {"name": "cross_entropy"},
}


def spec(objective: str, micro_batches: int) -> dict:
    # PyTorch's CPU convolutions overwrite memory with fewer channels in this layout.
    channels_last = objective == "cross_entropy"
    task = {
        "name": "classifier", "model": {"name": "preact_resnet18", "width": 8 if channels_last else 2},
        "objective": OBJECTIVES[objective], "augment": {"crop_padding": 1, "flip": True},
        "optimizer": {"name": "adamw", "lr": 1e-3, "decay": "matrices"}, "clip_norm": 1.0,
    }  # fmt: skip
    fit_spec = {
        "epochs": EPOCHS, "batch_size": BATCH, "micro_batches": micro_batches, "drop_last": True,
        "ema": {"decay": 0.9, "start": 0}, "amp": "none", "schedule": {"name": "constant"},
        "keep_epochs": [], "deterministic": True, "tf32": False,
        "channels_last": channels_last,
    }  # fmt: skip
    monitor = {"name": "val", "measure": {"name": "accuracy"}, "split": {}, "every": 1, "select": "max:size"}
    return {
        "task": plugins.resolve("tasks", task), "dataset": {"name": "made", "files": {}}, "split": {},
        "fit": fit_spec, "monitor": [monitor], "seed": 3, "inputs": {},
    }  # fmt: skip


def run(given: dict) -> None:
    """Fit, or die as told."""
    x = torch.rand(EXAMPLES, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def data(content, layout, device, root):
        return TrainingData(x, torch.arange(EXAMPLES) % 3, 3)

    def die_in_time(state):
        if state.step == given.get("death"):
            os.kill(os.getpid(), signal.SIGKILL)
        if state.step == given.get("stop") and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def build(content, setup):
        made = before_each_step(die_in_time)(content, setup)
        if given["objective"] == "cross_entropy":
            made.network.layer2.append(nn.Dropout(0.3))
        return made

    def measure(entry, content, layout, device, root):
        def size(network):
            assert distributed.leads()
            return {"size": float(sum(p.abs().sum() for p in network.parameters()))}

        return size

    options = FitOptions(save_every_steps=given.get("save_every_steps"), heartbeat_s=0.3)
    layout = Layout(Path(given["results"]))
    content = spec(given["objective"], given["micro_batches"])
    fit(content, RUN, layout, {}, options=options, parts=Parts(data, build, measure))


if __name__ == "__main__":
    torch.set_num_threads(1)
    distributed.join(torch.device("cpu"))
    for argument in sys.argv[1:]:
        try:
            run(json.loads(argument))
        except UserError as error:
            print(f"process {distributed.rank()}: {error}", flush=True)
    distributed.leave()
