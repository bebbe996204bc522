"""What fields and measurements are given, and what measurements return."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

REVISION = 1


@dataclass(frozen=True)
class LoadedRun:
    """A finished run: network in eval mode with frozen parameters, on the job's device."""

    name: str
    model: nn.Module
    spec: dict[str, Any]


@dataclass(frozen=True)
class LoadedField:
    """A finished field. `read(rows, x)` gives the values for rows of its split, e.g. (B, C, *shape)."""

    name: str
    read: Callable[[Tensor, Tensor], Tensor]
    spec: dict[str, Any]


@dataclass(frozen=True)
class LoadedResult:
    """A finished measurement of a run: values by name (NaN where there is none) and per-example arrays."""

    name: str
    run: str
    values: dict[str, float]
    arrays: dict[str, np.ndarray]


# What an input of a job may be, by its role; a source is given as the path of its file.
Loaded = LoadedRun | LoadedField | LoadedResult | Path


@dataclass(frozen=True)
class FieldRequest:
    """One shard to compute: `rows` of the split (x, y). x: uint8 images or float, in [low, high]."""

    x: Tensor
    y: Tensor
    classes: int
    rows: Tensor
    seed: int
    low: float | None
    high: float | None
    device: torch.device
    inputs: dict[str, Loaded] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasureRequest:
    """A measurement to take. x: (N, *shape) float in [low, high] (None: unbounded); y: (N,) int64;
    index: (N,) rows of the data set's part; model: eval mode, parameters frozen; mask: (N, *shape) bool,
    where the signal is, on the device of x, or None for data without masks; scratch: a folder for this
    very measurement of this very model, where a long one may keep what it has found until it is finished."""

    model: nn.Module
    x: Tensor
    y: Tensor
    index: Tensor
    classes: int
    seed: int
    low: float | None
    high: float | None
    device: torch.device
    batch_size: int
    spec: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Loaded] = field(default_factory=dict)
    mask: Tensor | None = None
    scratch: Path | None = None


@dataclass(frozen=True)
class Measurement:
    """values: fractions, cosines, norms by name; arrays: per-example values (first axis N) or images;
    flags: things a reader should know (non-finite gradients, ...), shown in the report."""

    values: dict[str, float]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
