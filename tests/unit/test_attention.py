"""Fused attention is refused, with what to do, wherever a network is about to be differentiated twice."""

import pytest
import torch
from torch import nn

from pagrepro import plugins
from pagrepro.attention import require_explicit_attention
from pagrepro.batch import Batch
from pagrepro.curvature import loss_gradient
from pagrepro.errors import DataError

MESSAGE = r"Sequential: fused attention in 1 layers \(the first: 1\).*\n.*`fused_attention: false`"


class Attention(nn.Module):
    """Has the switch of timm's layers."""

    def __init__(self, fused_attn):
        super().__init__()
        self.fused_attn = fused_attn

    def forward(self, x):
        return x.flatten(1)[:, :3].square()


def network(fused):
    return nn.Sequential(nn.Identity(), Attention(fused))


def test_only_fused_attention_is_refused():
    require_explicit_attention(network(False))
    require_explicit_attention(nn.Linear(2, 2))
    require_explicit_attention(lambda x: x)
    with pytest.raises(DataError, match=MESSAGE):
        require_explicit_attention(network(True))


@pytest.mark.parametrize("name", ["gradient_norm", "edge_alignment", "alignment_penalty", "cosine_alignment"])
def test_objectives_of_input_gradients_refuse_it(name):
    objective = plugins.instantiate("objectives", plugins.resolve("objectives", {"name": name, "weight": 1}))
    batch = Batch(torch.rand(2, 1, 4, 4), torch.tensor([0, 1]), torch.arange(2))
    with pytest.raises(DataError, match=MESSAGE):
        objective(network(True), batch, torch.Generator())


def test_so_do_measurements_of_curvature():
    x, y = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    assert loss_gradient(network(False), x, y)[2].shape == x.shape
    with pytest.raises(DataError, match=MESSAGE):
        loss_gradient(network(True), x, y)
