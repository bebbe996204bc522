"""The class-conditional GAN: its losses by hand, its layers against their formulas, its order of updates."""

import math

import pytest
import torch
from tiny_gans import tiny_gan
from torch import nn

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.errors import DataError, Diverged
from pagrepro.gan_networks import ConditionalBatchNorm, DownBlock, UpBlock, spectral, upsampled
from pagrepro.multi_hinge import feature_distance, multi_hinge
from pagrepro.task import LoopState, TaskSetup
from pagrepro.tasks import conditional_gan

CPU = torch.device("cpu")
SMALL = {"width": 4, "latent": 3, "blocks": 2, "halvings": 1}


def task(low=0.0, high=1.0, shape=(1, 8, 8), classes=3, **options):
    torch.manual_seed(1)
    resolved = plugins.resolve("tasks", {"name": "conditional_gan", **SMALL, **options})
    return plugins.instantiate("tasks", resolved, TaskSetup(shape, classes, low, high, 0, 1, CPU))


def batch(n=8, shape=(1, 8, 8)):
    x = torch.rand(n, *shape, generator=torch.Generator().manual_seed(2))
    return Batch(x, torch.arange(n) % 3, torch.arange(n))


# --- losses ------------------------------------------------------------------------------------------


def test_multi_hinge_by_hand():
    scores = torch.tensor([[2.0, 0.5, -1.0], [2.0, 1.5, 1.8], [0.0, 0.0, 3.0]])
    # 1 + .5 - 2 < 0; 1 + 2 - 1.5; 1 + 3 - 0.
    assert multi_hinge(scores, torch.tensor([0, 1, 0])).tolist() == pytest.approx([0, 1.5, 4])


def test_multi_hinge_gradient_goes_to_the_label_and_the_highest_other():
    scores = torch.tensor([[2.0, 0.5, 1.8]], requires_grad=True)
    (gradient,) = torch.autograd.grad(multi_hinge(scores, torch.tensor([1])).sum(), scores)
    assert gradient.tolist() == [[1, -1, 0]]


def test_feature_distance_by_hand():
    made, real = torch.tensor([[0.0, 4.0], [2.0, 6.0]]), torch.tensor([[0.0, 7.0]])
    assert feature_distance(made, real).item() == pytest.approx((1 + 2) / 2)


# --- layers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.Linear(5, 7), nn.Conv2d(3, 4, 3)])
def test_spectral_norm_divides_by_the_largest_singular_value(layer):
    torch.manual_seed(0)
    layer = spectral(layer.double())
    shape = layer.parametrizations.weight.original.shape
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(torch.randn(shape, dtype=torch.float64))
        x = torch.randn(1, *((5,) if len(shape) == 2 else (3, 6, 6)), dtype=torch.float64)
        for _ in range(200):
            layer(x)
        matrix = layer.eval().weight.flatten(1)
    assert torch.linalg.svdvals(matrix)[0].item() == pytest.approx(1, abs=1e-8)
    expected = layer.parametrizations.weight.original.flatten(1)
    torch.testing.assert_close(matrix, expected / torch.linalg.svdvals(expected)[0])


def test_spectral_norm_moves_in_train_mode_only():
    torch.manual_seed(0)
    layer = spectral(nn.Linear(5, 7))
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
        estimate = layer.parametrizations.weight[0]._u.clone()
        layer.eval()(torch.ones(1, 5))
        assert torch.equal(layer.parametrizations.weight[0]._u, estimate)
        layer.train()(torch.ones(1, 5))
    assert not torch.equal(layer.parametrizations.weight[0]._u, estimate)


def test_conditional_batch_norm_by_hand():
    """Two examples of one channel and 1x2 pixels: mean 3, variance 5."""
    norm = ConditionalBatchNorm(1, 2)
    norm.norm.eps = 1e-12
    with torch.no_grad():
        norm.gain.weight.copy_(torch.tensor([[0.0], [0.5]]))
        norm.shift.weight.copy_(torch.tensor([[1.0], [-2.0]]))
    h = torch.tensor([[[[0.0, 2.0]]], [[[4.0, 6.0]]]])
    root = math.sqrt(5)
    expected = [[[[1 - 3 / root, 1 - 1 / root]]], [[[1.5 / root - 2, 4.5 / root - 2]]]]
    torch.testing.assert_close(norm(h, torch.tensor([0, 1])), torch.tensor(expected))
    # In eval mode with running statistics: momentum .1, unbiased variance 20/3.
    norm.eval()
    scale = math.sqrt(0.9 + 0.1 * 20 / 3)
    found = norm(h[:1], torch.tensor([0]))
    torch.testing.assert_close(found, (h[:1] - 0.3) / scale + 1)


