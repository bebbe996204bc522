"""Alignment with the direction to the closest class and with x, on models whose gradients are known."""

import math

import numpy as np
import pytest
import torch
from linear_models import Linear, request, step_right
from torch import nn

from pagrepro import plugins
from pagrepro.errors import RangeError
from pagrepro.evaluations import direction_alignment as evaluation
from pagrepro.request import LoadedField

# Class 0 at the origin of gradients, class 1 to the right, class 2 twice as steep upwards.
WEIGHT = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
BIAS = [1.0, 0.0, 0.0]


def measure(ask, **options):
    return evaluation.measure(evaluation.Config(**options), ask)


def towards(directions):
    return {"targets": LoadedField("f", lambda rows, x: directions[rows].to(x), {})}


def directions_for(n, classes=3):
    return torch.zeros(n, classes, 2)


def test_cosines_with_the_direction_of_the_closest_class():
    x, g = torch.tensor([[0.0, 0.0], [0.25, 0.0], [0.5, -1.0]]), directions_for(3)
    g[0, 2], g[0, 1] = torch.tensor([3.0, 4.0]), torch.tensor([-1.0, 0.0])
    g[1, 2] = torch.tensor([0.0, -1.0])
    g[2, 1] = torch.tensor([1.0, 1.0])
    found = measure(request(Linear(WEIGHT, BIAS), x, [0, 0, 0], classes=3, batch_size=2, inputs=towards(g)))
    assert found.arrays["closest"].tolist() == [2, 2, 1]
    np.testing.assert_allclose(found.arrays["alpha_dx"], [0.8, -1, math.sqrt(0.5)], rtol=1e-6)
    assert found.values["alpha_dx"] == pytest.approx((0.8 - 1 + math.sqrt(0.5)) / 3)
    assert found.values["missing_direction"] == found.values["zero_gradient"] == 0
    assert found.values["disagreement"] == 0
    assert found.flags == []


def test_a_wrong_prediction_has_two_closest_classes():
    """At (0, 2) the logits are 1, 0, 4: class 2 is violated most; distances to 1 and 2 are 1 and 1.5."""
    g = directions_for(1)
    g[0, 2], g[0, 1] = torch.tensor([0.0, 1.0]), torch.tensor([-1.0, 0.0])
    ask = request(Linear(WEIGHT, BIAS), [[0.0, 2.0]], [0], classes=3, inputs=towards(g))
    signed, by_size = measure(ask), measure(ask, ctilde="abs")
    assert (signed.values["alpha_dx"], by_size.values["alpha_dx"]) == (1, -1)
    assert signed.values["disagreement"] == by_size.values["disagreement"] == 1


def test_four_gradients_to_compare_x_with():
    """x = (3, 4), logits (5 + 1, 3, 8): predicted 2, label 0."""
    x = torch.tensor([[3.0, 4.0]])
    weight = torch.tensor([[1.0, 0.5], [1.0, 0.0], [0.0, 2.0]])
    found = measure(request(Linear(weight, BIAS), x, [0], classes=3)).values

    def cosine(*gradient):
        return abs(3 * gradient[0] + 4 * gradient[1]) / (5 * math.hypot(*gradient))

    # d_1 = 3 / 0.5, d_2 = -2 / sqrt(3.25); from class 2 to 0: 2 / sqrt(3.25), to 1: 5 / sqrt(5).
    assert found["alpha_x"] == pytest.approx(cosine(0.0, 2.0))
    assert found["alpha_x_label"] == pytest.approx(cosine(1.0, 0.5))
    assert found["alpha_x_pair"] == pytest.approx(cosine(-1.0, 1.5))
    assert found["alpha_x_predicted_pair"] == pytest.approx(cosine(1.0, -1.5))
    assert "alpha_dx" not in found
    assert "missing_direction" not in found


def test_the_origin_moves_x():
    x, model = torch.tensor([[3.0, 4.0], [1.0, -2.0]]), Linear([[0.0, 0.0], [1.0, 0.0]])
    found = measure(request(model, x + 0.5, [0, 1]), origin=0.5)
    np.testing.assert_allclose(found.arrays["alpha_x"], [0.6, 1 / math.sqrt(5)], rtol=1e-6)
    assert found.values != measure(request(model, x + 0.5, [0, 1])).values


