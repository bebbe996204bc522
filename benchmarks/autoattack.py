"""AutoAttack as measured here, against the library's own call: passes, and time through the prepared network.

Croce and Hein (2020); Rodriguez-Munoz et al. (2024), section 3 and Table 9. Two comparisons. The first
counts passes: the library's call drops an image after the attack that breaks it; the paper's code for
several GPUs lets every attack go over every image. The project's measurement drops as the library does, and
gives the same answer with as many passes: its look at the gradients of the first batch comes on top.

The second takes the time of all four attacks on a ResNet-18 for colour images of 32x32, as public code
calls them: the network as it comes from training, whose weights require gradients, so that FAB's
`backward()` computes those as well. The measurement attacks the prepared copy of the network
(`prepared_network.py`) instead; what freezing and folding alone give is a variant of its own. Proportions
of passes are about those of the standard version: on a CPU a fiftieth of its steps and of its queries (a
tenth in the first comparison).
"""

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import _digits
import prepared_network
from _measure import alternate, bar, clock, note, ratios
from pagrepro import autoattack_run, plugins, seeding
from pagrepro.autoattack_run import Stage, library_attack
from pagrepro.prepared_network import prepared
from pagrepro.request import MeasureRequest

NAME = "AutoAttack with a tenth of its steps and queries, and through the prepared network"

EPS = 0.06
ATTACKS = {"apgd_ce": "apgd-ce", "apgd_t": "apgd-t", "fab_t": "fab-t", "square": "square"}
STEPS, QUERIES = 10, 500
BATCH = 50
PASSES_LIMIT = 1.01  # of the library's call
TIME_LIMIT = 0.85  # of the library's call, through the network as it is
# Of the network with random weights: most images stand, so that all attacks have work, and some do not.
SMALL_EPS = 0.2 / 255
PLAIN = "ResNet-18: the library's call, weights require gradients"
FOLDED, PREPARED = "ResNet-18: folding alone", "ResNet-18: the prepared network"
# width, images, side, steps, queries, rounds: a fiftieth of the standard version on a CPU, a tenth on a GPU.
SIZES = {"cpu": (16, 16, 32, 2, 100, 3), "cuda": (64, 256, 32, 10, 500, 3)}
OURS, LIBRARY, EVERYTHING = "the measurement", "the library's call", "every attack on every image"


class Counting(nn.Module):
    """Counts the images that go through a network, and the gradients that come back; `counts`: together with
    those of another one."""

    def __init__(self, network: nn.Module, counts: dict[str, int] | None = None):
        super().__init__()
        self.network = network
        self.counts = {"forward": 0, "backward": 0} if counts is None else counts

    def forward(self, x: Tensor) -> Tensor:
        self.counts["forward"] += len(x)
        logits = self.network(x)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, gradient: Tensor) -> None:
        self.counts["backward"] += len(gradient)


def measured(
    request: MeasureRequest, steps: int, queries: int, eps: float = EPS, ready: bool = False
) -> Tensor:
    """(N,) bool: what stands after the project's measurement."""
    module = plugins.load("evaluations", "autoattack")
    options = {"attacks": list(ATTACKS), "eps": eps, "steps": steps, "queries": queries, "prepared": ready}
    found = module.measure(module.Config(version="custom", **options), request)
    return torch.from_numpy(found.arrays["correct"])


def attacks(request: MeasureRequest, steps: int, queries: int, eps: float = EPS) -> dict[str, Any]:
    """The library's attacks with the measurement's options and random numbers."""
    seed = seeding.seed_for(request.seed, "autoattack", 0)
    return {
        kind: library_attack(
            Stage(kind, kind, steps=steps, queries=queries), request.model, "linf", eps, seed, request.device
        )
        for kind in ATTACKS
    }


def by_the_library(request: MeasureRequest, steps: int, queries: int, eps: float = EPS) -> Tensor:
    """(N,) bool: what stands after `run_standard_evaluation`."""
    from pyautoattack import AutoAttack

    whole = AutoAttack(
        request.model, norm="Linf", eps=eps, version="custom", attacks=list(ATTACKS.values()),
        seed=seeding.seed_for(request.seed, "autoattack", 0), device=request.device,
    )  # fmt: skip
    made = attacks(request, steps, queries, eps)
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


