"""The check of Lemma 1, Theorem 1 and the optimal model of Spheres: exact, and not when anything is wrong."""

import math

import pytest
import torch
from linear_models import CPU, step_right
from pydantic import ValidationError
from torch import nn

from pagrepro.evaluations import exact_models as evaluation
from pagrepro.request import MeasureRequest

TOLERANCE = 1e-9


def spheres(n, count=30, dtype=torch.float64, radii=(1.0, 1.3)):
    u = torch.randn(count, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = (torch.arange(count) % 3 == 0).long()  # classes of different size
    x = nn.functional.normalize(u, dim=1) * torch.tensor(radii, dtype=torch.float64)[y][:, None]
    return x.to(dtype), y


def measure(x, y, seed=0, **options):
    classes = max(2, int(y.max()) + 1)
    request = MeasureRequest(step_right(), x, y, torch.arange(len(x)), classes, seed, None, None, CPU, 8)
    return evaluation.measure(evaluation.Config(**options), request)


@pytest.mark.parametrize("n", [2, 7, 100])
@pytest.mark.parametrize("seed", [0, 1])
def test_everything_is_exact_on_spheres(n, seed):
    found = measure(*spheres(n), seed=seed).values
    assert {name for name, value in found.items() if value < TOLERANCE} == {
        "lemma1_error", "theorem1_error", "optimal_alpha_error", "optimal_rho_error", "threshold_rho_error",
    }  # fmt: skip
    assert found["optimal_alpha"] == pytest.approx(1, abs=TOLERANCE)
    assert found["optimal_rho"] == pytest.approx(0.15, abs=TOLERANCE)


def test_single_precision_data_are_good_enough():
    found = measure(*spheres(50, dtype=torch.float32)).values
    assert max(value for name, value in found.items() if name.endswith("_error")) < 1e-6


def test_other_radii_and_thresholds():
    found = measure(*spheres(5, radii=(0.5, 2.0)), radii=(0.5, 2.0), threshold=1.25, shifted=(0.6, 1.9))
    assert found.values["optimal_rho"] == pytest.approx(0.75, abs=TOLERANCE)
    assert found.values["threshold_rho_error"] < TOLERANCE
    # Not half-way: each class has its own distance, their mean is still half of the gap.
    shifted = measure(*spheres(5), threshold=1.1).values
    assert shifted["optimal_rho"] == pytest.approx(0.15, abs=TOLERANCE)
    assert shifted["optimal_rho_error"] < TOLERANCE
    with pytest.raises(ValidationError, match="between"):
        evaluation.Config(threshold=1.3)


@pytest.mark.parametrize("classes", [3, 10])
def test_images_and_more_classes_check_the_linear_models_only(classes):
    x = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = measure(x, torch.arange(4) % 2, classes=classes)
    assert found.values.keys() == {"lemma1_error", "theorem1_error"}
    assert max(found.values.values()) < TOLERANCE
    assert found.flags == ["not_spheres"]


@pytest.mark.parametrize(("factor", "shift"), [(1.001, 0.0), (1.0, 0.001)])
def test_wrong_distances_are_noticed(factor, shift, monkeypatch):
    right = evaluation.class_distances
    monkeypatch.setattr(evaluation, "class_distances", lambda *given: factor * right(*given) + shift)
    assert measure(*spheres(7)).values["lemma1_error"] > 1e-5


def test_a_wrong_gradient_is_noticed(monkeypatch):
    right = evaluation.ell_gradient
    monkeypatch.setattr(evaluation, "ell_gradient", lambda *given: right(*given).roll(1, -1))
    found = measure(*spheres(7)).values
    assert found["theorem1_error"] > 1e-3
    assert found["optimal_alpha_error"] > 1e-3
    assert found["optimal_rho_error"] > 1e-3


def test_pairs_of_theorem_1_meet_its_assumption_and_have_wrong_predictions_among_them():
    generator = torch.Generator().manual_seed(0)
    model = evaluation.Linear(4, 6, generator)
    x = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    here, nearest, _ = evaluation._two_classes(model, x)
    assert (here != nearest).all()
    assert len(here.unique()) == 4
    assert evaluation._theorem1(model, x, generator) < TOLERANCE
    assert math.isnan(evaluation._theorem1(model, x[:0], generator))


def test_the_distance_to_the_nearest_change_of_prediction():
    """Nothing inside the radius changes the prediction, and a little beyond it something does."""
    generator = torch.Generator().manual_seed(1)
    model = evaluation.Linear(5, 3, generator)
    x = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    radius, here = evaluation._radius(model, x), model(x).argmax(1)
    u = nn.functional.normalize(torch.randn(4000, 20, 3, generator=generator, dtype=torch.float64), dim=2)
    inside = (model(x + 0.999 * radius[:, None] * u).argmax(2) != here).any(0)
    beyond = (model(x + 1.05 * radius[:, None] * u).argmax(2) != here).any(0)
    assert not inside.any()
    assert beyond.all()
