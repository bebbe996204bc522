"""Operations per second that a device sustains in the training step of a run."""

import time
from typing import Any

import torch

from pagrepro import step_flops
from pagrepro.determinism import switches

# Steps before the clock starts: memory, kernels and their choice.
WARM_UP = 2
# The fastest one counts: whatever else the machine does only makes them slower.
ROUNDS = 10


def measure(spec: dict[str, Any], device: torch.device, seconds: float = 10.0) -> float:
    """Operations per second (matrix products and convolutions) of a run's own step, at its batch size and in
    its precision, on random examples. Takes about `seconds`, or a few steps where one takes longer."""
    fit = spec["fit"]
    examples = fit["batch_size"] // fit["micro_batches"]
    operations = examples * step_flops.step(spec)
    amp = torch.autocast(device.type, torch.bfloat16, enabled=fit["amp"] == "bf16")
    with switches(fit["deterministic"], fit["tf32"]), amp:
        step = step_flops.training_step(spec, examples, device)
        for _ in range(WARM_UP):
            step()
        begun, rates = _now(device), []
        while not rates or _now(device) - begun < seconds:
            steps, start = 0, _now(device)
            while steps == 0 or _now(device) - start < seconds / ROUNDS:
                step()
                steps += 1
            rates.append(operations * steps / (_now(device) - start))
    return max(rates)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
