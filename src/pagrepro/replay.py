"""One step of a finished run's training, set up again: for measurements of the training code itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pagrepro import plugins, seeding
from pagrepro.augment import draw
from pagrepro.augment_options import Augment
from pagrepro.batch import Batch
from pagrepro.dataset import to_float
from pagrepro.errors import DataError
from pagrepro.image_files import ImageFiles
from pagrepro.layout import Layout
from pagrepro.request import MeasureRequest
from pagrepro.training_data import Batches, TrainingData, load_training_data

REVISION = 1

EXAMPLES = 64


@dataclass(frozen=True)
class ReplayRequest(MeasureRequest):
    """A measurement's request with a training batch of the run, in float64, and the run's resolved spec.

    Evaluations whose module says `REPLAYS = True` are given it.
    """

    batch: Batch | None = None
    run_spec: dict[str, Any] | None = None

    def objective(self) -> Any:
        """The run's training objective: (model, batch, generator) -> per-example terms."""
        return plugins.instantiate("objectives", self.run_spec["task"]["objective"])

    def generator(self) -> torch.Generator:
        """Source of the objective's noise; the same draws at every call."""
        return seeding.generator(self.run_spec["seed"], "objective", 0, device=self.device)


def training_batch(
    spec: dict[str, Any], layout: Layout, device: torch.device, root: Path = Path(".")
) -> Batch:
    """The first batch of a run's training (at most 64 examples of it), with fields and augmentation. Images
    of a `recipe`, which augments them one by one, are as an evaluation sees them, and labels are not mixed.

    spec: resolved spec of a run that trains a classifier. Values are float64, so that what a measurement
    finds is not rounding. Raises DataError for a run without a training objective (converted weights).
    """
    if "objective" not in spec["task"] or not spec["fit"]:
        raise DataError(f"a run of task {spec['task']['name']} has no training step to replay")
    data = load_training_data(spec, layout, device, root)
    batches = Batches(data, min(EXAMPLES, spec["fit"]["batch_size"]), False, spec["seed"])
    order = batches.order(0)
    if spec["task"].get("recipe"):
        batch = _as_evaluated(data, order[: batches.batch_size], device)
    else:
        batch = batches.batch(order, 0, 0, 1)
    augment = Augment(**spec["task"].get("augment", {}))
    batch.draw = draw(
        augment, len(batch.y), data.shape, seeding.generator(spec["seed"], "augment", 0, device=device)
    )
    batch.x = batch.x.double()
    return batch


def _as_evaluated(data: TrainingData, rows: Tensor, device: torch.device) -> Batch:
    """Some rows (n,) of data whose images are on the CPU or in their files."""
    x = data.x[rows.cpu()]
    x = to_float((x.decoded() if isinstance(x, ImageFiles) else x).to(device))
    return Batch(x, data.y[rows], rows, fields=data.fields, low=data.low, high=data.high)