def test_shortcuts_may_be_applied_where_the_image_is_small():
    torch.manual_seed(0)
    up, down = UpBlock(3, 2).double().eval(), DownBlock(3, 5, False, True).double().eval()
    h, y = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.tensor([0, 1])
    inner = up.conv1(upsampled(up.norm1(h, y).relu()))
    expected = up.conv2(up.norm2(inner, y).relu()) + up.shortcut(upsampled(h))
    torch.testing.assert_close(up(h, y), expected)
    inner = down.conv2(down.conv1(h.relu()).relu())
    expected = nn.functional.avg_pool2d(inner + down.shortcut(h), 2)
    torch.testing.assert_close(down(h), expected)


def test_published_networks_have_the_published_size():
    with torch.device("meta"):
        network = conditional_gan.network(conditional_gan.Config(), (3, 32, 32), 10)
    assert sum(p.numel() for p in network.generator.parameters()) == pytest.approx(4.3e6, rel=0.01)
    assert network.discriminator.linear.out_features == 11
    assert [block.halves for block in network.discriminator.blocks] == [True, True, False, False]


def test_weights_start_small_and_embeddings_too():
    torch.manual_seed(0)
    network = conditional_gan.network(conditional_gan.Config(width=32), (1, 16, 16), 10)
    originals = [p for name, p in network.named_parameters() if "original" in name or "gain" in name]
    assert torch.cat([p.flatten() for p in originals]).std().item() == pytest.approx(0.02, rel=0.02)


# --- sizes and ranges ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "ups"), [(32, 3), (16, 2), (8, 1)])
def test_generator_doubles_up_to_the_side_of_the_data(side, ups):
    network = task(shape=(1, side, side)).network
    assert len(network.generator.blocks) == ups
    assert network(torch.randn(2, 3), torch.tensor([0, 2])).shape == (2, 1, side, side)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 28, 28), {}),
        ((1, 16, 32), {}),
        ((1, 32, 32), {"pad_to": 16}),
        ((1, 28, 28), {"pad_to": 30}),
        ((1, 8, 8), {"halvings": 4}),
    ],
)
def test_sizes_that_do_not_go_are_refused(shape, options):
    with pytest.raises(DataError, match="conditional_gan"):
        task(shape=shape, **options)


def test_padding_with_black_is_undone():
    network = task(shape=(1, 6, 7), pad_to=8).network
    x = torch.rand(2, 1, 6, 7)
    framed = network.framed(x)
    assert framed.shape == (2, 1, 8, 8)
    assert bool((framed[:, :, [0, -1]] == -1).all()), "black is the lowest value"
    assert bool((framed[:, :, :, -1] == -1).all())
    network.generator.forward = lambda z, y: framed
    torch.testing.assert_close(network(None, None), x)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (None, None)])
def test_images_are_in_the_range_of_the_data(low, high):
    network = task(low, high).network
    x = torch.tensor([0.0 if low is None else low, 0.0 if high is None else high])[:, None, None, None]
    seen = network.framed(x.expand(2, 1, 8, 8))[:, 0, 0, 0].tolist()
    assert seen == ([0.0, 0.0] if low is None else [-1.0, 1.0])
    network.generator.forward = lambda z, y: torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    assert network(None, None)[:, 0, 0, 0].tolist() == [-1.0 if low is None else low, 1.0]


