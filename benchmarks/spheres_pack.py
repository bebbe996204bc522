"""Fifteen runs on Spheres: one after another in one process, against a process for each.

Bigolin Lanfredi et al. (2020) train every method with five seeds. Plain training, the alignment penalty and
adversarial training of a small network take seconds; the workflow fits them one after another in one process
(a pack), where it would otherwise start a process for each. Steps are those of the project's own task, update
included; how long the start of a process takes is measured too, and shared by those who share it.

Beside them stands what the workflow does not do: the five networks of a method stacked in one, whose layers
are batched products, so that the same objective is evaluated on five batches at once. The training loop fits
one run at a time, with its own state, lock and divergence, so there is no bar for this.
"""

import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from _measure import alternate, bar, note, relative_error
from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.layers import as_pair
from pagrepro.optimizer_options import Adam
from pagrepro.optimizers import build_optimizer
from pagrepro.task import LoopState, TaskSetup, finite_or_diverge

NAME = "fifteen small runs on Spheres: a pack, a process each, or side by side in one network"

SEEDS = 5
RADII = (1.0, 1.3)
# The small size is that of short trials; the other one is the paper's.
SIZES = {
    "100-256-256-1, batch 100": {"n": 100, "width": 256, "count": 100},
    "500-1000-1000-1, batch 50": {"n": 500, "width": 1000, "count": 50},
}
QUICK = {"20-16-16-1, batch 10": {"n": 20, "width": 16, "count": 10}}
STEPS_OF_A_RUN = 1500  # what shares the start of a process
PUBLISHED_EXAMPLES = 40_000_000  # of a run: 80 epochs of half a million, always new ones
ATTACK_STEPS = {"cpu": 7, "cuda": 40}  # 40 are the paper's
LIMIT = 1.0  # the pack, in units of a process for each run
ERROR_LIMIT = 1e-8  # of weights after some steps, float64: the same fit
PACK, STACKED, EACH = "pack", "side by side", "a process each"
WAYS = (PACK, STACKED)
IMPORTS = "from pagrepro.fit_all import fit_all; from pagrepro.tasks import classifier"


def objectives(attack_steps: int) -> dict[str, dict[str, Any]]:
    """The three methods, with the paper's strengths; the attack starts at x, so that both ways see the
    same."""
    attack = {
        "name": "pgd", "norm": "linf", "eps": 0.005, "step_size": 0.002, "steps": attack_steps,
        "start": "zero", "loss": "margin", "box": "none",
    }  # fmt: skip
    return {
        "baseline": {"name": "cross_entropy"},
        "penalty": {"name": "alignment_penalty", "weight": 0.1},
        "PGD": {"name": "adversarial_training", "attack": attack},
    }


# --- one run, and several in one ---------------------------------------------------------------------


def directions(index: Tensor, x: Tensor) -> Tensor:
    """(B, 2, n): to the nearest point of either sphere; zero for the own one."""
    norm = x.norm(dim=1, keepdim=True)
    return torch.stack([x * (radius / norm - 1) for radius in RADII], 1)


def examples(n: int, count: int, seed: int, device: torch.device, dtype: torch.dtype) -> Batch:
    """A batch of Spheres."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (count,), generator=g)
    u = nn.functional.normalize(torch.randn(count, n, generator=g), dim=1)
    x = u * torch.tensor(RADII)[y][:, None]
    return batch_of(x.to(device, dtype), y.to(device))


def batch_of(x: Tensor, y: Tensor) -> Batch:
    return Batch(x, y, torch.full_like(y, -1), None, {"targets": directions}, None, None)


def run_of(
    objective: dict[str, Any], n: int, width: int, seed: int, device: torch.device, dtype: torch.dtype
) -> Any:
    """The project's task of one run."""
    options = {
        "model": {"name": "spheres_mlp", "hidden": [width, width]},
        "objective": objective,
        "optimizer": {"name": "adam", "lr": 1e-3, "betas": [0.0, 0.9]},
    }
    spec = plugins.resolve("tasks", {"name": "classifier", **options})
    torch.manual_seed(seed)
    task = plugins.instantiate("tasks", spec, TaskSetup((n,), 2, None, None, seed, 1, device))
    if dtype != torch.float32:
        task.network.to(dtype)  # parameters stay the same objects, which the optimiser holds
    return task


