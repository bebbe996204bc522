"""Autoencoders: published sizes, forms they can have, range, loss, and what a fit reaches."""

import pytest
import torch
from autoencoders import small_autoencoder

from pagrepro import plugins
from pagrepro.autoencoder_networks import autoencoder
from pagrepro.batch import Batch
from pagrepro.errors import DataError, Diverged
from pagrepro.problems import OptionError
from pagrepro.seeding import generator
from pagrepro.task import LoopState, TaskSetup

CPU = torch.device("cpu")


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def images(n=6, shape=(1, 8, 8), seed=0):
    return torch.rand(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def task(low=0.0, high=1.0, shape=(1, 8, 8), lr=0.01, seed=0, **options):
    torch.manual_seed(seed)
    given = {"name": "autoencoder", "network": "small_conv", "width": 4, "latent": 3, **options}
    given["optimizer"] = {"name": "adam", "lr": lr}
    setup = TaskSetup(shape, 2, low, high, 0, 10, CPU)
    return plugins.instantiate("tasks", plugins.resolve("tasks", given), setup)


def steps(made, x, count, seed=0):
    state, found = LoopState(seed, count, CPU), []
    for state.step in range(count):
        found.append(made.step(state, Batch(x, torch.zeros(len(x)).long(), torch.arange(len(x)))))
    return found


# --- networks --------------------------------------------------------------------------------------


def test_published_network_has_its_published_size():
    """Of a latent of 128: 11.55 and 18.95 million parameters; on the meta device, for speed."""
    with torch.device("meta"):
        network = autoencoder("conv_cifar", (3, 32, 32), 128)
    assert round(parameters(network.model.encoder) / 1e6, 2) == 11.55
    assert round(parameters(network.model.decoder) / 1e6, 2) == 18.95
    with torch.device("meta"):
        z = network.encode(torch.rand(2, 3, 32, 32))
        assert z.shape == (2, 128)
        assert network.decode(z).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize(("network", "shape"), [
    ("small_conv", (1, 8, 8)), ("small_conv", (1, 28, 28)), ("small_conv", (3, 13, 7)),
    ("small_conv", (1, 4, 5)), ("mlp", (2,)), ("mlp", (1, 8, 8)),
])  # fmt: skip
def test_reconstructions_have_the_form_of_the_data(network, shape, variational):
    made = small_autoencoder(shape, 3, network, variational=variational)
    x = images(2, shape)
    assert made.encode(x).shape == (2, 3)
    assert made(x).shape == x.shape
    assert bool(((made(x) >= 0) & (made(x) <= 1)).all())
    assert torch.equal(made(x), made.decode(made.encode(x)))


@pytest.mark.parametrize(("network", "shape"), [
    ("conv_cifar", (3, 64, 64)), ("conv_cifar", (1, 32, 32)), ("small_conv", (2,)), ("small_conv", (1, 3, 8))
])  # fmt: skip
def test_forms_that_a_network_cannot_have_are_refused(network, shape):
    with pytest.raises(DataError, match=network):
        autoencoder(network, shape, 3, 4)


@pytest.mark.parametrize("options", [{"network": "conv_cifar", "width": 3}, {"network": "mlp"}])
def test_width_belongs_to_the_smaller_networks(options):
    with pytest.raises(OptionError, match="width"):
        plugins.resolve("tasks", {"name": "autoencoder", **options})


def test_range_is_that_of_the_data_and_kept_with_the_weights():
    narrow, wide = small_autoencoder((1, 8, 8)), small_autoencoder((1, 8, 8))
    wide.set_range(-3.0, 5.0)
    x = images()
    torch.testing.assert_close(wide.encode(8 * x - 3), narrow.encode(x))
    torch.testing.assert_close(wide(8 * x - 3), 8 * narrow(x) - 3)
    narrow.load_state_dict(wide.state_dict())
    torch.testing.assert_close(narrow(8 * x - 3), wide(8 * x - 3))
    assert {key.split(".")[0] for key in wide.state_dict()} == {"model", "low", "scale"}


@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (0.0, None), (None, None)])
def test_data_without_a_range_are_refused(low, high):
    with pytest.raises(DataError, match="range"):
        task(low, high)


