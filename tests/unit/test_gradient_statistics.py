"""Norms of loss gradients by outcome of an attack, and counts of their entries: linear networks, tables."""

import numpy as np
import pytest
import torch
from linear_models import CPU, Linear, request
from networks import CLASSES, examples, smooth_convnet
from pydantic import ValidationError

from pagrepro import plugins
from pagrepro.errors import RangeError
from pagrepro.evaluations import gradient_statistics as evaluation
from pagrepro.evaluations import pgd_accuracy
from pagrepro.request import MeasureRequest

ATTACK = plugins.resolve(
    "attacks", {"name": "pgd", "norm": "linf", "eps": 0.05, "steps": 4, "relative_step": 2, "start": "random"}
)


def measure(ask, **options):
    return evaluation.measure(evaluation.Config(**options), ask)


def colour_request(n=40, **more):
    """f = W x on 3x4x4 images in [0, 1], two classes; some are wrong, some break under ATTACK."""
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(2, 48, generator=generator)
    x = torch.rand(n, 3, 4, 4, generator=generator)
    margin = (x.flatten(1) @ (w[1] - w[0])) - (x.flatten(1) @ (w[1] - w[0])).mean()
    y = (margin > 0.8 * torch.randn(n, generator=generator)).long()
    model = Linear(w, [(x.flatten(1) @ (w[1] - w[0])).mean().item(), 0.0])
    return request(model, x, y, 0.0, 1.0, batch_size=7, **more), w


def test_norms_in_closed_form():
    ask, w = colour_request()
    found = measure(ask)
    p = ask.model(ask.x).softmax(1)
    # d CE / dx = (p_other) (w_other - w_y): one direction, its size by the other class's probability.
    other = p[torch.arange(40), 1 - ask.y]
    l1 = (other * (w[1] - w[0]).abs().sum()).numpy()
    np.testing.assert_allclose(found.arrays["l1"], l1, rtol=1e-4)
    np.testing.assert_allclose(found.arrays["l2"], (other * (w[1] - w[0]).norm()).numpy(), rtol=1e-4)
    np.testing.assert_allclose(found.arrays["loss"], -torch.log1p(-other).numpy(), rtol=1e-4, atol=1e-6)
    correct = (p.argmax(1) == ask.y).numpy()
    assert 0 < correct.sum() < 40
    np.testing.assert_array_equal(found.arrays["clean_correct"], correct)
    expected = {
        "l1": l1.mean(),
        "l1_std": l1.std(ddof=1),
        "l1_correct": l1[correct].mean(),
        "l1_wrong": l1[~correct].mean(),
        "clean_accuracy": correct.mean(),
        "zero_gradients": 0,
    }
    assert {key: found.values[key] for key in expected} == pytest.approx(expected, rel=1e-4)
    assert "l1_held" not in found.values
    assert found.flags == []


def test_mean_is_the_mixture_of_the_conditional_means():
    """E = p E_held + (1 - p) E_broken, with the accuracy of the same attack in the measurement of it."""
    ask, _ = colour_request()
    found = measure(ask, attack=ATTACK)
    values, held = found.values, found.arrays["attack_correct"]
    assert 0 < held.sum() < found.arrays["clean_correct"].sum()
    assert not (held & ~found.arrays["clean_correct"]).any()
    assert values["l1_held"] == pytest.approx(found.arrays["l1"][held].mean(), rel=1e-5)
    mixture = mixed(values["attack_accuracy"], values["l1_held"], values["l1_broken"])
    assert mixture == pytest.approx(values["l1"], rel=1e-12)
    assert values["l1_held"] < values["l1"] < values["l1_broken"]
    attacked = pgd_accuracy.measure(pgd_accuracy.Config(attack=ATTACK), ask)
    np.testing.assert_array_equal(held, attacked.arrays["correct"] & attacked.arrays["clean_correct"])


def mixed(p, held, broken):
    return p * held + (1 - p) * broken


# Table 1: accuracy under PGD-10 in %, E, E held, E broken; as text, whose last digit gives the rounding.
TABLE_1 = {
    "ResNet-50": ("0.25", "3013", "0.030", "3021"),
    "ResNet-50, robust": ("39.98", "56.82", "11.78", "86.82"),
    "Swin-B": ("2.77", "3892", "546", "3983"),
    "Swin-B, robust": ("59.25", "37.42", "10.96", "75.90"),
    "Swin-L": ("2.07", "2408", "285.9", "2453"),
    "Swin-L, robust": ("61.33", "33.73", "7.08", "75.64"),
}
CORRECTED = {
    "Swin-B": ("2.65", "3892", "546", "3983"),
    "Swin-L, robust": ("61.33", "33.73", "7.31", "75.64"),
}


