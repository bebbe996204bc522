"""What all benchmarks share: time and memory of a step, errors, and bars.

Times are compared inside one process and in turns, because the machine may be busy with other work:
only the ratio of two variants of the same round means anything.
"""

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pagrepro.flops import flops

# Shorter slices than this are repeated, so that the clock and one interruption do not decide.
SLICE_S = 0.2

Step = Callable[[], Any]


def clock(device: torch.device) -> float:
    """Seconds: CPU time of this process, or wall time after all work on the GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def alternate(
    steps: dict[str, Step], rounds: int, device: torch.device, slice_s: float = SLICE_S
) -> dict[str, list[float]]:
    """Seconds per step of every variant, one number per round; each round starts with another variant.

    Call every step once before (first calls allocate and choose kernels). In the first round a variant that
    takes less than `slice_s` is repeated to fill it; the number of repetitions then stays."""
    names = list(steps)
    repeats = dict.fromkeys(names, 1)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            spent = _repeat(steps[name], repeats[name], device)
            if k == 0 and spent < slice_s:
                repeats[name] = min(50, int(slice_s / max(spent, 1e-9)) + 1)
                spent = _repeat(steps[name], repeats[name], device)
            seconds[name].append(spent / repeats[name])
    return seconds


def _repeat(step: Step, repeats: int, device: torch.device) -> float:
    start = clock(device)
    for _ in range(repeats):
        step()
    return clock(device) - start


def ratios(seconds: dict[str, list[float]], base: str) -> dict[str, dict[str, float]]:
    """Per variant: median seconds; median, lowest and highest ratio to `base` in the same round."""
    found = {}
    for name, values in seconds.items():
        relative = [a / b for a, b in zip(values, seconds[base])]
        found[name] = {
            "seconds": statistics.median(values),
            "time ratio": statistics.median(relative),
            "lowest": min(relative),
            "highest": max(relative),
        }
    return found


def peak_mb(step: Step, device: torch.device) -> float | None:
    """MiB that one step needs beyond what was in use before it: tensors on a GPU, resident memory of the
    process on a CPU. None where the system does not tell (CPUs other than on Linux)."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        # Freed pages go back to the system first, or the step would reuse them unseen.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _status_kib("VmRSS")
        step()
        return max(0, _status_kib("VmHWM") - before) / 1024
    except (OSError, AttributeError, KeyError):
        return None


def _status_kib(key: str) -> int:
    pairs = (line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(dict(pairs)[key].split()[0])


def gflop(step: Step) -> float:
    """Billions of operations of one call."""
    return flops(step) / 1e9


def costs(step: Step, device: torch.device) -> dict[str, float | None]:
    """GFLOP and peak MiB of one and the same call."""
    found: dict[str, float | None] = {}
    found["peak MiB"] = peak_mb(lambda: found.update(GFLOP=gflop(step)), device)
    return {"GFLOP": found["GFLOP"], "peak MiB": found["peak MiB"]}


def compared(
    calls: dict[str, Step], base: str, rounds: int, device: torch.device, slice_s: float
) -> dict[str, dict[str, Any]]:
    """Per variant, by its name: time (see `ratios`), GFLOP and peak MiB. Its first call is made once before,
    since the first of a process also loads and chooses kernels."""
    next(iter(calls.values()))()
    note("  operations and memory")
    counts = {name: costs(call, device) for name, call in calls.items()}
    note(f"  time, {rounds} rounds")
    timing = ratios(alternate(calls, rounds, device, slice_s), base)
    return {name: {**timing[name], **counts[name]} for name in calls}


def passes(step: Step, model: nn.Module) -> tuple[int, int]:
    """How many images go through the network in a step, and how many gradients come back from its output:
    twice as many for a double backward."""
    rows = {"forward": 0, "backward": 0}

    def backward(gradient: Tensor) -> None:
        rows["backward"] += len(gradient)

    def forward(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        rows["forward"] += len(output)
        if output.requires_grad:
            output.register_hook(backward)

    hook = model.register_forward_hook(forward)
    try:
        step()
    finally:
        hook.remove()
    return rows["forward"], rows["backward"]


def parameter_gradient(loss: Tensor, model: nn.Module) -> Tensor:
    """d loss / d theta as one vector; zero where a parameter has no part in the loss."""
    parts = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def relative_error(found: Tensor, expected: Tensor) -> float:
    """||found - expected|| / ||expected||."""
    return float((found - expected).norm() / expected.norm())


def bar(name: str, value: float, limit: float, unit: str) -> dict[str, Any]:
    """A number the project is held to: `value` must be at most `limit`; NaN falls short."""
    return {"bar": name, "value": value, "limit": limit, "unit": unit, "met": bool(value <= limit)}


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table, columns in the order of their first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{value:.0e}"


def note(text: str) -> None:
    """Progress, to stderr: the table alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)
