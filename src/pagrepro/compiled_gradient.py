"""Input gradients inside one compiled function, differentiable once more: double backward, compiled.

The gradient-norm step of Rodriguez-Munoz et al. (2024), Eq. 2 (their Table 3 has its time), has many small
kernels. What `torch.compile` makes cannot be differentiated twice ("does not currently support double
backward"). Here the inner derivative is taken by `torch.func.grad` inside the compiled function, where it is
traced as part of the forward pass, and only the outer one is a backward pass. The same mathematics as
`torch.autograd.grad` with create_graph; other rounding.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pagrepro.errors import DataError

REVISION = 1

BACKEND = "inductor"

# (network, x, target, y) -> values to be summed and differentiated, and values that are kept.
Values = Callable[[nn.Module, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Compiled = Callable[[nn.Module, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def compiled_gradient(values: Values, backend: str | None = None) -> Compiled:
    """A function (network, x, target, y) -> (gradient (B, *shape) of the sum of the first of `values` with
    respect to x (B, *shape), second of `values`), both differentiable by the weights.

    It is compiled at its first call and for every new shape (minutes for a deep network; needs a C++ compiler
    on a CPU); backend: of torch.compile. Weights may change between calls. The function raises DataError for
    batch normalisation in train mode, whose update of running statistics `torch.func` cannot follow, and for
    a network in several processes, whose gradients would not be added up.
    """
    # What earlier fits of this process have compiled counts against a limit, after which compiling fails.
    torch.compiler.reset()

    def gradient_and_kept(model: nn.Module, x: Tensor, target: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        def total(x: Tensor) -> tuple[Tensor, Tensor]:
            scalars, kept = values(model, x, target, y)
            return scalars.sum(), kept

        return torch.func.grad(total, has_aux=True)(x)

    compiled = torch.compile(gradient_and_kept, fullgraph=True, dynamic=False, backend=backend or BACKEND)

    def checked(model: nn.Module, x: Tensor, target: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        _check(model)
        return compiled(model, x, target, y)

    return checked


def _check(model: Any) -> None:
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise DataError("compiled: true is for a fit in one process; set cost.devices: 1 or compiled: false")
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    if norms:
        raise DataError(
            f"{type(model).__name__}: compiled: true is not for batch normalisation in train mode"
            f" ({len(norms)} layers), whose second derivatives it would get wrong; freeze it (bn: frozen), or"
            " set compiled: false"
        )
