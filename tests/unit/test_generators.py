"""Residual generators: shapes, units and the condition; the losses and updates that train them."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from linear_models import Linear
from torch import nn
from torch.nn.functional import cross_entropy

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.errors import DataError, Diverged
from pagrepro.task import LoopState, TaskSetup
from pagrepro.tasks import residual_generator

CPU = torch.device("cpu")
SPHERES = {"generator": {"name": "residual_mlp", "hidden": [8]}, "discriminator": {"name": "toy_mlp"}}


def generator(name, shape, **options):
    torch.manual_seed(0)
    resolved = plugins.resolve("generators", {"name": name, **options})
    return plugins.instantiate("generators", resolved, shape, 2)


def batch(n=6, dimension=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(n, dimension, generator=g), torch.arange(n) % 2, torch.arange(n))


def task(shape=(3,), inputs=None, **options):
    torch.manual_seed(1)
    resolved = plugins.resolve("tasks", {"name": "residual_generator", **SPHERES, **options})
    return plugins.instantiate("tasks", resolved, TaskSetup(shape, 2, None, None, 0, 1, CPU, inputs or {}))


def one_step(made, x=None):
    return made.step(LoopState(0, 10, CPU), x or batch())


# --- networks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "levels"), [(224, 4), (28, 2), (28, 3), (16, 4), (8, 2), (7, 2)])
def test_unet_keeps_the_shape_of_the_image(side, levels):
    unet = generator("unet", (2, side, side + 1), levels=levels, width=2).eval()
    y = torch.tensor([0, 1])
    assert unet(torch.rand(2, 2, side, side + 1), 1 - y, y).shape == (2, 2, side, side + 1)
    widths = [down[0][0].out_channels for down in unet.down]
    assert widths == [2 * 2**k for k in range(1, levels + 1)]


def test_unet_that_would_halve_a_pixel_is_refused():
    with pytest.raises(ValueError, match="8x8 cannot be halved 4 times"):
        generator("unet", (1, 8, 8), levels=4)


def test_unet_has_as_many_operations_as_the_published_one():
    """The published 0.38 G multiplications at 28 pixels (48 G at 224) fix where the single output channel
    is: at the second convolution of the last block, not behind it (0.406 G, 50 G)."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        unet = generator("unet", (1, 28, 28), levels=2).eval()
        y = torch.zeros(1, dtype=torch.int64)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            unet(torch.zeros(1, 1, 28, 28), y, y)
    assert counter.get_total_flops() / 2e9 == pytest.approx(0.377, abs=1e-3)


def test_unet_starts_as_published():
    unet = generator("unet", (1, 16, 16), levels=2, width=32)
    layers = [m for m in unet.modules() if isinstance(m, nn.BatchNorm2d)]
    scales = torch.cat([layer.weight for layer in layers])
    assert scales.mean().item() == pytest.approx(0.1, abs=1e-3)
    assert scales.std().item() == pytest.approx(0.01, rel=0.1)
    assert all(layer.momentum == 0.01 and not layer.bias.any() for layer in layers)
    convolution = unet.down[1][0][0]  # 64 -> 128
    assert convolution.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert not convolution.bias.any()
    last = unet.up[-1].block[-1]
    assert [type(layer) for layer in last] == [nn.Conv2d, nn.BatchNorm2d], "no ReLU behind the last"


@pytest.mark.parametrize("channels", [2, 3])
def test_unet_condition_is_shifted_and_scaled_classes_and_their_difference(channels):
    unet = generator("unet", (1, 8, 8), levels=1, width=2, cond_channels=channels).eval()
    seen = []
    unet.up[0].reduce.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    unet(torch.rand(2, 1, 8, 8), torch.tensor([1, 0]), torch.tensor([0, 1]))
    (both,) = seen
    assert both.shape == (2, 4 + channels, 8, 8)
    expected = [[1.5, -3.5, -5.0], [-3.5, 1.5, 5.0]]
    found = both[:, 4:, 3, 5]
    torch.testing.assert_close(found, torch.tensor(expected)[:, :channels])


@pytest.mark.parametrize("name", ["unet", "residual_mlp"])
def test_the_unit_and_origin_of_the_data_do_not_matter(name):
    """A network that sees [0, 1] images as 2x - 1 gives half of what it gives for those in [-1, 1]."""
    options = {"levels": 1, "width": 2} if name == "unet" else {"hidden": [5, 4]}
    plain, mapped = (generator(name, (1, 6, 6), **options, **m) for m in ({}, {"centre": 0.5, "scale": 0.5}))
    x, y = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(3)), torch.tensor([0, 1, 0, 1])
    mapped.load_state_dict(plain.state_dict())
    expected = plain(2 * x - 1, 1 - y, y)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(mapped(x, 1 - y, y), expected / 2)