def test_range_comes_back_with_the_weights():
    saved = task(0.0, 1.0).network.state_dict()
    config = conditional_gan.Config(**SMALL)
    network = conditional_gan.network(config, (1, 8, 8), 3)
    network.load_state_dict(saved)
    made = network.eval()(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    assert 0 <= made.min() < made.max() <= 1


def test_classes_make_different_images():
    network = tiny_gan().eval()
    made = network(torch.zeros(2, 5), torch.tensor([0, 1]))
    assert (made[0] - made[1]).abs().max() > 0.05


# --- updates -------------------------------------------------------------------------------------------


def watched(made):
    """Order of the optimisers' steps, and what both networks are given."""
    order, seen = [], {"generator": [], "discriminator": []}
    for name, optimizer in made.optimizers.items():
        step = optimizer.step

        def counted(name=name, step=step):
            order.append(name)
            step()

        optimizer.step = counted
        getattr(made.network, name).register_forward_pre_hook(
            lambda module, inputs, name=name: seen[name].append(inputs)
        )
    return order, seen


def test_discriminator_takes_several_steps_on_its_own_images_and_the_last_latents_are_reused():
    made, data = task(d_steps=4), batch(8)
    order, seen = watched(made)
    made.step(LoopState(0, 10, CPU), data)
    assert order == ["discriminator"] * 4 + ["generator"]
    given = seen["generator"]
    assert len(given) == 5
    latents = [z for z, _ in given]
    assert all(not torch.equal(latents[0], z) for z in latents[1:])
    assert all(map(torch.equal, given[3], given[4]))
    # Four calls with real and made images, then the made ones alone, then the real ones alone.
    real = [x[:2] for (x,) in seen["discriminator"][:4]]
    torch.testing.assert_close(torch.cat(real), 2 * data.x - 1)
    torch.testing.assert_close(seen["discriminator"][5][0], real[3])


def test_gradients_are_those_of_the_losses():
    """One step of SGD for each network, against losses written out."""
    made = task(d_steps=1, optimizer={"name": "sgd", "lr": 0.1})
    other = task(d_steps=1, optimizer={"name": "sgd", "lr": 0.1}).network
    for network in (made.network, other):
        network.double()
    data = batch(6)
    data.x, state = data.x.double(), LoopState(0, 10, CPU)
    g = state.generator("latents")
    z = torch.randn(6, 3, generator=g, dtype=torch.float64)
    y = torch.randint(3, (6,), generator=g)
    x = 2 * data.x - 1
    with torch.no_grad():
        images = other.generator(z, y)
    scores, _ = other.discriminator(torch.cat([x, images]))
    d_loss = multi_hinge(scores[:6], data.y).mean() + multi_hinge(scores[6:], torch.full((6,), 3)).mean()
    moved(other.discriminator, d_loss)
    scores, features = other.discriminator(other.generator(z, y))
    _, real = other.discriminator(x)
    distance = (features.mean(0) - real.mean(0)).abs().mean()
    g_loss = distance + 0.05 * multi_hinge(scores, y).mean()
    moved(other.generator, g_loss)
    found = made.step(state, data)
    assert found["loss"].item() == pytest.approx((d_loss + g_loss).item(), rel=1e-10)
    for (name, p), q in zip(made.network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12, msg=name)


def moved(network, loss):
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    with torch.no_grad():
        for p, gradient in zip(network.parameters(), gradients):
            p -= 0.1 * gradient


def test_a_small_last_batch_is_divided_and_a_smaller_one_refused():
    made = task(d_steps=4)
    found = made.step(LoopState(0, 10, CPU), batch(7))
    assert all(bool(value.isfinite()) for value in found.values())
    with pytest.raises(DataError, match="3 examples, but the discriminator takes 4 steps"):
        made.step(LoopState(0, 10, CPU), batch(3))


def test_latents_are_those_of_the_step():
    made, drawn = task(d_steps=2), []
    made.network.generator.register_forward_pre_hook(lambda module, inputs: drawn.append(inputs))
    for step in (3, 3, 4):
        made.step(LoopState(0, 10, CPU, step=step), batch(4))
    assert all(torch.equal(a, b) for one, two in zip(drawn[:3], drawn[3:6]) for a, b in zip(one, two))
    assert not torch.equal(drawn[0][0], drawn[6][0])


def test_divergence_names_the_loss():
    made = task(d_steps=1)
    data = batch(4)
    data.x = data.x * float("nan")
    with pytest.raises(Diverged, match="d_real"):
        made.step(LoopState(0, 10, CPU), data)
