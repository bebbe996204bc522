"""Input gradients inside one compiled function, differentiable once more: double backward, compiled.

The steps of all objectives that differentiate twice (Ganz et al., 2022, eq. 1: C gradients and their cosines;
Rodriguez-Munoz et al., 2024, Eq. 2, whose Table 3 has the time) have many small kernels. What `torch.compile`
makes cannot be differentiated twice ("does not currently support double backward"). Here the inner derivative
is taken by `torch.func.vjp` inside the compiled function, where it is traced as part of the forward pass, and
only the outer one is a backward pass. The same mathematics as `torch.autograd.grad` with create_graph; other
rounding.

Batch normalisation in train mode writes its running statistics during the forward pass, which `torch.func`
does not allow for tensors from outside. So the layers get copies, which are returned with the logits and put
into their places at the end: the very update of the plain step, once per step.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pagrepro.augment import Draw
from pagrepro.compiling import compiled_whole
from pagrepro.errors import DataError
from pagrepro.options import Compiled

REVISION = 1

# (logits (B, C), *given) -> the values that are differentiated, of any shape.
Values = Callable[..., Tensor]
# (pull, values, logits, *given) -> tensors. pull: v, of the shape of `values` -> gradient (B, *shape) of
# (v * values).sum() with respect to x.
Use = Callable[..., tuple[Tensor, ...]]
Pull = Callable[[Tensor], Tensor]


def compiled_gradients(values: Values, use: Use, compiled: Compiled) -> Callable[..., tuple[Tensor, ...]]:
    """A function (network, x (B, *shape), draw, *given) -> what `use` returns, differentiable by the weights.

    `values` and `use` are traced, with one pass of the network between them; draw: crop and flip between x
    and the network, differentiated through, or None; given: tensors that both get. Batch-norm layers in train
    mode take and update their statistics as in any forward pass. compiled: see `compiling`. Weights and modes
    may change between calls. Raises DataError for a network in several processes, whose gradients would not
    be added up.
    """

    def gradients(
        names: tuple[str, ...], model: nn.Module, x: Tensor, draw: Draw | None, *given: Tensor
    ) -> tuple[Tensor, ...]:
        statistics = {name: model.get_buffer(name) for name in names}

        def forward(x: Tensor) -> tuple[Tensor, tuple[Tensor, dict[str, Tensor]]]:
            copies = {name: value.clone() for name, value in statistics.items()}
            seen = x if draw is None else draw.apply(x)
            logits = torch.func.functional_call(model, copies, (seen,))
            return values(logits, *given), (logits, copies)

        found, pull, (logits, copies) = torch.func.vjp(forward, x, has_aux=True)
        result = use(lambda v: pull(v)[0], found, logits, *given)
        with torch.no_grad():
            for name, value in statistics.items():
                value.copy_(copies[name])
        return result

    function = compiled_whole(gradients, compiled)

    def checked(model: nn.Module, x: Tensor, draw: Draw | None, *given: Tensor) -> tuple[Tensor, ...]:
        _check(model)
        return function(_statistics(model), model, x.detach(), draw, *given)

    return checked


def _statistics(model: nn.Module) -> tuple[str, ...]:
    """Names of the buffers that a forward pass of the network writes. A layer whose own forward pass is
    hidden by another one (`batch_norm_mode`: frozen) writes none."""
    return tuple(
        f"{name}.{key}" if name else key
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
        if "forward" not in vars(module)
        for key, _ in module.named_buffers(recurse=False)
    )


def _check(model: Any) -> None:
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise DataError(
            "compiled: an option for a fit in one process; set cost.devices: 1 or compiled: false"
        )