def test_two_classes_have_one_gradient():
    """Own gradients of two output units say nothing about f = z_1 - z_0."""
    model = Linear([[5.0, 1.0], [2.0, 5.0]])  # f = (-3, 4)
    found = measure(request(model, [[-6.0, 8.0], [4.0, 3.0], [1.0, 0.0]], [0, 1, 1]))
    np.testing.assert_allclose(found.arrays["alpha_x"], [1, 0, 0.6], atol=1e-6)
    assert found.arrays["closest"].tolist() == [1, 0, 0]
    names = ("alpha_x", "alpha_x_label", "alpha_x_pair", "alpha_x_predicted_pair")
    assert [found.values[name] for name in names] == pytest.approx([1.6 / 3] * 4)


def test_directions_along_x_make_both_measures_equal():
    """Spheres: the direction is x or -x, and while every cosine is positive alpha_x says the same."""

    class Radius(nn.Module):
        def forward(self, x):
            f = (x - 0.05).norm(dim=1) - 1.15
            return torch.stack([-f / 2, f / 2], 1)

    u = nn.functional.normalize(torch.randn(20, 7, generator=torch.Generator().manual_seed(0)), dim=1)
    y = torch.arange(20) % 2
    x = u * torch.where(y == 0, 1.0, 1.3)[:, None]
    field = towards(torch.stack([-0.3 * u, 0.3 * u], 1))
    found = measure(request(Radius(), x, y, inputs=field)).values
    assert found["alpha_dx"] == pytest.approx(found["alpha_x"], abs=1e-6)
    assert 0.95 < found["alpha_dx"] < 0.9999


def test_missing_directions_are_left_out_and_counted():
    g = directions_for(4, 2)
    g[:3, 1] = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    g[3, 0] = torch.tensor([0.0, 1.0])  # for a class that is not the closest
    found = measure(request(step_right(), torch.zeros(4, 2), [0] * 4, inputs=towards(g)))
    np.testing.assert_allclose(found.arrays["alpha_dx"], [1, np.nan, math.sqrt(0.5), np.nan], rtol=1e-6)
    assert found.values["alpha_dx"] == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert found.values["missing_direction"] == 0.5
    assert found.flags == ["missing_directions"]
    nothing = measure(request(step_right(), torch.zeros(4, 2), [0] * 4, inputs=towards(0 * g)))
    assert math.isnan(nothing.values["alpha_dx"])
    assert nothing.flags == ["missing_directions", "not_finite"]


def test_zero_gradients_count_as_cosine_zero():
    class Half(Linear):
        def forward(self, x):
            return super().forward(x).where(x[:, 1:] > 0, torch.tensor([1.0, 0.0]))

    g = torch.zeros(2, 2, 2)
    g[:, 1] = torch.tensor([1.0, 0.0])
    x = [[1.0, 1.0], [1.0, -1.0]]
    found = measure(request(Half([[0.0, 0.0], [1.0, 0.0]]), x, [0, 0], inputs=towards(g)))
    np.testing.assert_allclose(found.arrays["alpha_dx"], [1, 0])
    np.testing.assert_allclose(found.arrays["alpha_x"], [math.sqrt(0.5), 0], rtol=1e-6)
    assert found.values["alpha_dx"] == 0.5
    assert found.values["zero_gradient"] == 0.5
    assert found.flags == ["zero_gradients"]


def test_small_gradients_have_a_direction():
    found = measure(request(Linear([[0.0, 0.0], [3e-30, 4e-30]]), [[1.0, 0.0]], [0]))
    assert found.values["alpha_x"] == pytest.approx(0.6)
    assert found.values["zero_gradient"] == 0


def test_infinite_gradients_are_flagged():
    found = measure(request(Linear([[0.0, 0.0], [float("inf"), 0.0]]), [[1.0, 0.0]], [0]))
    assert math.isnan(found.values["alpha_x"])
    assert found.flags == ["not_finite"]


def test_batches_of_any_size_and_rows_of_the_field():
    generator = torch.Generator().manual_seed(2)
    g, x = torch.randn(15, 3, 2, generator=generator), torch.randn(15, 2, generator=generator)
    ask = request(Linear(WEIGHT, BIAS), x, [0, 1, 2] * 5, classes=3, inputs=towards(g))
    whole, parts = measure(ask), measure(ask, gradient_batch=2)
    np.testing.assert_allclose(whole.arrays["alpha_dx"], parts.arrays["alpha_dx"], rtol=1e-6)
    assert whole.values == pytest.approx(parts.values)


def test_values_outside_the_range_are_refused():
    with pytest.raises(RangeError):
        measure(request(step_right(), [[2.0, 0.0]], [0], 0.0, 1.0))


def test_directions_have_to_be_independent_of_the_run():
    assert plugins.constant("evaluations", "direction_alignment", "INDEPENDENT") == ("targets",)
    assert set(plugins.roles("evaluations", "direction_alignment")) == {"targets"}