def counted_passes(device: torch.device, quick: bool) -> tuple[list[dict], dict[str, Any]]:
    """Rows of the first comparison, and its settings."""
    n, epochs, steps, queries = (30, 4, 3, 10) if quick else (60, 12, STEPS, QUERIES)
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
        row |= {key: count / n for key, count in counted.model.counts.items()}
        row["passes ratio"] = _passes(row) / _passes(rows[0] if rows else row)
        rows.append(row)
    settings = {"images": n, "batch": request.batch_size, "eps": EPS, "steps": steps, "queries": queries}
    return rows, settings


def through_a_deep_network(device: torch.device, quick: bool) -> tuple[list[dict], dict[str, Any]]:
    """Rows of the second comparison, and its settings. Labels are the network's own answers, so that all
    images are right before the attacks."""
    width, n, side, steps, queries, rounds = (4, 4, 16, 2, 10, 1) if quick else SIZES[device.type]
    model = prepared_network.network("cifar_resnet18", width, device)
    g = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, side, side, generator=g).to(device)
    with torch.no_grad():
        # Else the last layer's random bias decides, and no attack changes it.
        model.linear.bias -= model(x).mean(0)
        y = model(x).argmax(1)
    request = replace(_digits.request(model, x, y), batch_size=n)
    counting = {
        PLAIN: Counting(copy.deepcopy(model).requires_grad_(True)).eval(),
        FOLDED: Counting(model).eval(),
        PREPARED: Counting(model).eval(),
    }
    stands: dict[str, Tensor] = {}

    def call(name: str) -> None:
        asked = replace(request, model=counting[name])
        asked.model.counts |= {"forward": 0, "backward": 0}
        with (
            torch.random.fork_rng(devices=[]),
            mock.patch.object(autoattack_run, "prepared", COPIES.get(name)),
        ):
            way = by_the_library if name == PLAIN else functools.partial(measured, ready=True)
            stands[name] = way(asked, steps, queries, SMALL_EPS)

    note(f"  time of all four attacks, {rounds} rounds")
    timed = {name: functools.partial(call, name) for name in counting}
    timing = ratios(alternate(timed, rounds, device, slice_s=0.0), PLAIN)
    rows = []
    for name, model in counting.items():
        row = {"variant": name, **timing[name], "accuracy": float(stands[name].double().mean())}
        row |= {key: count / n for key, count in model.counts.items()}
        rows.append(row | {"passes ratio": _passes(row) / _passes(rows[0] if rows else row)})
    settings = {"width": width, "deep: images": n, "eps ": round(SMALL_EPS, 5), "steps ": steps}
    return rows, settings | {"queries ": queries, "rounds": rounds}


def _folded(model: Counting, device: torch.device) -> nn.Module:
    """Batch normalisation folded, the order of memory as it was."""
    made = prepared(model.network, device)
    return Counting(getattr(made, "network", made).to(memory_format=torch.contiguous_format), model.counts)


def _prepared(model: Counting, device: torch.device) -> nn.Module:
    return Counting(prepared(model.network, device), model.counts)


# What the measurement makes of the network before it attacks, counted.
COPIES = {FOLDED: _folded, PREPARED: _prepared}


def run(device: torch.device, quick: bool) -> dict:
    """Rows, bars and settings; quick: fewer images, steps and queries, and a narrower network."""
    rows, settings = counted_passes(device, quick)
    deep, more = through_a_deep_network(device, quick)
    return {"rows": rows + deep, "bars": bars(rows + deep), "settings": settings | more}


def _passes(row: dict) -> float:
    return row["forward"] + row["backward"]


def bars(rows: list[dict]) -> list[dict]:
    """The library's accuracy, with the passes of its own call; through a deep network, in less time."""
    found = {row["variant"]: row for row in rows}
    ours, library, plain, ready = (found[name] for name in (OURS, LIBRARY, PLAIN, PREPARED))
    return [
        bar(f"{OURS}: passes", _passes(ours) / _passes(library), PASSES_LIMIT, f"times {LIBRARY}"),
        bar(f"{OURS}: accuracy", abs(ours["accuracy"] - library["accuracy"]), 0.0, "apart"),
        bar(f"{PREPARED}: time", ready["time ratio"], TIME_LIMIT, "times that of the library's call"),
        bar(f"{PREPARED}: passes", _passes(ready) / _passes(plain), PASSES_LIMIT, "times the library's"),
        bar(f"{PREPARED}: accuracy", abs(ready["accuracy"] - plain["accuracy"]), 0.0, "apart"),
    ]
