"""Networks prepared for attacks: the same logits and input gradients, with fewer layers."""

import pytest
import torch
import torch.nn.functional as F
from networks import smooth_convnet
from torch import nn

from pagrepro import plugins
from pagrepro.errors import DataError
from pagrepro.prepared_network import TwoOrders, prepared

CPU = torch.device("cpu")
NORMS = nn.modules.batchnorm._BatchNorm

# Model, options, size of the images; normalisations before and after.
NETWORKS = [
    ("cifar_resnet18", {"width": 8, "bn": "train"}, 16, 20, 0),
    ("cifar_resnet18", {"width": 8, "bn": "frozen", "stem": "imagenet"}, 32, 20, 0),
    ("preact_resnet18", {"width": 8, "bn": "train"}, 16, 16, 8),
    ("preact_resnet18", {"width": 8, "bn": "frozen", "activation": "relu"}, 16, 16, 8),
    ("imagenet_resnet50", {"width": 8, "depths": [1, 1], "activation": "silu"}, 32, 9, 0),
    ("resnet18", {}, 32, 20, 0),
    ("cifar_resnet18", {"width": 8, "bn": "removed"}, 16, 0, 0),
]
every_network = pytest.mark.parametrize(
    ("name", "options", "side", "before", "after"),
    NETWORKS,
    ids=[f"{n[0]}-{i}" for i, n in enumerate(NETWORKS)],
)


def network(name, options, side, dtype=torch.float64):
    """In eval mode, with running statistics, scales and shifts of no particular values."""
    torch.manual_seed(0)
    spec = plugins.resolve("models", {"name": name, **options})
    model = plugins.instantiate("models", spec, (3, side, side), 10)
    for layer in norms(model):
        layer.running_mean.normal_(0, 0.3)
        layer.running_var.uniform_(0.5, 2)
        nn.init.uniform_(layer.weight, 0.5, 1.5)
        nn.init.normal_(layer.bias, 0, 0.3)
    return model.eval().requires_grad_(False).to(dtype)


def norms(model):
    model = model.network if isinstance(model, TwoOrders) else model
    return [module for module in model.modules() if isinstance(module, NORMS)]


def images(side, dtype=torch.float64):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1), dtype=dtype)


def slopes(model, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), torch.tensor([1, 7])), x)[0]


@every_network
def test_same_function_with_fewer_layers(name, options, side, before, after):
    model, x = network(name, options, side), images(side)
    made = prepared(model, CPU)
    assert (len(norms(model)), len(norms(made))) == (before, after)
    torch.testing.assert_close(made(x), model(x), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(made(x), model(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes(made, x), slopes(model, x), rtol=1e-9, atol=1e-14)


@every_network
def test_logits_in_single_precision_change_by_rounding(name, options, side, before, after):
    model, x = network(name, options, side, torch.float32), images(side, torch.float32)
    logits, made = model(x), prepared(model, CPU)
    for passes in (torch.no_grad(), torch.enable_grad()):
        with passes:
            difference = (made(x) - logits).abs().max()
        assert difference < 1e-5 * max(1, float(logits.abs().max()))


def test_channels_last_order_is_for_passes_without_a_gradient():
    """Its backward pass is not safe on CPUs (docs/known-issues.md)."""
    seen = []
    model = network("cifar_resnet18", {"width": 4}, 8)
    made = prepared(model, CPU)
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output))

    def last():
        return [out.is_contiguous(memory_format=torch.channels_last) for out in seen if out.shape[2] > 1]

    with torch.no_grad():
        made(images(8))
    assert seen
    assert all(last())
    seen.clear()
    slopes(made, images(8))
    assert seen
    assert not any(last())


def test_a_copy_that_is_frozen_and_in_eval_mode():
    model = network("cifar_resnet18", {"width": 4}, 8).requires_grad_(True)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    made = prepared(model, CPU)
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert not any(module.training for module in made.modules())
    for parameter in made.parameters():
        parameter.zero_()
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


class Shared(nn.Module):
    """A convolution behind which there is no normalisation every time, and one whose output is used twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.twice = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.other, self.up = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 4, 2, 2)
        self.last = nn.BatchNorm2d(4)

    def forward(self, x):
        z = self.stem(x)
        z = z + self.other(z)
        z = self.norm(self.twice(z)).tanh()
        return self.last(self.up(self.twice(z))).mean((2, 3))


def test_what_is_used_elsewhere_too_is_left_alone():
    torch.manual_seed(0)
    model = Shared().double()
    model(images(6))  # running statistics that are not 0 and 1
    made = prepared(model.eval(), CPU)
    assert len(norms(made)) == 3
    torch.testing.assert_close(made(images(6)), model(images(6)), rtol=1e-12, atol=1e-12)


def test_bias_and_normalisation_without_scale():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU(), nn.Flatten()
    ).double()
    model(images(6))
    made = prepared(model.eval(), CPU)
    assert norms(made) == []
    torch.testing.assert_close(made(images(6)), model(images(6)), rtol=1e-12, atol=1e-12)


def test_train_mode_is_refused():
    with pytest.raises(DataError, match=r"in eval mode.*prepared: false"):
        prepared(smooth_convnet().train(), CPU)


def test_a_forward_pass_that_depends_on_values_is_refused():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(x) if x.sum() > 0 else x

    with pytest.raises(DataError, match="Branching: its forward pass cannot be followed"):
        prepared(Branching().eval(), CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_channels_last_on_a_gpu():
    device = torch.device("cuda")
    model = network("cifar_resnet18", {"width": 8}, 16).to(device)
    made, x = prepared(model, device), images(16).to(device)
    convolutions = [m for m in made.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last) for m in convolutions)
    torch.testing.assert_close(made(x), model(x), rtol=1e-10, atol=1e-10)
