"""Distances of Lemma 1 and the closest class, on models whose boundaries are known."""

import math

import numpy as np
import pytest
import torch
from linear_models import Linear, request, step_right
from networks import CLASSES, examples, smooth_convnet

from pagrepro.closest_class import (
    class_distances,
    closest_class,
    closest_classes,
    ell,
    ell_gradient,
    exact_cosine,
    linearised,
)
from pagrepro.errors import DataError, RangeError
from pagrepro.evaluations import closest_class as evaluation

# Logits at the origin are the biases; class 3 of `wrong` is violated most, class 1 has the nearest boundary.
WEIGHT = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [0.25, 0.0]], dtype=torch.float64)


def distances_at(bias, y, **options):
    model = Linear(WEIGHT, bias).double()
    logits, gradients = linearised(model, torch.zeros(1, 2, dtype=torch.float64))
    return class_distances(logits, gradients, torch.tensor([y]), **options)


class Counted(torch.autograd.Function):
    """Identity that counts backward passes."""

    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Counted.calls += 1
        return gradient


def test_distances_of_a_linear_model():
    found = distances_at([3.0, 1.0, 0.0, 2.875], 0)
    torch.testing.assert_close(found, torch.tensor([[math.inf, 1.0, 0.75, 0.5]], dtype=torch.float64))
    in_halves = distances_at([3.0, 1.0, 0.0, 2.875], 0, unit=0.5)
    torch.testing.assert_close(in_halves, 2 * found)


def test_moving_by_the_distance_reaches_the_boundary():
    model, y = Linear(WEIGHT, [0.4, 0.1, -0.3, 0.2]).double(), torch.arange(4).repeat(5)
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).double()
    logits, gradients = linearised(model, x)
    d = class_distances(logits, gradients, y)
    for choice in ("signed", "abs"):
        c = closest_class(d, y, choice)
        slope = ell_gradient(gradients, y, c)
        step = d.gather(1, c[:, None]) * slope / slope.norm(dim=1, keepdim=True)
        torch.testing.assert_close(
            ell(model(x + step), y, c), torch.zeros(20, dtype=torch.float64), atol=1e-12, rtol=0
        )
    assert (d < 0).any()  # wrong predictions among them


def test_wrongly_classified_examples_have_two_closest_classes():
    d, y = distances_at([0.0, 2.0, -0.4, 1.0], 0), torch.tensor([0])
    torch.testing.assert_close(d, torch.tensor([[math.inf, -1.0, 0.1, -4.0]], dtype=torch.float64))
    assert closest_class(d, y).tolist() == [3]
    assert closest_class(d, y, "abs").tolist() == [2]
    assert closest_classes(d, y, most=3).tolist() == [[3, 1, 2]]
    assert closest_classes(d, y, "abs", 3).tolist() == [[2, 1, 3]]


def test_correct_predictions_have_one():
    model = smooth_convnet().eval()
    x, *_ = examples(40)
    logits, gradients = linearised(model, x)
    y = logits.argmax(1)
    d = class_distances(logits, gradients, y)
    assert torch.equal(closest_class(d, y), closest_class(d, y, "abs"))
    assert len(closest_class(d, y).unique()) > 1


def test_parallel_classes_are_infinitely_far_and_never_hide_the_others():
    gradients = torch.zeros(1, 3, 2)
    y = torch.tensor([1])
    d = class_distances(torch.tensor([[1.0, 2.0, 2.0]]), gradients, y)
    assert d.tolist() == [[math.inf, math.inf, 0.0]]
    for logits in ([[1.0, 2.0, 0.0]], [[math.nan, 2.0, math.nan]]):
        d = class_distances(torch.tensor(logits), gradients, y)
        assert closest_classes(d, y, most=2).tolist() == [[0, 2]]
    behind = class_distances(torch.tensor([[1.0, 2.0, 3.0]]), gradients, y)
    assert behind.tolist() == [[math.inf, math.inf, -math.inf]]
    assert closest_class(behind, y).tolist() == [2]


def test_small_gradients_do_not_underflow():
    gradients = torch.tensor([[[3e-30, 0.0], [0.0, 4e-30]]])
    d = class_distances(torch.tensor([[5e-30, 0.0]]), gradients, torch.tensor([0]))
    torch.testing.assert_close(d, torch.tensor([[math.inf, 1.0]]))


def test_unknown_choices_and_too_many_classes_are_errors():
    d, y = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="signed, abs"):
        closest_class(d, y, "nearest")
    for most in (0, 3):
        with pytest.raises(ValueError, match="allowed: 1 to 2"):
            closest_classes(d, y, most=most)