class Stacked(nn.Module):
    """S networks of `models/spheres_mlp.py` as one: (S * B, n) -> logits (S * B, 2), examples ordered by
    network."""

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.count = len(networks)
        self.kinds = [type(layer).__name__ for layer in networks[0].layers]
        for k, layers in enumerate(zip(*(network.layers for network in networks))):
            for name, _ in layers[0].named_parameters():
                values = torch.stack([getattr(layer, name).detach() for layer in layers])
                # (S, out, in), and (S, 1, features) for everything else.
                values = values if values.dim() == 3 else values[:, None]
                self.register_parameter(f"{name}{k}", nn.Parameter(values.clone()))
        norms = [layer for layer in networks[0].layers if isinstance(layer, nn.BatchNorm1d)]
        self.factor = (1 + norms[0].eps) ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        h = x.view(self.count, -1, x.shape[1])
        for k, kind in enumerate(self.kinds):
            if kind == "Linear":
                h = torch.baddbmm(getattr(self, f"bias{k}"), h, getattr(self, f"weight{k}").mT)
            elif kind == "ReLU":
                h = h.relu()
            else:
                h = torch.addcmul(getattr(self, f"bias{k}"), h, getattr(self, f"weight{k}") * self.factor)
        return as_pair(h.flatten(0, 1))


class SideBySide:
    """The runs of one method in one step."""

    def __init__(self, tasks: Sequence[Any]):
        self.network = Stacked([task.network for task in tasks])
        options = Adam(name="adam", lr=1e-3, betas=(0.0, 0.9))
        self.optimizer = build_optimizer(options, self.network.parameters())
        self.objective = tasks[0].objective

    def step(self, state: LoopState, batch: Batch) -> None:
        """One update of every network on its own part of the batch."""
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.objective(self.network, batch, state.generator("objective"))
        # The sum over networks of each one's batch mean.
        loss = terms["loss"].mean() * self.network.count
        loss.backward()
        finite_or_diverge(loss, self.network.parameters(), {}, state.step)
        self.optimizer.step()


def ways(
    objective: dict[str, Any], n: int, width: int, count: int, device: torch.device, dtype: torch.dtype
) -> tuple[list[Any], SideBySide, list[Batch], Batch]:
    """The runs one by one, the same runs side by side, and what each is trained on."""
    tasks = [run_of(objective, n, width, seed, device, dtype) for seed in range(SEEDS)]
    stacked = SideBySide(tasks)
    batches = [examples(n, count, seed, device, dtype) for seed in range(SEEDS)]
    together = batch_of(torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches]))
    return tasks, stacked, batches, together


# --- measuring -----------------------------------------------------------------------------------------


def error(objective: dict[str, Any], n: int, width: int, count: int, device: torch.device) -> float:
    """Relative difference of all weights after three steps in float64."""
    tasks, stacked, batches, together = ways(objective, n, width, count, device, torch.float64)
    for step in range(3):
        state = LoopState(0, 3, device, step=step)
        for task, batch in zip(tasks, batches):
            task.step(state, batch)
        stacked.step(state, together)
    one_by_one = Stacked([task.network for task in tasks])
    found, expected = (
        nn.utils.parameters_to_vector(network.parameters()).detach()
        for network in (stacked.network, one_by_one)
    )
    return relative_error(found, expected)


def start_seconds(device: torch.device, times: int) -> float:
    """CPU seconds until a process can fit: start of Python and imports. On a GPU also the first use of it."""
    program = IMPORTS if device.type == "cpu" else f"{IMPORTS}; import torch; torch.zeros(1, device='cuda')"
    spent = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(spent)


