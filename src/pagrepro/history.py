"""One line per epoch: what was minimised, how fast, and what the monitors measured."""

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pagrepro.storage import finite_json

REVISION = 1


@dataclass
class Averages:
    """Means over the examples of an epoch, summed on the device; part of the resume state."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    examples: int = 0
    seconds: float = 0.0

    @torch.no_grad()
    def add(self, metrics: dict[str, Tensor], examples: int) -> None:
        """Count one step. metrics: 0-dim tensors, means over the step's `examples`."""
        for name, value in metrics.items():
            term = value.detach().double() * examples
            self.sums[name] = self.sums[name] + term if name in self.sums else term
        self.examples += examples

    def means(self) -> dict[str, float]:
        """Mean over examples of each metric, by its name."""
        return {name: float(value) / self.examples for name, value in self.sums.items()}


def history_line(
    epoch: int,
    steps: int,
    lr: float,
    averages: Averages,
    monitor: dict[str, dict[str, float]],
    wall_s: float,
    gpu_peak_mb: float | None = None,
) -> dict[str, Any]:
    """A line of `history.jsonl`. `epoch` counts from 1; `lr`: of the epoch's last step (first optimiser);
    `wall_s`: since the fit's start, over all processes that shared it."""
    line = {
        "epoch": epoch,
        "steps": steps,
        "lr": lr,
        "metrics": averages.means(),
        "monitor": monitor,
        "images_per_s": averages.examples / averages.seconds if averages.seconds else None,
        "wall_s": wall_s,
    }
    return line if gpu_peak_mb is None else {**line, "gpu_peak_mb": gpu_peak_mb}


def history_bytes(lines: list[dict[str, Any]]) -> bytes:
    """Content of `history.jsonl`; numbers that are not finite become null."""
    return "".join(json.dumps(finite_json(line), allow_nan=False) + "\n" for line in lines).encode()
