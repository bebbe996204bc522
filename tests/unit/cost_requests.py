"""A request to time the training steps of three small networks, for tests and fingerprints."""

import torch
from fingerprint_tools import pattern
from linear_models import CPU

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.replay import ReplayRequest
from pagrepro.request import LoadedRun

PGD_3 = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 3, "relative_step": 2}
OBJECTIVES = {
    "plain": {"name": "cross_entropy"},
    "own": {"name": "gradient_norm", "norm": "l1", "weight": 1},
    "adversarial": {"name": "adversarial_training", "attack": PGD_3},
}


def run_spec(objective, width=4):
    """Spec of a run that trains a small colour network with this objective."""
    task = {
        "name": "classifier", "model": {"name": "preact_resnet18", "width": width},
        "objective": objective, "optimizer": {"name": "adamw", "lr": 1e-3},
    }  # fmt: skip
    return {"seed": 0, "task": plugins.resolve("tasks", task), "fit": {"batch_size": 8}}


def cost_request(width=4):
    x, y = 0.05 + 0.9 * pattern(8, 3, 16, 16), torch.arange(8) % 10
    specs = {name: run_spec(objective, width) for name, objective in OBJECTIVES.items()}
    model = torch.nn.Identity()
    others = {name: LoadedRun(name, model, specs[name]) for name in ("plain", "adversarial")}
    batch = Batch(x.double(), y, torch.arange(8))
    return ReplayRequest(
        model, x.float(), y, torch.arange(8), 10, 0, 0.0, 1.0, CPU, 8, {}, others,
        batch=batch, run_spec=specs["own"],
    )  # fmt: skip
