"""Fingerprint of what training objectives say of a network at the end of its training."""

from collections.abc import Callable

import torch
from fingerprint_tools import CPU, Cases, frozen_convnet, images, measured, pattern
from networks import CLASSES, IMAGE

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.replay import ReplayRequest

OBJECTIVES = {
    "class": {"name": "edge_alignment", "weight": 1, "growth": 9},
    "saliency": {"name": "edge_alignment", "weight": 1, "gradient_of": "saliency"},
    "loss": {"name": "edge_alignment", "weight": 1, "gradient_of": "loss"},
    "ramp": {"name": "gradient_norm", "weight": 0.7, "norm": "l1", "ramp": 2},
}


def objective_terms() -> Cases:
    x, y = images()
    batch = Batch(pattern(5, *IMAGE, start=100), torch.arange(5) % CLASSES, torch.arange(5), progress=0.2)
    cases = {}
    for case, options in OBJECTIVES.items():
        spec = {"seed": 2, "task": {"objective": plugins.resolve("objectives", options)}}
        request = ReplayRequest(
            frozen_convnet(), x, y, torch.arange(6), CLASSES, 0, 0.0, 1.0, CPU, 4, batch=batch, run_spec=spec
        )
        cases |= measured("objective_terms", request, {case: {}})
    return cases


FINGERPRINTS: dict[str, Callable[[], Cases]] = {"evaluations.objective_terms": objective_terms}
