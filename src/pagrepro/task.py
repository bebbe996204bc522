"""What the training loop asks of the thing it fits.

A task holds its networks, optimisers and objective; the loop (`fit.py`) holds everything else: data
order, seeds, schedule, moving average, state, resume and outputs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from pagrepro.batch import Batch
from pagrepro.errors import Diverged
from pagrepro.options import Compiled
from pagrepro.request import Loaded
from pagrepro.seeding import generator

REVISION = 1


@dataclass(frozen=True)
class TaskSetup:
    """What a task is built from, besides its options. `shape`: of one example; `low`, `high`: the range
    of the data (None: unbounded); `inputs`: role -> other results this run was given; `compiled`: what of the
    step is compiled (`fit.compiled`)."""

    shape: tuple[int, ...]
    classes: int
    low: float | None
    high: float | None
    seed: int
    total_steps: int
    device: torch.device
    inputs: Mapping[str, Loaded | Path] = field(default_factory=dict)
    compiled: Compiled = False


@dataclass
class LoopState:
    """Where the loop is. `step` counts optimiser steps from 0 over the whole fit, `epoch` from 0."""

    seed: int
    total_steps: int
    device: torch.device
    epoch: int = 0
    step: int = 0

    @property
    def progress(self) -> float:
        """Fraction of the fit done before this step, in [0, 1)."""
        return self.step / self.total_steps

    def generator(self, name: str) -> torch.Generator:
        """Fresh generator for a named draw of this step, on the fit's device."""
        return generator(self.seed, name, self.step, device=self.device)


class Task(Protocol):
    """`network` holds every weight that is saved (several networks may live in one module); `optimizers`
    are stepped by the task itself, their learning rates are set by the loop before each step.

    A task module also has `network(config, shape, classes) -> nn.Module`, which rebuilds the network that
    saved weights fit into. A task may have `notes`, lines that readers of the fit's `run.json` should know.
    """

    network: nn.Module
    optimizers: dict[str, torch.optim.Optimizer]

    def step(self, state: LoopState, batch: Batch) -> dict[str, Tensor]:
        """One update. Returns 0-dim tensors to be averaged over the epoch. Must call `finite_or_diverge`
        before an optimiser moves."""
        ...


def finite_or_diverge(
    loss: Tensor,
    parameters: Iterable[Tensor],
    terms: Mapping[str, Tensor],
    step: int,
    buffers: Iterable[Tensor] = (),
) -> Tensor:
    """Raise `Diverged` naming the first value that is not finite; else return the total gradient norm.

    Looked at in this order: `terms`, `loss`, the L2 norm of all gradients, the norm of `buffers` (batch
    normalisation statistics, which the forward pass has already changed). Costs one synchronisation.
    A gradient whose float32 norm is finite is below 2e19, so no sane step can make the weights infinite:
    the weights found when this raises are finite.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    floating = [b for b in buffers if b.is_floating_point()]
    named = {**terms, "loss": loss}
    values = [value.detach().float().mean() for value in named.values()]
    values += [_norm(gradients, loss), _norm(floating, loss)]
    finite = torch.isfinite(torch.stack(values)).tolist()
    for name, good in zip([*named, "gradient", "buffers"], finite, strict=True):
        if not good:
            raise Diverged(name, step)
    return values[-2]


def _norm(tensors: list[Tensor], like: Tensor) -> Tensor:
    if not tensors:
        return torch.zeros((), device=like.device)
    norms = torch._foreach_norm([t.detach() for t in tensors])
    return torch.linalg.vector_norm(torch.stack([n.float() for n in norms]))
