"""Measurements of classifiers of the plane, on boundaries whose distance is known."""

import math

import numpy as np
import pytest
import torch
from linear_models import Linear, request, step_right
from torch import nn

from pagrepro.errors import DataError
from pagrepro.evaluations import decision_map, grid_attack, line_margin


def test_decision_map_puts_classes_where_they_are():
    config = decision_map.Config(x_bounds=(-4, 4), y_bounds=(0, 2), resolution=8)
    found = decision_map.measure(config, request(step_right(1.0), [[3.0, 1.0], [0.0, 1.0]], [1, 1]))
    grid = found.arrays["grid"]
    assert grid.dtype == np.int8
    assert grid.tolist() == [[0] * 5 + [1] * 3] * 8  # cell centres -3.5 ... 3.5, class 1 right of 1
    up = decision_map.measure(
        config, request(Linear([[0.0, 0.0], [0.0, 1.0]], [0.0, -0.5]), [[0.0, 0.0]], [0])
    )
    assert up.arrays["grid"][:, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]  # row 0 is the lower bound
    assert found.arrays["predictions"].tolist() == [1, 0]
    assert found.values["accuracy"] == 0.5
    assert found.arrays["x_bounds"].tolist() == [-4, 4]


def test_margin_to_a_straight_boundary():
    """Boundary x1 = 0: the distance is |x1|; the gradient (1, 0) has cosine 1/sqrt(5) with (1, 2)."""
    x = torch.tensor([[5.0, 3.0], [-2.0, 40.0], [0.25, 0.0], [100.0, 0.0]])
    config = line_margin.Config(slope=2, directions=72, max_radius=30, scan=40)
    found = line_margin.measure(config, request(step_right(), x, [1, 0, 1, 1], batch_size=3))
    bound = 1 / math.cos(math.pi / 72)
    for measured, true in zip(found.arrays["margin"], [5, 2, 0.25]):
        assert true * (1 - 1e-4) <= measured <= true * bound * (1 + 1e-4)
    assert found.arrays["margin"][3] == 30
    assert found.values["capped"] == 0.25
    assert found.values["margin"] == pytest.approx(found.arrays["margin"].mean())
    assert found.values["abs_cosine"] == pytest.approx(1 / math.sqrt(5), rel=1e-5)
    assert found.values["accuracy"] == 1


def test_margin_along_the_line_is_exact_and_the_cosine_is_one():
    """Boundary perpendicular to the line (1, 2): the first ray runs straight into it."""
    model = Linear([[-1.0, -2.0], [1.0, 2.0]])
    x = torch.tensor([[3.0, 6.0], [-1.0, -2.0]])
    found = line_margin.measure(line_margin.Config(directions=2), request(model, x, [1, 0]))
    assert found.arrays["margin"].tolist() == pytest.approx([3 * math.sqrt(5), math.sqrt(5)], rel=1e-5)
    assert found.values["abs_cosine"] == pytest.approx(1, rel=1e-6)


def test_margin_finds_the_nearest_of_several_changes():
    class Stripe(nn.Module):
        """Class 1 only for 2 < x1 < 3."""

        def forward(self, x):
            inside = ((x[:, 0] > 2) & (x[:, 0] < 3)).to(x)
            return torch.stack([1 - inside, inside], 1) + 0 * x

    config = line_margin.Config(slope=0, directions=1, max_radius=8, scan=16)
    found = line_margin._distance(
        Stripe(), torch.tensor([[0.0, 0.0]]), torch.tensor([0]), torch.tensor([[1.0, 0.0]]), config
    )
    assert found.item() == pytest.approx(2, abs=1e-5)


def test_constant_models_have_no_gradient_and_a_capped_margin():
    found = line_margin.measure(
        line_margin.Config(max_radius=5), request(Linear(torch.zeros(2, 2), [1.0, 0.0]), [[0.0, 0]], [0])
    )
    assert found.values["margin"] == 5
    assert found.values["zero_gradient"] == 1
    assert math.isnan(found.values["abs_cosine"])


def test_grid_attack_finds_exactly_the_points_within_its_radii():
    x1 = torch.tensor([-5.0, -2.9, 0.5, 2.9, 3.1, 20.0])
    x, y = torch.stack([x1, torch.zeros(6)], 1), torch.tensor([0, 0, 0, 1, 1, 1])
    config = grid_attack.Config(directions=4, radii=[1, 3])
    found = grid_attack.measure(config, request(step_right(), x, y, batch_size=4))
    assert found.arrays["correct"].tolist() == [True, False, False, False, True, True]
    assert found.arrays["clean_correct"].tolist() == [True, True, False, True, True, True]
    assert found.values["accuracy"] == 0.5
    assert found.values["clean_accuracy"] == pytest.approx(5 / 6)


@pytest.mark.parametrize("module", [decision_map, line_margin, grid_attack])
def test_measurements_of_the_plane_refuse_images(module):
    with pytest.raises(DataError, match="plane"):
        module.measure(module.Config(), request(Linear(torch.zeros(2, 4)), torch.zeros(1, 1, 2, 2), [0]))
