"""Images per second of the training steps by which the papers are compared, in two precisions.

The network is the ResNet-18 for CIFAR-10; steps are plain training, the gradient norm of Rodriguez-Munoz et
al. (2024), the alignment of all ten classes of Ganz et al. (2022) and adversarial training with PGD-10. In
bfloat16 the network computes under autocast, on a GPU with images and weights in channels-last order; on a
CPU the order of memory stays (docs/known-issues.md). The error of a row is that of its parameter gradient,
against float32 without TF32.
"""

import contextlib
import functools
from typing import Any

import torch
from torch import Tensor, nn

from _measure import alternate, costs, note, parameter_gradient, ratios, relative_error
from adversarial_training import ATTACK
from alignment_all_classes import WEIGHT, Loss, examples, network, project_objective
from pagrepro.batch import Batch

NAME = "images per second of training steps (ResNet-18, as for CIFAR-10)"

WIDTH = {"cpu": 8, "cuda": 64}
BATCH = {"cpu": 8, "cuda": 256}
PLAIN = "plain cross-entropy"
SINGLE = "float32"
HALF = {"cpu": "bfloat16", "cuda": "bfloat16, channels last"}


def losses() -> dict[str, Loss]:
    """Loss by name, as the training loop calls it. A step is its parameter gradient."""
    return {
        PLAIN: project_objective("cross_entropy"),
        "gradient norm": project_objective("gradient_norm", norm="l1", weight=1.0),
        "alignment of ten classes": project_objective("cosine_alignment", weight=WEIGHT),
        "PGD-10": project_objective("adversarial_training", attack=ATTACK),
    }


def step(loss: Loss, model: nn.Module, batch: Batch, half: bool) -> Tensor:
    """The parameter gradient."""
    amp = torch.autocast(batch.x.device.type, torch.bfloat16) if half else contextlib.nullcontext()
    with amp:
        value = loss(model, batch)
    return parameter_gradient(value, model)


def run(device: torch.device, quick: bool) -> dict[str, Any]:
    """Rows and settings, no bars; quick: a narrower network, fewer and smaller images, one short round."""
    width, n, side = (4, 4, 16) if quick else (WIDTH[device.type], BATCH[device.type], 32)
    rounds, slice_s = (1, 0.02) if quick else (3, 0.1)
    batch = examples(n, side, device)
    batch.progress = 1.0
    rows = []
    for name, loss in losses().items():
        note(f"  {name}, {rounds} rounds")
        steps, gradients = {}, {}
        for precision in (SINGLE, HALF[device.type]):
            model, half = network(width, device), precision != SINGLE
            if "channels last" in precision:
                model = model.to(memory_format=torch.channels_last)
            steps[precision] = functools.partial(step, loss, model, batch, half)
            gradients[precision] = steps[precision]()  # the first step also loads and chooses kernels
        counts = {precision: costs(call, device) for precision, call in steps.items()}
        for precision, timing in ratios(alternate(steps, rounds, device, slice_s), SINGLE).items():
            row = {"variant": name, "precision": precision, "images per s": n / timing["seconds"], **timing}
            error = relative_error(gradients[precision].float(), gradients[SINGLE])
            rows.append(row | counts[precision] | {"error": error})
    settings = {"width": width, "batch": n, "image side": side, "rounds": rounds}
    return {"rows": rows, "bars": [], "settings": settings}
