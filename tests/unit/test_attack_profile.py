"""Profiles along an attack: against plain evaluation at every point, and closed forms of linear networks."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from linear_models import CPU, Linear, request
from networks import CLASSES, examples, smooth_convnet

from pagrepro import plugins
from pagrepro.evaluations import attack_profile as evaluation
from pagrepro.request import MeasureRequest

ATTACK = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 5, "step_size": 0.05, "start": "zero"}


def measure(ask, **options):
    options = {"attack": plugins.resolve("attacks", ATTACK), **options}
    return evaluation.measure(evaluation.Config(**options), ask)


def convnet_request(batch_size=3):
    model, (x, y, _) = smooth_convnet().eval().requires_grad_(False), examples()
    return MeasureRequest(model, x, y, torch.arange(5), CLASSES, 0, 0.0, 1.0, CPU, batch_size)


def test_points_lie_on_the_line_through_the_attack():
    ask = convnet_request()
    found = measure(ask, points=5, reach=2, iterations=3)
    attack = plugins.instantiate("attacks", plugins.resolve("attacks", ATTACK))
    x_adv = attack.perturb(ask.model, ask.x, ask.y, None)
    np.testing.assert_allclose(found.arrays["weight"], [0, 0.5, 1, 1.5, 2])
    for place, w in enumerate(found.arrays["weight"]):
        x = (ask.x + w * (x_adv - ask.x)).requires_grad_()
        loss = F.cross_entropy(ask.model(x), ask.y, reduction="none")
        g = torch.autograd.grad(loss.sum(), x)[0].flatten(1)
        np.testing.assert_allclose(found.arrays["loss"][:, place], loss.detach(), rtol=1e-6)
        np.testing.assert_allclose(found.arrays["l1"][:, place], g.abs().sum(1), rtol=1e-6)
        correct = (ask.model(x).argmax(1) == ask.y).numpy()
        np.testing.assert_array_equal(found.arrays["correct"][:, place], correct)
        assert found.arrays["mean_loss"][place] == pytest.approx(loss.mean().item())
        h = torch.autograd.functional.hessian(
            lambda z: F.cross_entropy(ask.model(z.view(1, *ask.x.shape[1:])), ask.y[3:4]),
            x[3].detach().flatten(),
        )
        u = g[3]
        for _ in range(3):
            u = h @ u / (h @ u).norm()
        curvature = ((u @ h @ u).abs() / (g[3].norm() + 1e-6)).item()
        assert found.arrays["curvature"][3, place] == pytest.approx(curvature, rel=1e-6)
    values = found.values
    assert values["loss_start"] == pytest.approx(found.arrays["mean_loss"][0])
    assert values["l1_near"] == pytest.approx(found.arrays["mean_l1"][1])
    assert values["curvature_end"] == pytest.approx(found.arrays["mean_curvature"][-1])
    assert values["excess_end"] == pytest.approx(values["loss_end"] - math.log(CLASSES))
    assert values["clean_accuracy"] == found.arrays["correct"][:, 0].mean()
    assert values["attack_accuracy"] == found.arrays["correct"][:, 2].mean()
    assert values["loss_end"] > values["loss_near"] > values["loss_start"]


def test_power_iteration_starts_at_the_gradient():
    """Two logits: the Hessian p (1 - p) d d^T has the gradient as its eigenvector, so one step is enough."""
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    x = torch.rand(6, 12, generator=generator)
    model = Linear(w)
    ask = request(model, x, torch.arange(6) % 2, 0.0, 1.0)
    found = measure(ask, points=2, reach=1, iterations=1)
    p = model(x).softmax(1)[torch.arange(6), 1 - ask.y]
    d = (w[1] - w[0]).norm()
    # H = p (1 - p) d^2 and g = p d, p the probability of the wrong class.
    expected = (p * (1 - p) * d.square() / (p * d + 1e-6)).numpy()
    np.testing.assert_allclose(found.arrays["curvature"][:, 0], expected, rtol=1e-4)


def test_batches_do_not_matter_for_an_attack_without_noise():
    whole, parts = measure(convnet_request(5)), measure(convnet_request(5), gradient_batch=2)
    assert whole.arrays["weight"].shape == (16,)
    for name, array in whole.arrays.items():
        np.testing.assert_allclose(parts.arrays[name], array, rtol=1e-6)


def test_points_beyond_the_range_are_not_clipped():
    """Images at the upper end of the range, pushed up by the attack: w = 2 ends where it went, twice."""
    model = Linear([[-1.0, -1.0], [1.0, 1.0]])
    ask = request(model, [[0.96, 0.96]], [0], 0.0, 1.0)
    found = measure(ask, points=3)
    losses = [math.log1p(math.exp(2 * 2 * (0.96 + w * 0.04))) for w in (0, 1, 2)]
    np.testing.assert_allclose(found.arrays["loss"][0], losses, rtol=1e-5)


def test_nonfinite_profiles_are_left_out():
    ask = convnet_request()
    ask.model[0].weight.fill_(torch.nan)
    found = measure(ask, points=3)
    assert found.flags == ["nonfinite_profiles"]
    assert math.isnan(found.values["loss_start"])
