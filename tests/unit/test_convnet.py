"""The plain network for tiny images: its layers, sizes, and that it learns."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from networks import flat_gradient, slope
from test_models import make, parameters

from pagrepro.data import digits


def test_default_network_by_hand():
    model = make("convnet", (1, 8, 8), 10).eval()
    assert parameters(model) == 16 * 9 + 16 + 32 * 16 * 9 + 32 + 32 * 4 * 4 * 10 + 10
    x = torch.rand(3, 1, 8, 8)
    first, second = model.convs
    inner = F.relu(F.conv2d(2 * x - 1, first.weight, first.bias, padding=1))
    inner = F.relu(F.conv2d(inner, second.weight, second.bias, stride=2, padding=1))
    assert inner.shape == (3, 32, 4, 4)
    torch.testing.assert_close(model(x), model.linear(inner.flatten(1)))


def test_pooling_mean_and_batch_normalisation_by_hand():
    options = {"down": "pool", "head": "mean", "batchnorm": True, "activation": "silu"}
    model = make("convnet", (3, 9, 8), 4, widths=(4, 5, 6), mean=[0], std=[1], **options)
    x = torch.rand(2, 3, 9, 8)
    inner = x
    for stage, conv in enumerate(model.convs):
        inner = F.avg_pool2d(inner, 2) if stage else inner
        z = F.conv2d(inner, conv.weight, padding=1)
        z = (z - z.mean((0, 2, 3), keepdim=True)) / (
            z.var((0, 2, 3), correction=0, keepdim=True) + 1e-5
        ).sqrt()
        inner = F.silu(z)
    assert inner.shape == (2, 6, 2, 2)
    torch.testing.assert_close(model(x), model.linear(inner.mean((2, 3))))
    assert all(conv.bias is None for conv in model.convs)


ACTIVATIONS = ("relu", "softplus", "gelu", "silu")


@pytest.mark.parametrize("shape", [(1, 16, 8), (3, 7, 5)])
def test_every_form_gives_logits_for_every_size(shape):
    x = torch.rand(2, *shape)
    choices = product(ACTIVATIONS, (True, False), ("stride", "pool"), ("mean", "flat"))
    for activation, batchnorm, down, head in choices:
        options = {"activation": activation, "batchnorm": batchnorm, "down": down, "head": head}
        logits = make("convnet", shape, 7, widths=(3, 4), **options)(x)
        assert logits.shape == (2, 7)
        assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize("activation", ["softplus", "gelu", "silu"])
def test_smooth_networks_are_twice_differentiable(activation):
    """Slope of the squared input gradient along weights, which ReLU's kinks would spoil."""
    torch.manual_seed(0)
    model = make("convnet", (1, 6, 6), 3, widths=(3, 4), activation=activation).double()
    x = torch.rand(2, 1, 6, 6, dtype=torch.float64)

    def penalty():
        at = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(model(at)[:, 0].sum(), at, create_graph=True)
        return g.square().sum()

    gradient = flat_gradient(penalty(), model)
    direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert slope(penalty, model, direction) == pytest.approx(float(gradient @ direction), rel=1e-6)


def test_softplus_is_a_relu_with_a_rounded_corner():
    smooth, sharp = (make("convnet", (1, 4, 4), 2, activation=a).activation for a in ("softplus", "relu"))
    x = torch.linspace(-3, 3, 101)
    assert float((smooth(x) - sharp(x)).abs().max()) == pytest.approx(0.0693, abs=1e-4)  # log 2 / 10, at 0


def test_images_and_sizes_that_do_not_go():
    with pytest.raises(ValueError, match=r"convnet takes images .*\(2,\)"):
        make("convnet", (2,), 2)
    with pytest.raises(ValueError, match=r"3 stages leave nothing of images \(3, 8\)"):
        make("convnet", (1, 3, 8), 2, widths=(2, 2, 2), down="pool")
    assert make("convnet", (1, 3, 8), 2, widths=(2, 2, 2))(torch.rand(2, 1, 3, 8)).shape == (2, 2)
    with pytest.raises(ValueError, match="2 values, expected 1 or 3"):
        make("convnet", (3, 8, 8), 4, mean=[0.1, 0.2])


@pytest.mark.parametrize("batchnorm", [True, False])
def test_it_learns_the_digits_in_six_epochs(batchnorm):
    parts = digits.build(digits.Config(), {}, 0)
    x, y = parts["train"].x.float() / 255, parts["train"].y
    torch.manual_seed(0)
    model = make("convnet", (1, 8, 8), 10, batchnorm=batchnorm)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(6):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    scores = model.eval()(parts["test"].x.float() / 255)
    assert float((scores.argmax(1) == parts["test"].y).double().mean()) > 0.93
