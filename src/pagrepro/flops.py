"""Floating-point operations of a computation, a multiplication and an addition counted as two.

Matrix products and convolutions only, so element-wise work is not in it. Counted by the formulas of
`torch.utils.flop_counter`, whose own counter cannot follow a gradient with respect to the input of a module.
"""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

REVISION = 1


def flops(run: Callable[[], Any]) -> int:
    """Operations of one call of `run`, backward passes in it included. What is compiled cannot be counted."""
    with _Counter() as counted:
        run()
    return counted.total


class _Counter(TorchDispatchMode):
    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **kwargs, out_val=out)
        return out
