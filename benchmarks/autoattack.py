"""Passes of AutoAttack: attacking what still stands, against the library's own call and against no dropping.

Croce and Hein (2020); Rodriguez-Munoz et al. (2024), section 3 and Table 9. The library's call drops an image
after the attack that breaks it. The paper's code for several GPUs lets every attack go over every image. Here
the project's measurement drops as the library does, and gives the same answer with as many passes: its look
at the gradients of the first batch comes on top.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import _digits
from _measure import bar, clock, note
from pagrepro import plugins, seeding
from pagrepro.autoattack_run import Stage, library_attack
from pagrepro.request import MeasureRequest

NAME = "AutoAttack with a tenth of its steps and queries, on digits"

EPS = 0.06
ATTACKS = {"apgd_ce": "apgd-ce", "apgd_t": "apgd-t", "fab_t": "fab-t", "square": "square"}
STEPS, QUERIES = 10, 500
BATCH = 50
PASSES_LIMIT = 1.01  # of the library's call
OURS, LIBRARY, EVERYTHING = "the measurement", "the library's call", "every attack on every image"


class Counting(nn.Module):
    """Counts the images that go through a network, and the gradients that come back."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.forwards, self.backwards = network, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits = self.network(x)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def measured(request: MeasureRequest, steps: int, queries: int) -> Tensor:
    """(N,) bool: what stands after the project's measurement."""
    module = plugins.load("evaluations", "autoattack")
    options = {"attacks": list(ATTACKS), "eps": EPS, "steps": steps, "queries": queries}
    found = module.measure(module.Config(version="custom", **options), request)
    return torch.from_numpy(found.arrays["correct"])


def attacks(request: MeasureRequest, steps: int, queries: int) -> dict[str, Any]:
    """The library's attacks with the measurement's options and random numbers."""
    seed = seeding.seed_for(request.seed, "autoattack", 0)
    return {
        kind: library_attack(
            Stage(kind, kind, steps=steps, queries=queries), request.model, "linf", EPS, seed, request.device
        )
        for kind in ATTACKS
    }


def by_the_library(request: MeasureRequest, steps: int, queries: int) -> Tensor:
    """(N,) bool: what stands after `run_standard_evaluation`."""
    from pyautoattack import AutoAttack

    whole = AutoAttack(
        request.model, norm="Linf", eps=EPS, version="custom", attacks=list(ATTACKS.values()),
        seed=seeding.seed_for(request.seed, "autoattack", 0), device=request.device,
    )  # fmt: skip
    made = attacks(request, steps, queries)
    whole.apgd, whole.apgd_targeted, whole.fab, whole.square = made.values()
    _, labels = whole.run_standard_evaluation(request.x, request.y, batch_size=request.batch_size)
    return (labels == request.y).cpu()


def on_everything(request: MeasureRequest, steps: int, queries: int) -> Tensor:
    """(N,) bool: what every attack, on all images by itself, leaves standing."""
    with torch.no_grad():
        stands = request.model(request.x).argmax(1) == request.y
        for attack in attacks(request, steps, queries).values():
            moved = attack.perturb(request.x.clone(), request.y)
            stands &= request.model(moved).argmax(1) == request.y
    return stands.cpu()


VARIANTS: dict[str, Callable[[MeasureRequest, int, int], Tensor]] = {
    EVERYTHING: on_everything,
    LIBRARY: by_the_library,
    OURS: measured,
}


def run(device: torch.device, quick: bool) -> dict:
    """Rows, bars and settings; quick: fewer images, steps and queries."""
    n, epochs, steps, queries = (30, 4, 3, 10) if quick else (200, 12, STEPS, QUERIES)
    model = _digits.fitted(device, epochs, noise=0.15)
    request = _digits.request(model, *_digits.part("test", device, n))
    request = replace(request, batch_size=10 if quick else BATCH)
    rows = []
    for name, variant in VARIANTS.items():
        note(f"  {name}")
        counted = replace(request, model=Counting(model).eval().requires_grad_(False))
        start = clock(device)
        with torch.random.fork_rng(devices=[]):
            stands = variant(counted, steps, queries)
        row = {"variant": name, "seconds": clock(device) - start, "accuracy": float(stands.double().mean())}
        row |= {"forward": counted.model.forwards / n, "backward": counted.model.backwards / n}
        row["passes ratio"] = (row["forward"] + row["backward"]) / _passes(rows[0] if rows else row)
        rows.append(row)
    settings = {"images": n, "batch": request.batch_size, "eps": EPS, "steps": steps, "queries": queries}
    return {"rows": rows, "bars": bars(rows), "settings": settings}


def _passes(row: dict) -> float:
    return row["forward"] + row["backward"]


def bars(rows: list[dict]) -> list[dict]:
    """The library's accuracy, with the passes of its own call."""
    found = {row["variant"]: row for row in rows}
    ours, library = found[OURS], found[LIBRARY]
    return [
        bar(f"{OURS}: passes", _passes(ours) / _passes(library), PASSES_LIMIT, f"times {LIBRARY}"),
        bar(f"{OURS}: accuracy", abs(ours["accuracy"] - library["accuracy"]), 0.0, "apart"),
    ]
