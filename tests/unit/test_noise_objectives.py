"""Objectives with Gaussian noise: expected values of linear networks, formulas written out, slopes."""

import math

import pytest
import torch
import torch.nn.functional as F
from linear_models import Linear
from networks import CLASSES, IMAGE, examples, flat_gradient, relative_error, slope, smooth_convnet

from pagrepro import plugins
from pagrepro.augment import Augment, draw
from pagrepro.batch import Batch
from pagrepro.problems import OptionError

OUTPUT = pytest.mark.parametrize("output", ["logits", "probabilities"])
WEIGHT, SIGMA = 0.7, 0.3


def objective(name, **options):
    return plugins.instantiate("objectives", plugins.resolve("objectives", {"name": name, **options}))


def smoothness(model, batch, seed=0, **options):
    options = {"weight": WEIGHT, "sigma": SIGMA, **options}
    return objective("smoothness", **options)(model, batch, generator(seed))


def gaussian(model, batch, seed=0, sigma=SIGMA):
    return objective("gaussian_noise", sigma=sigma)(model, batch, generator(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_batch(n=5, augment=None):
    x, y, _ = examples(n)
    return Batch(x, y, torch.arange(n), draw(augment, n, IMAGE, generator(5)) if augment else None)


def with_noise(x, seed=0, sigma=SIGMA):
    return x + sigma * torch.randn(x.shape, generator=generator(seed)).double()


def weights():
    return torch.linspace(-1, 1.3, CLASSES * 36).view(CLASSES, -1).sin()


# --- smoothness ------------------------------------------------------------------------------------------


def test_smoothness_of_a_linear_network_has_its_expected_value():
    """E ||W e||^2 = sigma^2 ||W||_F^2, with standard deviation sigma^2 sqrt(2) ||W^T W||_F."""
    model, (x, y, _) = Linear(weights()).double(), examples(1)
    n = 4000
    batch = Batch(x.expand(n, *IMAGE), y.expand(n), torch.arange(n))
    found = smoothness(model, batch)["penalty"]
    w = weights().double()
    expected, spread = SIGMA**2 * w.pow(2).sum(), SIGMA**2 * math.sqrt(2) * (w.T @ w).norm()
    assert abs(found.mean() - expected) < 4 * spread / math.sqrt(n)
    assert found.std() == pytest.approx(float(spread), rel=0.15)
    torch.testing.assert_close(found, (with_noise(batch.x) - batch.x).flatten(1).matmul(w.T).pow(2).sum(1))


@OUTPUT
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_smoothness_equals_the_written_out_formula(mode, output):
    model, batch = smooth_convnet().train(mode == "train"), make_batch()
    found = smoothness(model, batch, output=output)

    def outputs(x):
        return model(x) if output == "logits" else model(x).exp() / model(x).exp().sum(1, keepdim=True)

    penalty = (outputs(with_noise(batch.x)) - outputs(batch.x)).pow(2).sum(1)
    cross_entropy = F.cross_entropy(model(batch.x), batch.y, reduction="none")
    torch.testing.assert_close(found["penalty"], penalty.detach())
    torch.testing.assert_close(found["cross_entropy"], cross_entropy.detach())
    torch.testing.assert_close(found["loss"], cross_entropy + WEIGHT * penalty)
    expected = flat_gradient((cross_entropy + WEIGHT * penalty).mean(), model)
    assert relative_error(flat_gradient(found["loss"].mean(), model), expected) < 1e-10


@OUTPUT
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_weight_gradient_of_smoothness_passes_through_both_branches(mode, output):
    model, batch = smooth_convnet().train(mode == "train"), make_batch()
    gradient = flat_gradient(smoothness(model, batch, output=output)["loss"].mean(), model)
    direction = torch.randn(len(gradient), generator=generator(3)).double()
    numeric = slope(lambda: smoothness(model, batch, output=output)["loss"].mean(), model, direction)
    assert float(gradient @ direction) == pytest.approx(numeric, rel=1e-5)


def test_clean_and_noisy_images_have_statistics_of_their_own():
    model, batch = smooth_convnet(), make_batch()
    separate = smoothness(model, batch)["penalty"]
    assert model[1].num_batches_tracked == 2
    together = model(torch.cat([batch.x, with_noise(batch.x)])).detach()
    joint = (together[5:] - together[:5]).pow(2).sum(1)
    assert relative_error(joint, separate) > 0.01


# --- Gaussian noise --------------------------------------------------------------------------------------


def test_noise_on_a_linear_regression_is_a_ridge():
    """What noise does to a linear network, where it is known: for logits (0, w.x) and few noise, the mean
    cross-entropy grows by sigma^2 ||w||^2 p (1 - p) / 2 (the second derivative of the loss in the logit)."""
    w, sigma, n = torch.linspace(-1, 1, 36), 0.02, 20000
    model, (x, _, _) = Linear(torch.stack([torch.zeros(36), w])).double(), examples(1)
    batch = Batch(x.expand(n, *IMAGE), torch.ones(n, dtype=torch.int64), torch.arange(n))
    # Noise and its mirror image: what is odd in it drops out.
    source = generator()
    noisy = gaussian(model, batch, sigma=sigma)["loss"]
    mirrored = batch.x - sigma * torch.randn(batch.x.shape, generator=source).double()
    both = (noisy + F.cross_entropy(model(mirrored), batch.y, reduction="none")) / 2
    p = model(x).softmax(1)[0, 1].item()
    clean = F.cross_entropy(model(x), batch.y[:1])
    expected = sigma**2 * float(w.pow(2).sum()) * p * (1 - p) / 2
    assert (both.mean() - clean).item() == pytest.approx(expected, rel=0.05)


def test_gaussian_noise_is_cross_entropy_at_the_noisy_augmented_image():
    model, batch = smooth_convnet(), make_batch(augment=Augment(crop_padding=2, flip=True))
    found = gaussian(model, batch)
    assert found.keys() == {"loss"}
    expected = F.cross_entropy(model(with_noise(batch.augmented())), batch.y, reduction="none")
    torch.testing.assert_close(found["loss"], expected)
    gradient = flat_gradient(found["loss"].mean(), model)
    direction = torch.randn(len(gradient), generator=generator(3)).double()
    numeric = slope(lambda: gaussian(model, batch)["loss"].mean(), model, direction)
    assert float(gradient @ direction) == pytest.approx(numeric, rel=1e-5)


def test_without_noise_it_is_plain_training():
    model, batch = smooth_convnet(), make_batch()
    plain = objective("cross_entropy")(model, batch, generator())["loss"]
    assert torch.equal(gaussian(model, batch, sigma=0)["loss"], plain)


@pytest.mark.parametrize("terms", [smoothness, gaussian])
def test_noise_comes_from_the_step_s_generator_and_is_not_clipped(terms):
    model, batch = smooth_convnet().eval(), make_batch()
    seen = []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    first, again, other = (terms(model, batch, seed=seed)["loss"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert seen[-1].min() < 0
    assert seen[-1].max() > 1
    noise = (seen[-1] - batch.x).flatten(1)
    assert noise.std() == pytest.approx(SIGMA, rel=0.15)
    assert not torch.equal(noise[0], noise[1])


def test_wrong_options_are_errors():
    for name, options, wrong in (
        ("smoothness", {"weight": 1, "sigma": 0}, "sigma"),
        ("smoothness", {"weight": 1, "output": "softmax"}, "output"),
        ("gaussian_noise", {"sigma": -1}, "sigma"),
        ("gaussian_noise", {}, "sigma"),
    ):
        with pytest.raises(OptionError, match=wrong):
            objective(name, **options)