def test_residual_mlp_is_linear_relu_batch_norm():
    mlp = generator("residual_mlp", (500,))
    kinds = [type(layer).__name__ for layer in mlp.layers]
    assert kinds == ["Linear", "ReLU", "BatchNorm1d", "Linear", "ReLU", "BatchNorm1d", "Linear"]
    assert [tuple(mlp.layers[k].weight.shape) for k in (0, 3, 6)] == [(1000, 502), (1000, 1000), (500, 1000)]
    assert mlp.layers[2].weight.mean().item() == pytest.approx(0.1, abs=1e-3)
    x = torch.randn(3, 500)
    one, other = (mlp.eval()(x, torch.full((3,), t), torch.full((3,), 1 - t)) for t in (0, 1))
    assert not torch.equal(one, other)


# --- losses and updates --------------------------------------------------------------------------------


def test_losses_of_networks_made_by_hand():
    """G moves by (3, 4): length 5 / sqrt(2). D has the scores (0, x_1), so that every loss is a softplus."""
    made = task((2,), unit=0.5)

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.step = nn.Parameter(torch.tensor([3.0, 4.0]))

        def forward(self, x, target, source):
            return self.step.expand(len(x), -1)

    made.network.generator = Constant()
    made.network.discriminator = Linear([[0.0, 0.0], [1.0, 0.0]], [0.0, 0.0])
    x = torch.tensor([[-1.0, 0.0], [2.0, 0.0]])
    found = one_step(made, Batch(x, torch.tensor([0, 1]), torch.arange(2)))

    def softplus(value):
        return math.log1p(math.exp(value))

    expected = {
        "d_real": (softplus(-1) + softplus(-2)) / 2,
        "d_moved": (softplus(2) + softplus(-5)) / 2,
        "g": (softplus(-2) + softplus(5)) / 2,
        "length": 5 / math.sqrt(2) / 0.5,
    }
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-5), name
    d_loss = expected["d_real"] + 0.01 * expected["d_moved"]
    g_loss = 0.3 * expected["g"] + 0.5 * expected["length"]
    assert found["d_loss"].item() == pytest.approx(d_loss, rel=1e-5)
    assert found["g_loss"].item() == pytest.approx(g_loss, rel=1e-5)
    assert found["loss"].item() == pytest.approx(d_loss + g_loss, rel=1e-5)


def gradients(made, data, scores_of=None):
    """Gradients of both losses at the networks as they are, each with forward passes of its own; `scores_of`:
    the discriminator that judges for the generator."""
    networks, x, y = made.network, data.x, data.y
    d, g = networks.discriminator, networks.generator
    moved = x + g(x, 1 - y, y)
    d_loss = cross_entropy(d(x), y) + 0.01 * cross_entropy(d(moved.detach()), y)
    g_loss = 0.3 * cross_entropy((scores_of or d)(moved), 1 - y)
    g_loss = g_loss + 0.5 * (moved - x).norm(dim=1).mean() / math.sqrt(x.shape[1])
    return (
        torch.autograd.grad(d_loss, list(d.parameters())),
        torch.autograd.grad(g_loss, list(g.parameters())),
    )


PLAIN = {"optimizer": {"name": "sgd", "lr": 0.5}}


@pytest.mark.parametrize("update", ["simultaneous", "alternating"])
def test_update_takes_the_gradients_of_equations_11_to_13(update):
    """One step of SGD from the same weights: the generator's gradient is taken through the discriminator
    before its step (simultaneous) or after it (alternating)."""
    made, reference = (task(update=update, **PLAIN).network.double() for _ in range(2))
    tasked = task(update=update, **PLAIN)
    tasked.network.double()
    data = batch()
    data.x = data.x.double()
    d_gradient, g_gradient = gradients(type("", (), {"network": reference}), data)
    moved_d = [p.detach() - 0.5 * g for p, g in zip(reference.discriminator.parameters(), d_gradient)]
    if update == "alternating":
        with torch.no_grad():
            for p, value in zip(made.discriminator.parameters(), moved_d):
                p.copy_(value)
        again = task(**PLAIN).network.double()
        holder = type("", (), {"network": again})
        g_gradient = gradients(holder, data, scores_of=made.discriminator)[1]
    moved_g = [p.detach() - 0.5 * g for p, g in zip(reference.generator.parameters(), g_gradient)]
    one_step(tasked, data)
    for found, expected in ((tasked.network.discriminator, moved_d), (tasked.network.generator, moved_g)):
        for p, value in zip(found.parameters(), expected, strict=True):
            torch.testing.assert_close(p.detach(), value, rtol=1e-10, atol=1e-12)