# --- losses ----------------------------------------------------------------------------------------


def test_loss_is_the_squared_error_of_images_in_the_unit_range():
    network = small_autoencoder((1, 8, 8))
    network.set_range(-3.0, 5.0)
    x = 8 * images() - 3
    expected = ((network(x) - x) / 8).flatten(1).square().sum(1).mean()
    found = network.terms(x, generator(0, "latents"))
    assert found.keys() == {"loss"}
    torch.testing.assert_close(found["loss"], expected)


def test_variational_loss_is_half_of_it_and_the_divergence():
    """The divergence is compared with that of torch's distributions; noise comes from the generator given."""
    network, x = small_autoencoder((1, 8, 8), variational=True), images()
    found = network.terms(x, generator(0, "latents"))
    encoded = network.model.encoder(x)
    std = (encoded.log_covariance / 2).exp()
    noise = torch.randn(std.shape, generator=generator(0, "latents"), dtype=torch.float64)
    made = network.decode(encoded.embedding + std * noise)
    torch.testing.assert_close(found["reconstruction"], (made - x).flatten(1).square().sum(1).mean() / 2)
    posterior = torch.distributions.Normal(encoded.embedding, std)
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(found["divergence"], divergence.sum(1).mean())
    torch.testing.assert_close(found["loss"], found["reconstruction"] + found["divergence"])
    other = network.terms(x, generator(1, "latents"))
    assert other["reconstruction"] != found["reconstruction"]
    assert other["divergence"] == found["divergence"]
    assert torch.equal(network.encode(x), encoded.embedding)


# --- fits ------------------------------------------------------------------------------------------


def test_fit_reconstructs_what_lies_in_as_many_dimensions_as_it_has():
    """Images on a curve: 3 latents are enough, and better than the mean image by far."""
    t = torch.linspace(0, 6, 64)[:, None]
    x = (0.5 + 0.4 * torch.sin(t + torch.arange(64) / 9)).view(64, 1, 8, 8)
    made = task(lr=0.01, width=8)
    found = steps(made, x, 150)
    spread = (x - x.mean(0)).flatten(1).square().sum(1).mean()
    assert found[-1]["loss"] < 0.05 * spread
    assert found[0]["loss"] > spread / 2
    made.network.eval()
    assert (made.network(x) - x).flatten(1).square().sum(1).mean() < 0.2 * spread


def test_first_step_is_adam_on_the_gradient_of_the_loss():
    """Adam's first step has length lr in every coordinate, against the sign of the gradient."""
    made, x = task(lr=1e-3), images().float()
    before = [p.detach().clone() for p in made.network.parameters()]
    loss = made.network.terms(x, generator(0, "latents"))["loss"]
    gradients = torch.autograd.grad(loss, list(made.network.parameters()))
    steps(made, x, 1)
    for old, new, gradient in zip(before, made.network.parameters(), gradients, strict=True):
        large = gradient.abs() > 1e-4
        torch.testing.assert_close((new - old)[large], -1e-3 * gradient.sign()[large], rtol=0.01, atol=1e-6)


def test_augmented_images_are_what_is_reconstructed():
    class Flip:
        def apply(self, x):
            return x.flip(-1)

    x, y, index = images().float(), torch.zeros(6).long(), torch.arange(6)
    flipped = task().step(LoopState(0, 1, CPU), Batch(x.flip(-1), y, index))
    found = task().step(LoopState(0, 1, CPU), Batch(x, y, index, Flip()))
    assert found["loss"] == flipped["loss"]


def test_metrics_name_the_parts_of_the_loss():
    assert steps(task(), images().float(), 1)[0].keys() == {"loss", "gradient_norm"}
    found = steps(task(variational=True), images().float(), 1)[0]
    assert found.keys() == {"loss", "reconstruction", "divergence", "gradient_norm"}
    assert not any(value.requires_grad for value in found.values())


def test_divergence_is_noticed_before_the_weights_move():
    made = task()
    before = {name: p.clone() for name, p in made.network.named_parameters()}
    with pytest.raises(Diverged):
        steps(made, torch.full((4, 1, 8, 8), torch.nan), 1)
    assert all(torch.equal(p, before[name]) for name, p in made.network.named_parameters())
