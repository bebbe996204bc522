"""Public networks of Karras et al. (2022), `edm-*.pkl`, read without executing them.

These files are pickles of whole objects together with the source code of their classes, which an ordinary
load executes (`torch_utils.persistence`). Here an unpickler that knows tensors, containers and numbers reads
them; objects become dictionaries of what they hold, their source code is never looked at, and any other name
in the file is refused.

Inside, under "ema": the preconditioned network, with the U-net as its submodule `model`. Its weights become
those of a run of task `external_denoiser` with network ddpmpp or adm. The layout is that of the format's
description; the public files themselves could not be had where this was written.
"""

import collections
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.options import Strict

REVISION = 1

OUTER, INNER = "model.", "network."
FILTER = "resample_filter"
DEEPEST = 20  # levels of modules in modules; the public networks have 4


class Config(Strict):
    """The network is chosen by the task; there is nothing to choose here."""


def convert(config: Config, path: Path) -> dict[str, Tensor]:
    """State dict of `denoiser.EdmPreconditioned` from a file, float32.

    Raises DataError when the file cannot be read, asks for anything but what its format needs, or holds
    something else than a network of known resampling filter.
    """
    content = read_inert(path)
    root = content.get("ema") if isinstance(content, dict) else None
    if not isinstance(root, Inert):
        raise DataError(f"{path}: no network under 'ema'")
    weights = {}
    for key, value in _weights(root, "", path):
        if not key.startswith(OUTER) or value.dtype != torch.float32:
            raise DataError(f"{path}: {key} {value.dtype}: expected float32 and a name with {OUTER}")
        if key.endswith(FILTER) and not (value.shape == (1, 1, 2, 2) and bool((value == 0.25).all())):
            raise DataError(f"{path}: {key} is {value.flatten().tolist()}, only four times 0.25 is known")
        weights[INNER + key.removeprefix(OUTER)] = value.clone(memory_format=torch.contiguous_format)
    if not weights:
        raise DataError(f"{path}: the network under 'ema' has no weights")
    return weights


def _weights(module: Any, prefix: str, path: Path) -> list[tuple[str, Tensor]]:
    """Parameters and buffers of a module and of all modules in it, by dotted name."""
    state = module.state if isinstance(module, Inert) else None
    if not isinstance(state, dict):
        raise DataError(f"{path}: {prefix or 'ema'} is not a module")
    if prefix.count(".") > DEEPEST:
        raise DataError(f"{path}: modules in modules without end: {prefix[:60]}...")
    found = []
    for kind in ("_parameters", "_buffers"):
        for name, value in _named(state, kind, prefix, path):
            if type(value) is not Tensor:
                raise DataError(f"{path}: {prefix}{name} is {type(value).__name__}, not a tensor")
            found.append((f"{prefix}{name}", value))
    for name, inner in _named(state, "_modules", prefix, path):
        found += _weights(inner, f"{prefix}{name}.", path)
    return found


def _named(state: dict[str, Any], kind: str, prefix: str, path: Path) -> list[tuple[str, Any]]:
    """What a module holds of one kind, without the places where it holds None."""
    entries = state.get(kind, {})
    if not isinstance(entries, dict) or not all(isinstance(name, str) for name in entries):
        raise DataError(f"{path}: {prefix}{kind} is no dictionary by name")
    return [(name, value) for name, value in entries.items() if value is not None]


# --- reading without executing ---------------------------------------------------------------


class Inert(dict):
    """Stands for an object in a pickle: keeps its state and its items, does nothing."""

    state: Any = None

    def __new__(cls, *args: Any, **options: Any) -> "Inert":
        return dict.__new__(Inert)

    def __init__(self, *args: Any, **options: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state


# Objects whose content is of no interest, or is looked at as a dictionary: no code stands behind these names.
OBJECTS = {
    ("torch.nn.modules.container", "ModuleDict"),
    ("dnnlib.util", "EasyDict"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
}


def _allowed() -> dict[tuple[str, str], Any]:
    # Fresh functions for every look-up: a pickle may set attributes of what it is given.
    def storage(content: Any) -> Any:
        if type(content) is not bytes:
            raise pickle.UnpicklingError("a storage that is not bytes")
        # Torch's restricted loader, which makes tensors and storages only.
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)

    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
        if not isinstance(storage, (torch.storage.TypedStorage, torch.UntypedStorage)):
            raise pickle.UnpicklingError("a tensor without a storage")
        return torch._utils._rebuild_tensor(storage, offset, tuple(size), tuple(stride))

    def parameter(data: Any, *rest: Any) -> Tensor:
        if type(data) is not Tensor:
            raise pickle.UnpicklingError("a parameter without a tensor")
        return data

    def persistent(meta: Any) -> Inert:
        made = Inert()
        made.state = meta.get("state") if type(meta) is dict else None
        return made

    def ordered(*args: Any) -> dict[Any, Any]:
        return collections.OrderedDict(*args)

    return {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): persistent,
        ("torch.storage", "_load_from_bytes"): storage,
        ("torch._utils", "_rebuild_tensor_v2"): tensor,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("collections", "OrderedDict"): ordered,
        ("builtins", "set"): set,
        ("__builtin__", "set"): set,
    }


class _Unpickler(pickle._Unpickler):  # the Python one, as in robustness_checkpoint.py
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in OBJECTS:
            return Inert
        try:
            return _allowed()[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not made here") from None


def read_inert(path: Path) -> Any:
    """What such a file holds, objects as `Inert`. Raises DataError for a damaged file and for one that asks
    for anything else than tensors, containers and numbers. Nothing of the file is imported or called."""
    try:
        with open(path, "rb") as file:
            return _Unpickler(file).load()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # a damaged or hostile file may fail anywhere in its reading
        raise DataError(f"{path}: cannot be read as a pickled network ({error})") from error
