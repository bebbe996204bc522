"""The optimisers that tasks share: PyTorch's, without the import of its compiler."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

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


def build_optimizer(
    options: Sgd | Adam | AdamW, network: nn.Module | Iterable[Tensor]
) -> torch.optim.Optimizer:
    """The optimiser these options name, over the parameters of a network (or these tensors), with its update
    fused into one kernel: for small networks the updates one by one cost as much as the gradients. `decay:
    matrices` needs the network itself."""
    kinds = {"sgd": LightSgd, "adam": LightAdam, "adamw": LightAdamW}
    given = options.model_dump(exclude={"name", "decay"})
    if getattr(options, "decay", "all") == "matrices":
        return kinds[options.name](_groups(network, options.weight_decay), fused=True, **given)
    parameters = network.parameters() if isinstance(network, nn.Module) else network
    return kinds[options.name](parameters, fused=True, **given)


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay."""
    named = {name: p for name, p in network.named_parameters() if p.requires_grad}
    without = set(network.no_weight_decay()) if hasattr(network, "no_weight_decay") else set()
    unknown = without - named.keys()
    if unknown:
        raise ValueError(f"no_weight_decay names no parameters: {', '.join(sorted(unknown))}")
    spared = [p for name, p in named.items() if p.dim() < 2 or name in without]
    decayed = [p for name, p in named.items() if p.dim() >= 2 and name not in without]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