def test_the_two_orders_differ_in_the_generator_alone():
    weights = {}
    for update in ("simultaneous", "alternating"):
        made = task(update=update, **PLAIN)
        one_step(made)
        weights[update] = made.network.state_dict()
    for key, value in weights["simultaneous"].items():
        same = torch.allclose(value, weights["alternating"][key], rtol=1e-6)
        trained = key.startswith("generator") and key.endswith(("weight", "bias"))
        assert same != trained, key


@pytest.mark.parametrize("name", ["discriminator", "generator"])
def test_divergence_is_named_before_anything_moves(name):
    made = task()
    bad = getattr(made.network, name)
    with torch.no_grad():
        next(bad.parameters()).fill_(float("nan"))
    before = {key: value.clone() for key, value in made.network.named_parameters()}
    with pytest.raises(Diverged, match="d_real" if name == "discriminator" else "d_moved"):
        one_step(made)
    for key, value in made.network.named_parameters():
        assert torch.equal(value.nan_to_num(7.0), before[key].nan_to_num(7.0))


def test_length_term_alone_can_diverge():
    made = task(weights={"d_moved": 0, "g": 0})
    with torch.no_grad():
        made.network.generator.layers[-1].bias.fill_(1e25)  # its square does not fit a float32
    before = [p.detach().clone() for p in made.network.parameters()]
    with pytest.raises(Diverged, match="length"):
        one_step(made)
    # The discriminator's gradients were fine, and it waited.
    assert all(map(torch.equal, made.network.parameters(), before))


def test_more_than_two_classes_are_refused():
    config = residual_generator.Config(**SPHERES)
    with pytest.raises(DataError, match="2 classes, found 10"):
        residual_generator.network(config, (3,), 10)


def test_discriminator_starts_from_a_file_but_for_its_last_layer(monkeypatch):
    plain = task().network.discriminator
    given = {name: torch.full_like(value, 0.5) for name, value in plain.state_dict().items()}
    load = plugins.load
    source = SimpleNamespace(Config=dict, convert=lambda config, path: given)
    monkeypatch.setattr(plugins, "load", lambda kind, name: source if kind == "sources" else load(kind, name))
    monkeypatch.setattr(type(plain), "final_layer", "layers.2", raising=False)
    adapter = {"name": plugins.names("sources")[0]}
    made = task(inputs={"pretrained": Path("weights.pt")}, adapter=adapter).network
    found = made.discriminator.state_dict()
    assert {name for name, value in found.items() if bool((value == 0.5).all())} == {
        "layers.0.weight", "layers.0.bias",
    }  # fmt: skip
    torch.testing.assert_close(found["layers.2.weight"], plain.layers[2].weight)
    for options in ({"adapter": adapter}, {"inputs": {"pretrained": Path("weights.pt")}}):
        with pytest.raises(DataError, match="without the other"):
            task(**options)


def test_training_finds_the_direction_on_spheres():
    """Radii 1 and 1.3 in 20 dimensions, fresh examples: the true step is along x, away from the origin for
    class 0 and towards it for class 1."""
    made = task(
        (20,), optimizer={"name": "adam", "lr": 2e-3, "betas": [0.0, 0.9]},
        generator={"name": "residual_mlp", "hidden": [64, 64]},
        discriminator={"name": "toy_mlp", "hidden": [64, 64]},
    )  # fmt: skip
    g = torch.Generator().manual_seed(5)

    def draw(n):
        y = torch.randint(2, (n,), generator=g)
        u = torch.randn(n, 20, generator=g)
        return u / u.norm(dim=1, keepdim=True) * (1 + 0.3 * y[:, None]), y

    for step in range(600):
        x, y = draw(100)
        made.step(LoopState(0, 600, CPU, step=step), Batch(x, y, torch.zeros_like(y)))
    x, y = draw(500)
    with torch.no_grad():
        residual = made.network.eval()(x, 1 - y, y)
    cosine = torch.cosine_similarity(residual, x * (1 - 2 * y[:, None]), dim=1)
    assert cosine.mean() > 0.5
    assert min(cosine[y == k].mean() for k in (0, 1)) > 0.3