def steps_of(
    objective: dict[str, Any], sizes: dict[str, int], device: torch.device, k: int
) -> dict[str, Callable]:
    """k steps of every run of a method, either way: one run after the other, as in a pack, or all at once."""
    tasks, stacked, batches, together = ways(objective, **sizes, device=device, dtype=torch.float32)
    state = LoopState(0, 1, device)

    def pack() -> None:
        for task, batch in zip(tasks, batches):
            for _ in range(k):
                task.step(state, batch)

    def side_by_side() -> None:
        for _ in range(k):
            stacked.step(state, together)

    return dict(zip(WAYS, (pack, side_by_side)))


def run(device: torch.device, quick: bool) -> dict[str, Any]:
    """Rows, bars and settings; quick: one narrower network, a short attack and one short round."""
    attack_steps, k, rounds, slice_s = (2, 2, 1, 0.02) if quick else (ATTACK_STEPS[device.type], 2, 3, 0.2)
    note("  start of a process")
    start = start_seconds(device, 1 if quick else 3)
    found = []
    for size in QUICK if quick else SIZES:
        seconds, errors = {}, {}
        for method, objective in objectives(attack_steps).items():
            note(f"  {size}, {method}, {rounds} rounds")
            numbers = (QUICK if quick else SIZES)[size]
            errors[method] = error(objective, **numbers, device=device)
            steps = steps_of(objective, numbers, device, k)
            for step in steps.values():
                step()  # first calls allocate and choose kernels
            spent = alternate(steps, rounds, device, slice_s)
            seconds[method] = {
                way: [value / k / SEEDS * STEPS_OF_A_RUN for value in values] for way, values in spent.items()
            }
        published = PUBLISHED_EXAMPLES / numbers["count"]
        found += rows(size, seconds, errors, start, published)
    settings = {"seeds": SEEDS, "attack steps": attack_steps, "steps of a run": STEPS_OF_A_RUN}
    settings |= {"rounds": rounds, "start of a process, CPU s": round(start, 2)}
    return {"rows": found, "bars": bars(found), "settings": settings}


def rows(
    size: str,
    per_run: dict[str, dict[str, list[float]]],
    errors: dict[str, float],
    start: float,
    published: float = STEPS_OF_A_RUN,
) -> list[dict[str, Any]]:
    """One per method and way, and the mean over all runs, with the start of their processes.

    per_run: method -> way -> seconds of a run in every round, without that start; ratios are to the pack.
    published: steps of a run with the paper's number of examples, for the hours that all runs would take with
    so many (by proportion).
    """
    found = []
    for method, seconds in per_run.items():
        for way in WAYS:
            row = {"size": size, "runs": method, "way": way, **_compared(seconds[way], seconds[PACK])}
            found.append(row | ({"error": errors[method]} if way == STACKED else {}))
    runs = SEEDS * len(per_run)
    means = {
        way: [statistics.mean(values) for values in zip(*(seconds[way] for seconds in per_run.values()))]
        for way in WAYS
    }
    means[EACH] = means[PACK]
    shares = {way: start if way == EACH else start / runs for way in means}
    total = {way: [value + shares[way] for value in values] for way, values in means.items()}
    for way, values in total.items():
        row = {"size": size, "runs": f"all {runs}", "way": way, **_compared(values, total[PACK])}
        steps_s = runs * statistics.median(means[way]) * published / STEPS_OF_A_RUN
        row |= {"start per run": shares[way], "hours as published": (steps_s + runs * shares[way]) / 3600}
        found.append(row)
    return found


def _compared(values: list[float], base: list[float]) -> dict[str, float]:
    """Median seconds per run; median, lowest and highest ratio to the base in the same round."""
    relative = [a / b for a, b in zip(values, base)]
    return {
        "seconds per run": statistics.median(values),
        "ratio": statistics.median(relative),
        "lowest": min(relative),
        "highest": max(relative),
    }


def bars(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A pack takes no longer than a process for each run; stacked networks are the same fit."""
    each = [row for row in found if row["way"] == EACH]
    worst = max(row["error"] for row in found if "error" in row)
    return [
        *(bar(f"{row['size']}: a pack against {EACH}", 1 / row["ratio"], LIMIT, "times") for row in each),
        bar("weights after three steps, float64", worst, ERROR_LIMIT, "relative error"),
    ]
