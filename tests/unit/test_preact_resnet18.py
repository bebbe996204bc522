"""The pre-activation ResNet-18: size, a block written out, examples that do not interact."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pagrepro import plugins

SHAPE = (3, 8, 8)


def make(shape=SHAPE, classes=4, **options):
    options = {"name": "preact_resnet18", "width": 2, **options}
    return plugins.instantiate("models", plugins.resolve("models", options), shape, classes)


def test_number_of_parameters_is_that_of_the_paper():
    model = make((3, 32, 32), 10, width=64)
    # Weights of 3x3 and 1x1 convolutions, scale and shift of the normalisations, the last layer.
    stages = list(pairwise([64, 64, 128, 256, 512]))
    convolutions = 3 * 64 * 9 + sum(a * b * 9 + 3 * b * b * 9 + (a != b) * a * b for a, b in stages)
    norms = sum(2 * (a + 3 * b) for a, b in stages)
    found = sum(p.numel() for p in model.parameters())
    assert found == convolutions + norms + 512 * 10 + 10
    assert found == 11_171_146


def test_stages_halve_the_image_after_the_first():
    model, x = make((3, 32, 32)), torch.rand(2, 3, 32, 32)
    sizes, h = [], model.conv1(model.normalize(x))
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        h = stage(h)
        sizes.append(tuple(h.shape[1:]))
    assert sizes == [(2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4)]
    # Nothing between the last block and the pool.
    torch.testing.assert_close(model(x), model.linear(F.avg_pool2d(h, 4).flatten(1)))


@pytest.mark.parametrize(("name", "act"), [("relu", F.relu), ("gelu", F.gelu), ("silu", F.silu)])
def test_blocks_written_out(name, act):
    model = make(activation=name)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 2)
                layer.bias.normal_()
    narrow, wide = torch.randn(3, 2, 8, 8), model.layer2[0]
    inner = act(wide.bn1(narrow))
    expected = wide.conv2(act(wide.bn2(wide.conv1(inner)))) + wide.shortcut(inner)
    torch.testing.assert_close(wide(narrow), expected)
    same = model.layer1[1]
    expected = narrow + same.conv2(act(same.bn2(same.conv1(act(same.bn1(narrow))))))
    torch.testing.assert_close(same(narrow), expected)


def test_by_default_examples_do_not_interact_in_train_mode():
    model, x = make().train(), torch.rand(5, *SHAPE)
    torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]))
    torch.testing.assert_close(model(x), make_like(model, bn="train").eval()(x))
    assert not torch.allclose(model(x), make_like(model, bn="train").train()(x), atol=1e-3)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in make(bn="removed").modules())


def make_like(model, **options):
    other = make(**options)
    other.load_state_dict(model.state_dict())
    return other


def test_activations_share_weights_but_not_numbers():
    x = torch.rand(5, *SHAPE)
    relu = make(activation="relu")
    outputs = [make_like(relu, activation=name)(x) for name in ("relu", "gelu", "silu")]
    assert torch.equal(outputs[0], relu(x))
    assert not any(torch.allclose(a, b, atol=1e-4) for a, b in pairwise(outputs))


def test_input_gradient_bends_only_with_a_smooth_activation():
    """Along a short piece of line: constant for ReLU, changing for the smooth ones."""
    for name, bends in (("relu", False), ("gelu", True), ("silu", True)):
        torch.manual_seed(1)
        model, gradients = make(activation=name).double(), []
        for step in (0.0, 1e-9):
            x = (torch.linspace(0.1, 0.9, 192).view(1, *SHAPE).double() + step).requires_grad_()
            gradients.append(torch.autograd.grad(model(x)[0, 0], x)[0])
        assert torch.equal(*gradients) != bends


def test_it_takes_images_only():
    with pytest.raises(ValueError, match="preact_resnet18 takes images"):
        make((4,))
