"""Passes per example: closed forms against what the plugins themselves count, for examples nobody fools."""

import pytest
import torch

from pagrepro import passes, plugins
from pagrepro.passes import Passes
from pagrepro.request import MeasureRequest

PGD = {"name": "pgd", "norm": "linf", "eps": 0.01, "steps": 3, "step_size": 0.01}
SQUARE = {"name": "square", "eps": 0.01, "queries": 7}


class Unfooled(torch.nn.Module):
    """Says class 0, whatever it sees; counts examples that go through it forward and backward."""

    def __init__(self):
        super().__init__()
        self.forward_passes = self.backward_passes = 0

    def forward(self, x):
        self.forward_passes += len(x)
        logits = torch.tensor([1.0, 0.0, 0.0]) + 0 * x.flatten(1).sum(1, keepdim=True)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient):
        self.backward_passes += len(gradient)


def counted(measure: dict) -> Passes:
    module = plugins.load("evaluations", measure["name"])
    config = module.Config(**{key: value for key, value in measure.items() if key != "name"})
    model, count = Unfooled(), 4
    x, y = torch.full((count, 1, 4, 4), 0.5), torch.zeros(count, dtype=torch.int64)
    request = MeasureRequest(
        model=model, x=x, y=y, index=torch.arange(count), classes=3, seed=0, low=0.0, high=1.0,
        device=x.device, batch_size=3,
    )  # fmt: skip
    module.measure(config, request)
    return Passes(model.forward_passes / count, model.backward_passes / count)


WORST = {**PGD, "keep": "worst", "drop_fooled": True}


@pytest.mark.parametrize(
    "measure",
    [
        {"name": "accuracy"},
        {"name": "pgd_accuracy", "attack": PGD},
        {"name": "pgd_accuracy", "attack": {**PGD, "restarts": 2}},
        {"name": "pgd_accuracy", "attack": {**WORST, "restarts": 2}},
        {"name": "pgd_accuracy", "attack": {**WORST, "start": "zero"}},
        {"name": "pgd_accuracy", "attack": {"name": "batch_pgd", "eps": 0.1, "steps": 4}},
        {"name": "eps50", "attack": WORST, "grid": [0.1, 0.2, 0.3], "mode": "crossing"},
        {"name": "eps50", "attack": {**WORST, "eps": 0}, "grid": [0.1, 0.2, 0.3], "mode": "grid"},
        {"name": "attack_steps", "attack": PGD, "at": [1, 5]},
        {"name": "gradient_statistics", "attack": PGD},
        {"name": "closest_class"},
        {"name": "direction_alignment"},
        {"name": "gradient_shape"},
        {"name": "smoothed_accuracy", "sigma": 0.1, "draws": 5},
        {"name": "linearity_error"},
        {"name": "edge_correlation"},
        {"name": "targeted_images", "attack": {**PGD, "targeted": True}},
    ],
    ids=lambda measure: measure["name"],
)
def test_closed_forms_are_what_measurements_do(measure):
    resolved = plugins.resolve("evaluations", measure)
    assert passes.of_measure(resolved, 3) == counted(resolved)


def test_square_has_a_pass_for_each_query():
    options = plugins.resolve("evaluations", {"name": "eps50", "attack": SQUARE, "grid": [0.1]})
    # The clean image; one budget of the grid and seven between two: 8 in the attack, and its result.
    assert passes.of_measure(options, 3) == (1 + 8 * 9) * passes.FORWARD


def test_autoattack_is_what_was_counted_in_its_library():
    """Of an image of ten classes that stands (docs/performance.md gives a benchmark): stages, then all."""
    options = plugins.resolve("evaluations", {"name": "autoattack", "eps": 0.03})
    stages = [passes._stage(name, options, 10) for name in passes.STANDARD]
    expected = [(111, 101), (928, 909), (1837, 900), (5012, 0)]
    assert [(stage.forward, stage.backward) for stage in stages] == expected
    assert passes.of_measure(options, 10) == Passes(1 + sum(f for f, _ in expected), 1910)


def test_every_plugin_is_known_or_named_as_unknown():
    """A new measurement does not have to be here, but then a plan says that it is not counted."""
    assert set(passes.ATTACKS) == set(plugins.names("attacks"))
    assert set(plugins.names("evaluations")) - set(passes.MEASURES) == {"manifold_noise", "step_cost"}
    assert set(plugins.names("fields")) == set(passes.FIELDS)
    assert passes.of_measure({"name": "new"}, 10) is None
    assert passes.of_measure({"name": "pgd_accuracy", "attack": {"name": "new"}}, 10) is None
    assert passes.of_field({"name": "new"}, 10, 9, 0) is None


def test_a_field_of_projections_grows_with_its_pairs():
    options = plugins.resolve("fields", {"name": "gan_projection", "weight": 0.1, "steps": 4})
    one = passes.of_field(options, 10, 1, 0)
    assert one == Passes(4 + 150 + 1, 4 + 150)
    assert passes.of_field(options, 10, 9, 0) == 9 * one
