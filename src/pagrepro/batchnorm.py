"""Batch normalisation during a gradient penalty: which statistics, and what is differentiated.

With batch statistics the outputs of one example depend on all others, so an input gradient holds
cross-example terms; the modes below are the three readings of "the gradient of the network".
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REVISION = 1


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """All modules in eval mode inside the block; afterwards each is as it was (not all in train mode:
    some may have been put in eval mode on purpose)."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def batch_norm_mode(model: nn.Module, mode: str) -> Iterator[None]:
    """Batch-norm layers of `model` in one mode inside the block; other layers are left alone.

    mode: "train" leaves them as they are; "eval" uses the running statistics; "frozen" uses this batch's
    mean and (biased) variance as constants: same outputs as in train mode, but no gradient of any order
    through the statistics, so examples do not interact. Neither "eval" nor "frozen" updates running
    statistics. A layer already in eval mode stays there. Raises ValueError for another mode.
    """
    if mode not in ("train", "eval", "frozen"):
        raise ValueError(f"batch-norm mode {mode!r}; allowed: train, eval, frozen")
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
    if mode == "train":
        layers = []
    for layer in layers:
        if mode == "eval":
            layer.training = False
        else:
            # An attribute of the instance hides the class's method until it is deleted again.
            layer.forward = _frozen_forward(layer)
    try:
        yield
    finally:
        for layer in layers:
            if mode == "eval":
                layer.training = True
            else:
                del layer.forward


def _frozen_forward(layer: nn.modules.batchnorm._BatchNorm):
    def forward(x: Tensor) -> Tensor:
        dims = [0, *range(2, x.dim())]
        with torch.no_grad():
            # In the precision of the weights: that of x may be half of it.
            variance, mean = torch.var_mean(x.to(layer.running_mean), dim=dims, correction=0)
        return F.batch_norm(x, mean, variance, layer.weight, layer.bias, False, 0.0, layer.eps)

    return forward
