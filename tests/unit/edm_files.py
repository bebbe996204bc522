"""Files of the layout of the public `edm-*.pkl`, written with modules that exist only while they are."""

import collections
import contextlib
import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SOURCE = "raise SystemExit('the source code in the file was executed')"


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> Any:
    """Stands under the name that the files ask for; it is never to be called by a reader."""
    raise AssertionError("the file's own loader was called")


class Persistent:
    """Pickled as its class name, source code and state, whatever is in it."""

    def __init__(self, name: str, state: dict[str, Any]):
        self.name, self.content = name, state

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {
            "type": "class", "version": 6, "module_src": SOURCE, "class_name": self.name,
            "state": self.content,
        }  # fmt: skip
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


class OldTensor:
    """A tensor as pickled by torch 1.12: a storage that is saved in itself, then shape and strides."""

    def __init__(self, value: torch.Tensor, parameter: bool):
        self.value, self.parameter = value.detach().contiguous(), parameter

    def __reduce__(self) -> tuple[Any, ...]:
        value = self.value
        if self.parameter:
            inner = OldTensor(value, False)
            return torch._utils._rebuild_parameter, (inner, False, collections.OrderedDict())
        place = (value.storage_offset(), tuple(value.shape), value.stride())
        storage = Storage(value)
        return torch._utils._rebuild_tensor_v2, (storage, *place, False, collections.OrderedDict())


class Storage:
    def __init__(self, value: torch.Tensor):
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return self.value._typed_storage().__reduce__()


def tree(module: nn.Module, **attributes: Any) -> Any:
    """A module and those in it as the files hold them."""
    state = {
        "training": False,
        "_parameters": collections.OrderedDict(
            (name, None if value is None else OldTensor(value, True))
            for name, value in module._parameters.items()
        ),
        "_buffers": collections.OrderedDict(
            (name, OldTensor(value, False)) for name, value in module._buffers.items()
        ),
        "_non_persistent_buffers_set": set(),
        "_modules": collections.OrderedDict(
            (name, None if inner is None else tree(inner)) for name, inner in module._modules.items()
        ),
        "skip_scale": np.sqrt(0.5), "resample_filter": [1, 1], "_init_args": (), **attributes,
    }  # fmt: skip
    if isinstance(module, nn.ModuleDict):
        made = nn.ModuleDict.__new__(nn.ModuleDict)
        made.__dict__ = state
        return made
    return Persistent(type(module).__name__, state)


@contextlib.contextmanager
def persistence() -> Iterator[None]:
    """The module `torch_utils.persistence` exists inside, to be found by name when a file is written."""
    module = types.ModuleType("torch_utils.persistence")
    function = _reconstruct_persistent_obj
    before = function.__module__
    module._reconstruct_persistent_obj = function
    function.__module__ = module.__name__
    sys.modules |= {"torch_utils": types.ModuleType("torch_utils"), module.__name__: module}
    try:
        yield
    finally:
        function.__module__ = before
        del sys.modules["torch_utils"], sys.modules[module.__name__]


def write(path: Path, network: nn.Module, **more: Any) -> Path:
    """The file of a preconditioned network, `network` under its name `model` there."""
    outer = nn.Module()
    outer.model = network
    content = {"ema": tree(outer, sigma_data=0.5, sigma_max=float("inf")), "loss_fn": Persistent("Loss", {})}
    with persistence(), open(path, "wb") as file:
        pickle.dump(content | more, file)
    return path
