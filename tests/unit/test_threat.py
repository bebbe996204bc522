"""Norm balls: projections, starts and steps against their definitions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pagrepro.threat import NORMS, budgets, per_example

EPS = torch.tensor([0.0, 0.1, 1.0, 5.0], dtype=torch.float64)


def deltas(scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(4, 2, 3, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0, 100), seed=st.integers(0, 1000))
def test_projection_is_inside_idempotent_and_nearest(norm, scale, seed):
    ball, delta = NORMS[norm], deltas(scale, seed)
    projected = ball.project(delta, EPS)
    assert (ball.size(projected) <= EPS * (1 + 1e-12)).all()
    torch.testing.assert_close(ball.project(projected, EPS), projected)
    inside = ball.size(delta) <= EPS
    assert torch.equal(projected[inside], delta[inside])
    # Nearest point of a convex set: no other point of the ball makes an acute angle (Euclidean projection).
    other = ball.project(deltas(scale, seed + 1), EPS)
    product = ((delta - projected) * (other - projected)).flatten(1).sum(1)
    assert (product <= 1e-9 * (1 + scale**2)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_random_start_fills_the_ball_uniformly(norm):
    eps = torch.full((4000,), 2.0)
    start = NORMS[norm].random_start((4000, 3), eps, torch.Generator().manual_seed(0))
    size = NORMS[norm].size(start)
    assert (size <= 2.0 + 1e-6).all()
    # Uniform in a ball of dimension 3: P(size <= r) = (r / eps)^3 in either norm.
    for radius in (1.0, 1.6):
        assert (size <= radius).double().mean() == pytest.approx((radius / 2) ** 3, abs=0.03)
    assert start.mean(0).abs().max() < 0.06


@pytest.mark.parametrize("norm", NORMS)
def test_start_has_each_examples_own_radius(norm):
    start = NORMS[norm].random_start((4, 2, 3), EPS, torch.Generator().manual_seed(0))
    again = NORMS[norm].random_start((4, 2, 3), 2 * EPS, torch.Generator().manual_seed(0))
    assert start.dtype == EPS.dtype
    assert (start[0] == 0).all()
    torch.testing.assert_close(again, 2 * start)


@pytest.mark.parametrize("norm", NORMS)
def test_steepest_step_maximises_the_linear_gain_over_the_unit_ball(norm):
    gradient = deltas()
    step = NORMS[norm].steepest_step(gradient)
    torch.testing.assert_close(NORMS[norm].size(step), torch.ones(4, dtype=torch.float64))
    dual = gradient.flatten(1).abs().sum(1) if norm == "linf" else gradient.flatten(1).norm(dim=1)
    torch.testing.assert_close((step * gradient).flatten(1).sum(1), dual)


@pytest.mark.parametrize("norm", NORMS)
def test_zero_and_vanishing_gradients(norm):
    gradient = torch.zeros(3, 4)
    gradient[1, 2] = 1e-25  # its square is zero in fp32
    gradient[2, 0] = -1e-39  # a subnormal: below the floor
    step = NORMS[norm].steepest_step(gradient)
    assert step.isfinite().all()
    assert (step[0] == 0).all()
    assert torch.equal(step[1], torch.tensor([0.0, 0.0, 1.0, 0.0]))
    assert NORMS[norm].size(step)[2] <= 1


def test_per_example_and_budgets():
    x = torch.zeros(2, 3, 4, dtype=torch.float64)
    assert per_example(torch.tensor([1.0, 2.0]), x).shape == (2, 1, 1)
    assert budgets(0.25, x).tolist() == [0.25, 0.25]
    assert budgets(torch.tensor([0.25, 1.0]), x).dtype == torch.float64
    with pytest.raises(ValueError, match=r"-0\.1"):
        budgets(torch.tensor([0.2, -0.1]), x)