@pytest.mark.parametrize(("classes", "passes"), [(2, 1), (4, 4)])
def test_gradients_and_how_many_backward_passes_they_take(classes, passes):
    model = smooth_convnet().eval().requires_grad_(False)
    x, *_ = examples(3)
    Counted.calls = 0
    logits, gradients = linearised(lambda x: model(Counted.apply(x))[:, :classes], x)
    assert Counted.calls == passes
    assert not logits.requires_grad
    assert not gradients.requires_grad
    assert gradients.shape == (3, classes, *x.shape[1:])
    x = x.requires_grad_()
    expected = [torch.autograd.grad(model(x)[:, t].sum(), x)[0] for t in range(classes)]
    difference = ell_gradient(gradients, torch.zeros(3).long(), torch.ones(3).long())
    torch.testing.assert_close(difference, expected[1] - expected[0])
    if classes == 2:
        torch.testing.assert_close(gradients[:, 0], -gradients[:, 1])
    else:
        torch.testing.assert_close(gradients, torch.stack(expected, 1))


def test_exact_cosine():
    v = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e-30, 4e-30], [1.0, 0.0]])
    u = torch.tensor([[3.0, 4.0], [1.0, 2.0], [-3e30, -4e30], [0.0, 0.0]])
    torch.testing.assert_close(exact_cosine(v, u), torch.tensor([1.0, 0.0, -1.0, 0.0]))


# --- evaluation --------------------------------------------------------------------------------------


def measure(ask, **options):
    return evaluation.measure(evaluation.Config(**options), ask)


def test_values_and_arrays_of_a_linear_model():
    bias = [0.0, 2.0, -0.4, 1.0]
    found = measure(request(Linear(WEIGHT, bias), torch.zeros(2, 2), [0, 1], classes=CLASSES), most=2)
    # From class 1: (2 - z_c) / ||w_1 - w_c||.
    from_one = [1.0, 2.4 / math.sqrt(20), 1 / 1.75]
    np.testing.assert_allclose(found.arrays["distance"], [-4, min(from_one)], rtol=1e-6)
    np.testing.assert_allclose(found.arrays["distance_abs"], [0.1, min(from_one)], rtol=1e-6)
    assert found.arrays["closest"].tolist() == [[3, 1], [2, 3]]
    assert found.values["distance"] == pytest.approx((-4 + min(from_one)) / 2)
    assert found.values["distance_abs"] == pytest.approx((0.1 + min(from_one)) / 2)
    assert found.values["disagreement"] == 0.5
    assert found.values["infinite"] == 0
    assert found.flags == []
    by_size = measure(
        request(Linear(WEIGHT, bias), torch.zeros(2, 2), [0, 1], classes=CLASSES), ctilde="abs", unit=0.5
    )
    assert by_size.arrays["closest"].tolist() == [[2], [2]]
    assert by_size.values["distance"] == pytest.approx(2 * found.values["distance"])


def test_two_classes_and_batches_of_any_size():
    x = torch.randn(15, 2, generator=torch.Generator().manual_seed(1))
    y = (torch.arange(15) % 2).tolist()
    whole = measure(request(step_right(0.3), x, y))
    sign = torch.tensor(y) * 2 - 1
    np.testing.assert_allclose(whole.arrays["distance"], sign * (x[:, 0] - 0.3), atol=1e-6)
    assert whole.arrays["closest"][:, 0].tolist() == [1 - label for label in y]
    parts = measure(request(step_right(0.3), x, y), gradient_batch=2)
    np.testing.assert_array_equal(whole.arrays["distance"], parts.arrays["distance"])


def test_examples_without_a_boundary_are_counted_and_left_out():
    class Half(Linear):
        def forward(self, x):
            return super().forward(x).where(x[:, :1] > 0, torch.tensor([1.0, 0.0]))

    found = measure(request(Half([[0.0, 0.0], [1.0, 0.0]]), [[-1.0, 0], [2.0, 0], [1.0, 0]], [0, 1, 1]))
    assert found.values["infinite"] == pytest.approx(1 / 3)
    assert found.values["distance"] == pytest.approx(1.5)
    assert found.flags == ["infinite_distances"]


def test_wrong_requests_are_refused():
    with pytest.raises(DataError, match="most: 2"):
        measure(request(step_right(), torch.zeros(1, 2), [0]), most=2)
    with pytest.raises(RangeError):
        measure(request(step_right(), torch.full((1, 2), 2.0), [0], 0.0, 1.0))
