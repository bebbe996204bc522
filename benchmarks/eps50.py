"""The budget that fools half of the examples: bisection against the full grid of budgets.

Bigolin Lanfredi et al. (2020), Table 2 (eps50) and Figure S8 (error against eps). The published way attacks
all examples at every budget with PGD-40. Here each example bisects for the smallest budget that fools it,
which gives the whole curve, or the set bisects for the crossing of one half, which gives eps50 alone; and
examples leave the attack as soon as they are fooled. Success (at any iterate) and noise are the same in all.
"""

import functools
from typing import Any

import numpy as np
import torch

import _digits
from _measure import alternate, bar, gflop, note, peak_mb, ratios
from pagrepro import plugins
from pagrepro.request import Measurement, MeasureRequest

NAME = "eps50 with PGD-40 on a grid of 20 budgets"

STEPS = 40
GRID = tuple(0.0125 * k for k in range(1, 21))
FULL = "full grid"
SEARCH = "search, on the grid"
CROSSING = "crossing only"
VARIANTS: dict[str, dict[str, Any]] = {
    FULL: {"mode": "grid"},
    "full grid, fooled examples dropped": {"mode": "grid", "drop": True},
    SEARCH: {"mode": "search", "drop": True, "rounds": 0},
    "search, 7 rounds": {"mode": "search", "drop": True, "rounds": 7},
    CROSSING: {"mode": "crossing", "drop": True},
}
PASSES_LIMIT = 1 / 5  # of the full grid: "at least 5 times fewer"
CROSSING_LIMIT = 1 / 8
SAME = 0.002  # of eps50: PGD need not be monotone, so that single examples may move
CURVE_LIMIT = 0.01  # of all examples, at every budget


def options(variant: str, steps: int) -> dict[str, Any]:
    """The evaluation's options."""
    chosen = dict(VARIANTS[variant])
    attack = {
        "name": "pgd", "norm": "linf", "eps": 0, "steps": steps, "step_size": 0.01, "keep": "worst",
        "drop_fooled": chosen.pop("drop", False),
    }  # fmt: skip
    return {"attack": attack, "grid": GRID, **chosen}


def measure(request: MeasureRequest, variant: str, steps: int = STEPS) -> Measurement:
    """The project's own measurement."""
    module = plugins.load("evaluations", "eps50")
    return module.measure(module.Config(**options(variant, steps)), request)


def problem(device: torch.device, n: int, epochs: int) -> MeasureRequest:
    """n test images, and a network fitted briefly to noisy ones, so that examples differ in robustness."""
    return _digits.request(_digits.fitted(device, epochs, noise=0.15), *_digits.part("test", device, n))


def run(device: torch.device, quick: bool) -> dict:
    """Rows, bars and settings; quick: fewer images, shorter training, one round."""
    n, epochs, rounds = (40, 4, 1) if quick else (150, 12, 2)
    request = problem(device, n, epochs)
    measure(request, CROSSING)  # the first call of a process also loads and chooses kernels
    note(f"  {n} images, {rounds} rounds")
    found: dict[str, Measurement] = {}

    def step(name: str) -> None:
        found[name] = measure(request, name)

    steps = {name: functools.partial(step, name) for name in VARIANTS}
    memory = {name: peak_mb(step, device) for name, step in steps.items()}
    each = operations(request)
    timing = ratios(alternate(steps, rounds, device, slice_s=0.0), FULL)
    rows = [_row(name, found, timing) | {"peak MiB": memory[name]} for name in VARIANTS]
    for row in rows:
        row["GFLOP"] = n * (row["forward"] * each[0] + row["backward"] * each[1])
    full = found[FULL].values
    settings = {"images": n, "epochs": epochs, "budgets": len(GRID), "steps": STEPS, "rounds": rounds}
    settings |= {"clean error": round(full["clean_error"], 4), "final error": round(full["final_error"], 4)}
    return {"rows": rows, "bars": bars(rows), "settings": settings}


def operations(request: MeasureRequest) -> tuple[float, float]:
    """GFLOP of a forward pass of one image, and of a backward pass to it."""
    x = request.x[:1].clone().requires_grad_()
    forward = gflop(lambda: request.model(x))
    return forward, gflop(lambda: torch.autograd.grad(request.model(x).sum(), x)) - forward


def passes(measurement: Measurement) -> float:
    """Forward and backward passes per image."""
    return measurement.values["forward_passes"] + measurement.values["backward_passes"]


def _row(name: str, found: dict[str, Measurement], timing: dict[str, dict[str, float]]) -> dict[str, Any]:
    values, error = found[name].values, found[name].arrays["error"]
    row: dict[str, Any] = {"variant": name, **timing[name]}
    row |= {"forward": values["forward_passes"], "backward": values["backward_passes"]}
    row |= {"passes ratio": passes(found[name]) / passes(found[FULL])}
    row |= {"eps50_grid": values["eps50_grid"], "eps50": values.get("eps50")}
    row["curve off by"] = float(np.nanmax(np.abs(error - found[FULL].arrays["error"])))
    return row


def bars(rows: list[dict]) -> list[dict]:
    """Passes against those of the full grid, and that eps50 and the curve are the same."""
    by_name = {row["variant"]: row for row in rows}
    expected = by_name[FULL]["eps50_grid"]
    found = [
        bar(f"{SEARCH}: passes", by_name[SEARCH]["passes ratio"], PASSES_LIMIT, "of the full grid"),
        bar(f"{CROSSING}: passes", by_name[CROSSING]["passes ratio"], CROSSING_LIMIT, "of the full grid"),
    ]
    for name in (SEARCH, CROSSING):
        change = abs(by_name[name]["eps50_grid"] / expected - 1)
        found.append(bar(f"{name}: eps50_grid", change, SAME, "relative difference"))
        found.append(bar(f"{name}: curve", by_name[name]["curve off by"], CURVE_LIMIT, "of all images"))
    return found