def fits(row):
    """Whether the printed numbers can be roundings of numbers that fulfil the mixture identity."""
    p, mean, held, broken = map(float, row)
    half = [0.5 * 10.0 ** -len(text.partition(".")[2]) for text in row]
    p, half[0] = p / 100, half[0] / 100
    slack = half[1] + p * half[2] + (1 - p) * half[3] + half[0] * abs(broken - held)
    return abs(mean - mixed(p, held, broken)) <= slack


def test_the_identity_finds_two_misprints_in_table_1():
    assert {name for name, row in TABLE_1.items() if not fits(row)} == {"Swin-B", "Swin-L, robust"}
    assert all(fits(row) for row in CORRECTED.values())


def test_entries_are_counted_per_channel():
    """A network without weights on green: its gradients there are exactly zero."""
    ask, w = colour_request()
    w.view(2, 3, 16)[:, 1] = 0
    ask.model.weight.copy_(w)
    found = measure(ask, entries=10, small=0.5)
    assert found.values["share_zero"] == pytest.approx(1 / 3)
    assert [found.values[f"share_zero_{c}"] for c in range(3)] == [0, 1, 0]
    assert found.values["share_small_1"] == 1
    p = ask.model(ask.x[:10]).softmax(1)
    g = (p - torch.nn.functional.one_hot(ask.y[:10], 2)) @ w
    g = g.abs().view(10, 3, 16)
    assert found.values["share_small"] == pytest.approx((g < 0.5).double().mean().item())
    assert found.values["share_small_2"] == pytest.approx((g[:, 2] < 0.5).double().mean().item())
    histogram, edges = found.arrays["histogram"], found.arrays["histogram_edges"]
    assert histogram.shape == (4, 18 * 5 + 2)
    np.testing.assert_allclose(edges[[0, 5, -1]], [1e-15, 1e-14, 1e3])
    for row, values in zip(histogram, (g, g[:, 0], g[:, 1], g[:, 2])):
        values = values[values > 0].numpy()
        np.testing.assert_array_equal(row[1:-1], np.histogram(values, edges)[0])
        assert row[0] == (values < 1e-15).sum()
    assert found.arrays["histogram_zero"].tolist() == [160, 0, 160, 0]
    assert (histogram.sum(1) + found.arrays["histogram_zero"]).tolist() == [480, 160, 160, 160]


def test_entries_outside_of_the_bins_are_in_the_outer_columns():
    ask, _ = colour_request()
    found = measure(ask, log10_low=-1, log10_high=0, per_decade=1)
    inside = measure(ask).arrays["histogram"]
    below, within, above = found.arrays["histogram"][0]
    assert below == inside[0, : 1 + 14 * 5].sum()
    assert within == inside[0, 1 + 14 * 5 : 1 + 15 * 5].sum()
    assert above == inside[0, 1 + 15 * 5 :].sum()
    assert min(below, within, above) > 0


def test_bimodality_of_known_distributions():
    normal = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    assert evaluation.bimodality(normal) == pytest.approx(1 / 3, abs=0.01)
    assert evaluation.bimodality(torch.linspace(0, 1, 100_001)) == pytest.approx(5 / 9, abs=1e-4)
    assert evaluation.bimodality(torch.tensor([0.0, 1.0, 1.0, 0.0])) == pytest.approx(1)
    two = torch.cat([normal, normal + 8])
    assert evaluation.bimodality(two) > 0.8
    assert np.isnan(evaluation.bimodality(torch.ones(5)))


def test_gradients_of_a_deep_network_per_unit_of_x():
    """Central differences of the loss along the gradient's signs."""
    model, (x, y, _) = smooth_convnet().eval().requires_grad_(False), examples()
    ask = MeasureRequest(model, x, y, torch.arange(5), CLASSES, 0, 0.0, 1.0, CPU, 2)
    found = measure(ask)
    inputs = x.clone().requires_grad_()
    g = torch.autograd.grad(torch.nn.functional.cross_entropy(model(inputs), y, reduction="sum"), inputs)[0]
    h = 1e-6
    ends = [
        torch.nn.functional.cross_entropy(model(x + s * h * g.sign()), y, reduction="none") for s in (1, -1)
    ]
    np.testing.assert_allclose(found.arrays["l1"], ((ends[0] - ends[1]) / (2 * h)).numpy(), rtol=1e-5)
    assert found.arrays["histogram"].shape[0] == 2


def test_zero_and_nonfinite_gradients_have_flags():
    ask, _ = colour_request()
    ask.model.weight.zero_()
    zero = measure(ask)
    assert zero.flags == ["40 gradients are zero"]
    assert zero.values["share_zero"] == 1
    ask.model.weight.fill_(torch.nan)
    broken = measure(ask)
    assert "nonfinite_gradients" in broken.flags
    assert np.isnan(broken.values["share_small"])


def test_wrong_requests_are_refused():
    ask, _ = colour_request()
    with pytest.raises(RangeError):
        measure(request(ask.model, ask.x * 255, ask.y, 0.0, 1.0))
    with pytest.raises(ValidationError, match="below log10_high"):
        evaluation.Config(log10_low=1, log10_high=1)
