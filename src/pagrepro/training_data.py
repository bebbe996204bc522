"""What a fit reads before its first step: the training split on the device, and other runs' results."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pagrepro import distributed, plugins
from pagrepro.augment_options import Recipe
from pagrepro.batch import Batch, FieldReader
from pagrepro.dataset import to_float
from pagrepro.errors import DataError
from pagrepro.image_files import ImageFiles
from pagrepro.layout import Layout
from pagrepro.load import load_inputs
from pagrepro.load_data import load_dataset, load_split
from pagrepro.recipe import Augmented, loaded
from pagrepro.request import Loaded, LoadedField
from pagrepro.seeding import generator

REVISION = 1

# (number of examples, generator) -> new examples x (n, *shape) float and labels y (n,) int64.
Fresh = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class TrainingData:
    """x: (N, *shape) as stored (uint8 images or float) and y: (N,) int64, both on the fit's device, or, where
    single images are augmented, x on the CPU or in its files;
    `low`, `high`: range of `to_float(x)`; `inputs`: other results by role; `fresh`: draws examples that the
    fit trains on in the place of these."""

    x: Tensor
    y: Tensor
    classes: int
    low: float | None = 0.0
    high: float | None = 1.0
    inputs: Mapping[str, Loaded | Path] = field(default_factory=dict)
    fresh: Fresh | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input, without the batch."""
        return tuple(self.x.shape[1:])

    @property
    def fields(self) -> dict[str, FieldReader]:
        """Readers of the inputs that are fields, by role."""
        return {role: value.read for role, value in self.inputs.items() if isinstance(value, LoadedField)}


def load_training_data(
    spec: dict[str, Any], layout: Layout, device: torch.device, root: Path = Path(".")
) -> TrainingData:
    """Data and inputs that a run's spec names. `root`: folder that paths of index lists start from."""
    dataset = load_dataset(spec["dataset"], layout)
    recipe = spec["task"].get("recipe")
    x, y, _ = load_split(dataset, spec["split"], root, decode=False)
    if isinstance(x, ImageFiles) and recipe is None:
        raise DataError(
            f"{dataset.name}: {len(x)} images that stay in their files are augmented one by one in training;"
            " give task.recipe"
        )
    x = x if recipe else x.to(device)
    inputs = load_inputs(spec.get("inputs") or {}, layout, device)
    fresh = _fresh(spec["dataset"]["data"]) if (spec["fit"] or {}).get("fresh") else None
    return TrainingData(x, y.to(device), dataset.classes, dataset.low, dataset.high, inputs, fresh)


def _fresh(data: dict[str, Any]) -> Fresh:
    """How this data set draws new examples."""
    module = plugins.load("data", data["name"])
    config = module.Config(**{key: value for key, value in data.items() if key != "name"})
    return functools.partial(module.draw, config)


@dataclass
class Batches:
    """Batches of a fit, as a function of (seed, step) alone. The order is drawn on the CPU, so that it does
    not depend on the device."""

    data: TrainingData
    batch_size: int
    drop_last: bool
    seed: int
    channels_last: bool = False
    steps_per_epoch: int | None = None
    micro_batches: int = 1
    recipe: Recipe | None = None
    # Augmented images that are being made: the step they go on with, and what gives them.
    _ahead: tuple[int, Iterator[Tensor]] | None = field(default=None, init=False, repr=False)

    @property
    def per_epoch(self) -> int:
        """Steps of one epoch: a pass over the split, or the first `steps_per_epoch` batches of one. Raises
        DataError when the split holds less than one batch, or fewer batches than are asked for."""
        if self.data.fresh is not None:
            return self.steps_per_epoch
        n = len(self.data.y)
        steps = n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        if steps == 0:
            raise DataError(f"fit.batch_size: a split of {n} examples holds no batch of {self.batch_size}")
        if steps < (self.steps_per_epoch or 0):
            raise DataError(
                f"fit.steps_per_epoch: {self.steps_per_epoch} asked for, but a pass over {n} examples in"
                f" batches of {self.batch_size} has {steps}; leave it out for a full pass"
            )
        return self.steps_per_epoch or steps

    def order(self, epoch: int) -> Tensor:
        """Permutation (N,) of the training rows for one epoch."""
        drawn = torch.randperm(len(self.data.y), generator=generator(self.seed, "order", epoch))
        return drawn.to(self.data.y.device)

    def batch(self, order: Tensor, position: int, step: int, total_steps: int) -> Batch:
        """Batch number `position` of the epoch with this order; new examples where the data are drawn."""
        if self.data.fresh is not None:
            distributed.mine(self.micro_batches)  # raises where there are several processes
            return self._fresh_batch(step, total_steps)
        rows = order[position * self.batch_size : (position + 1) * self.batch_size]
        rows, parts = self._mine(rows)
        data = self.data
        x = to_float(data.x[rows]) if self.recipe is None else self._augmented(order, position, step)
        if self.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return Batch(
            x, data.y[rows], rows, fields=data.fields, low=data.low, high=data.high,
            step=step, progress=step / total_steps, parts=parts, whole=self.batch_size if parts else None,
        )  # fmt: skip

    def _augmented(self, order: Tensor, position: int, step: int) -> Tensor:
        """The next batch of augmented images; those of the rest of the epoch are made ahead of time."""
        if self._ahead is None or self._ahead[0] != step:
            images = Augmented(self.recipe, self.data.x, self.seed)
            batches = []
            for later in range(position, self.per_epoch):
                rows, _ = self._mine(order[later * self.batch_size : (later + 1) * self.batch_size])
                batches.append([(step + later - position, row) for row in rows.tolist()])
            self._ahead = (step, loaded(self.recipe, images, batches))
        x = next(self._ahead[1]).to(self.data.y.device)
        last = position + 1 == self.per_epoch
        self._ahead = None if last else (step + 1, self._ahead[1])
        return x

    def _mine(self, rows: Tensor) -> tuple[Tensor, list[tuple[int, slice]] | None]:
        """Rows of this process's micro-batches, and number and place among them of each."""
        numbers = distributed.mine(self.micro_batches)
        if self.micro_batches == 1:
            return rows, None
        size = len(rows) // self.micro_batches
        places = [(number, slice(k * size, (k + 1) * size)) for k, number in enumerate(numbers)]
        return torch.cat([rows[number * size : (number + 1) * size] for number in numbers]), places

    def _fresh_batch(self, step: int, total_steps: int) -> Batch:
        """Examples that are rows of no split: their index is -1."""
        data = self.data
        x, y = data.fresh(self.batch_size, generator(self.seed, "fresh", step, device=data.y.device))
        return Batch(
            x, y, torch.full_like(y, -1), fields=data.fields, low=data.low, high=data.high,
            step=step, progress=step / total_steps,
        )  # fmt: skip


def batches_of(data: TrainingData, spec: dict[str, Any]) -> Batches:
    """Batches as a run's spec says."""
    fit, recipe = spec["fit"], spec["task"].get("recipe")
    return Batches(
        data,
        fit["batch_size"],
        fit["drop_last"],
        spec["seed"],
        fit["channels_last"],
        fit.get("steps_per_epoch"),
        fit.get("micro_batches", 1),
        recipe and Recipe(**recipe),
    )
