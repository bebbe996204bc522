"""The optimisers that tasks share: PyTorch's, without the import of its compiler."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from pagrepro.optimizer_options import Adam, AdamW, Sgd

REVISION = 1


# PyTorch decorates these methods so that its compiler keeps away from them, and the decorators import that
# compiler on the first call: 5 s of CPU, more than torch itself, in every process that fits something.
# The undecorated methods compute the same.


def _plain(name: str) -> Callable[..., Any]:
    return inspect.unwrap(getattr(torch.optim.Optimizer, name))


def _step(kind: type[torch.optim.Optimizer]) -> Callable[..., Any]:
    return torch.no_grad()(inspect.unwrap(kind.step))


class _Light:
    add_param_group = _plain("add_param_group")
    zero_grad = _plain("zero_grad")
    state_dict = _plain("state_dict")
    load_state_dict = _plain("load_state_dict")


class LightSgd(_Light, torch.optim.SGD):
    """`torch.optim.SGD`."""

    step = _step(torch.optim.SGD)


class LightAdam(_Light, torch.optim.Adam):
    """`torch.optim.Adam`."""

    step = _step(torch.optim.Adam)


class LightAdamW(_Light, torch.optim.AdamW):
    """`torch.optim.AdamW`."""

    step = _step(torch.optim.AdamW)


def build_optimizer(options: Sgd | Adam | AdamW, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimiser these options name, over `parameters`, with its update fused into one kernel: for small
    networks the updates one by one cost as much as the gradients."""
    kinds = {"sgd": LightSgd, "adam": LightAdam, "adamw": LightAdamW}
    return kinds[options.name](parameters, fused=True, **options.model_dump(exclude={"name"}))
