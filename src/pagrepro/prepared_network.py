"""A frozen network rewritten for attacks: the same function of the images in fewer operations.

In the full attacks by which Rodriguez-Munoz et al. (2024) compare networks (Table 2), one image that stands
takes some 10,000 passes through weights that never change. In eval mode a batch normalisation right behind a
convolution is a scale and shift of its output, so it goes into weights and bias of the convolution (Ioffe and
Szegedy, 2015, section 3.1). Where the normalisation comes first (pre-activation blocks) that holds for those
that follow a convolution inside the block; what follows a sum stays. Weights are put in channels-last order:
on GPUs always, on CPUs for passes without a gradient only, which are more than half of AutoAttack's. The
backward pass of small convolutions in that order corrupts memory there (torch 2.14.1, docs/known-issues.md).
Logits change by rounding only.
"""

import copy

import torch
from torch import Tensor, fx, nn

from pagrepro.errors import DataError

REVISION = 2

_Norm = nn.modules.batchnorm._BatchNorm
_Conv = nn.modules.conv._ConvNd


def prepared(model: nn.Module, device: torch.device) -> nn.Module:
    """A frozen copy of `model`, a network in eval mode on `device`: (B, *shape) -> logits (B, C).

    Batch normalisations are folded into the convolutions before them; a network without any is copied as it
    is. Weights are in channels-last order on a GPU, and on a CPU in the passes without a gradient, for which
    there is a second copy. Raises DataError for batch normalisation in train mode, and for a network that has
    some and whose forward pass depends on its values.
    """
    made = copy.deepcopy(model).requires_grad_(False)
    norms = [module for module in made.modules() if isinstance(module, _Norm)]
    if any(norm.training or norm.running_var is None for norm in norms):
        raise DataError(
            f"{type(model).__name__}: batch normalisation can only be prepared in eval mode and with running"
            " statistics; leave it as it is (prepared: false)"
        )
    if norms:
        made = _folded(made)
    return made.to(memory_format=torch.channels_last) if device.type == "cuda" else TwoOrders(made)


class TwoOrders(nn.Module):
    """(B, *shape) -> logits (B, C): a frozen network, and its copy in channels-last order where no gradient
    is asked for."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.without_gradient = copy.deepcopy(network).to(memory_format=torch.channels_last)
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.network if torch.is_grad_enabled() else self.without_gradient
        return chosen(x)


class _Tracer(fx.Tracer):
    """Looks into modules only as far as there is batch normalisation in them."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        if isinstance(module, _Norm) or not any(isinstance(part, _Norm) for part in module.modules()):
            return True
        return super().is_leaf_module(module, name)


def _folded(model: nn.Module) -> nn.Module:
    """The network as a list of operations, without the normalisations that went into convolutions."""
    try:
        graph = _Tracer().trace(model)
    except (fx.proxy.TraceError, TypeError) as error:
        raise DataError(
            f"{type(model).__name__}: its forward pass cannot be followed ({error}); leave it as it is"
            " (prepared: false)"
        ) from error
    traced, pairs = fx.GraphModule(model, graph, type(model).__name__), _pairs(model, graph)
    for convolution, norm in pairs:
        own = copy.deepcopy(model.get_submodule(convolution.target))
        _fold(own, model.get_submodule(norm.target))
        traced.set_submodule(convolution.target, own)
        norm.replace_all_uses_with(convolution)
        graph.erase_node(norm)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced.eval()


def _pairs(model: nn.Module, graph: fx.Graph) -> list[tuple[fx.Node, fx.Node]]:
    """Calls of a convolution whose output goes into one normalisation and nowhere else, with that."""
    calls = [node for node in graph.nodes if node.op == "call_module"]
    targets = [node.target for node in calls]
    found = []
    for norm in calls:
        before = norm.args[0] if norm.args else None
        if not isinstance(model.get_submodule(norm.target), _Norm) or before not in calls:
            continue
        module = model.get_submodule(before.target)
        # A transposed convolution has its weights the other way round.
        plain = isinstance(module, _Conv) and not module.transposed
        # One that is called again is followed by something else there.
        if plain and len(before.users) == 1 and targets.count(before.target) == 1:
            found.append((before, norm))
    return found


def _fold(convolution: nn.Module, norm: nn.Module) -> None:
    """conv <- (conv - mean) / sqrt(var + eps) * scale + shift, computed in float64."""
    dtype = convolution.weight.dtype
    mean, deviation = norm.running_mean.double(), (norm.running_var.double() + norm.eps).sqrt()
    scale = 1.0 if norm.weight is None else norm.weight.detach().double()
    shift = 0.0 if norm.bias is None else norm.bias.detach().double()
    bias = 0.0 if convolution.bias is None else convolution.bias.detach().double()
    factor = (scale / deviation).view(-1, *[1] * (convolution.weight.dim() - 1))
    weight = convolution.weight.detach().double() * factor
    convolution.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    bias = (bias - mean) * factor.flatten() + shift
    convolution.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
