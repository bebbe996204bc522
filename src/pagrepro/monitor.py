"""Measurements during a fit, every k epochs, and the choice of the best weights by one of them."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pagrepro import plugins
from pagrepro.dataset import to_float
from pagrepro.errors import StateError
from pagrepro.layout import Layout
from pagrepro.load import freeze, load_inputs
from pagrepro.load_data import load_dataset, load_mask, load_split
from pagrepro.request import MeasureRequest
from pagrepro.seeding import seed_for

REVISION = 1
BATCH_SIZE = 256

# Takes a measurement of a frozen network: name of each value -> value.
Measure = Callable[[nn.Module], dict[str, float]]


def prepare_measure(
    entry: dict[str, Any], spec: dict[str, Any], layout: Layout, device: torch.device, root: Path
) -> Measure:
    """The measurement that a monitor entry names, with its data loaded."""
    module = plugins.load("evaluations", entry["measure"]["name"])
    config = module.Config(**{key: value for key, value in entry["measure"].items() if key != "name"})
    dataset = load_dataset(spec["dataset"], layout)
    x, y, index = load_split(dataset, entry["split"], root)
    mask = load_mask(dataset, entry["split"], index)
    mask = None if mask is None else mask.to(device)
    x, y, index = to_float(x).to(device), y.to(device), index.to(device)
    inputs = load_inputs(entry.get("inputs") or {}, layout, device)
    # The same draws at every epoch: values of different epochs are compared.
    seed = seed_for(spec["seed"], "monitor", entry["name"])

    def measure(network: nn.Module) -> dict[str, float]:
        request = MeasureRequest(
            model=network, x=x, y=y, index=index, classes=dataset.classes, seed=seed, low=dataset.low,
            high=dataset.high, device=device, batch_size=BATCH_SIZE, spec=spec, inputs=inputs, mask=mask,
        )  # fmt: skip
        return dict(module.measure(config, request).values)

    return measure


def cpu_copy(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights as they are now, on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}


@dataclass
class Best:
    """The best weights so far by the selecting monitor. `epoch` counts from 1."""

    value: float
    epoch: int
    weights: dict[str, Tensor]


@dataclass
class Monitors:
    """All monitor entries of a run; `measures` by entry name."""

    entries: list[dict[str, Any]]
    measures: dict[str, Measure]
    epochs: int
    best: Best | None = field(default=None)

    # "min:loss": epochs compared by the mean of a training metric instead of a measurement.
    by_metric: str | None = None

    def __post_init__(self) -> None:
        chosen = [entry["select"] for entry in self.entries if entry.get("select")]
        chosen += [self.by_metric] if self.by_metric else []
        if len(chosen) > 1:
            raise StateError(f"monitor: more than one entry selects the best weights: {chosen}")
        for select in chosen:
            if select.partition(":")[0] not in ("max", "min"):
                raise StateError(f"monitor: select: found {select!r}; allowed: max:<value>, min:<value>")

    @property
    def selects(self) -> bool:
        """Whether one of them chooses the best weights."""
        return self.by_metric is not None or any(entry.get("select") for entry in self.entries)

    def take(
        self, epoch: int, network: nn.Module, ema: dict[str, Tensor] | None
    ) -> dict[str, dict[str, float]]:
        """Measure what is due after `epoch` epochs (the last always is). The network itself is not touched:
        a frozen copy is measured, so nothing a measurement does can reach the fit."""
        found = {}
        for entry in self.entries:
            if epoch % entry.get("every", 1) and epoch != self.epochs:
                continue
            weights = ema if entry.get("weights") == "ema" and ema is not None else network.state_dict()
            copied = copy.deepcopy(network)
            copied.zero_grad(set_to_none=True)
            copied.load_state_dict(weights)
            found[entry["name"]] = values = self.measures[entry["name"]](freeze(copied))
            if entry.get("select") and epoch >= entry.get("first_epoch", 1):
                later = entry.get("ties") == "later"
                self._compare(entry["select"], values, epoch, weights, later)
        return found

    def take_metrics(self, epoch: int, means: dict[str, float], network: nn.Module) -> None:
        """Compare this epoch's training metrics with those of the best one, where that is what selects."""
        if self.by_metric:
            self._compare(self.by_metric, means, epoch, network.state_dict())

    def _compare(
        self,
        select: str,
        values: dict[str, float],
        epoch: int,
        weights: dict[str, Tensor],
        later: bool = False,
    ) -> None:
        """`later`: a tie goes to the later epoch. A value that is not a number never wins."""
        direction, _, name = select.partition(":")
        if name not in values:
            raise StateError(f"select: no value {name!r}; there are: {', '.join(values)}")
        value, sign = float(values[name]), 1 if direction == "max" else -1
        if math.isnan(value):
            return
        best = self.best
        if best is None or sign * value > sign * best.value or (later and value == best.value):
            self.best = Best(value, epoch, cpu_copy(weights))
