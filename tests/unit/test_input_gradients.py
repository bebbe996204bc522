"""Which scalar of a classifier is differentiated: finite differences, identities, closed forms (float64)."""

from typing import get_args

import pytest
import torch
from linear_models import Linear
from networks import CLASSES, examples, smooth_convnet
from torch import nn

from pagrepro import plugins
from pagrepro.errors import DataError
from pagrepro.gradients import class_gradients
from pagrepro.input_gradients import Gradient, classifier_gradient, gradient_scalar

ALL = get_args(Gradient)


def network():
    return smooth_convnet().eval().requires_grad_(False)


@pytest.mark.parametrize("of", ALL)
def test_gradient_is_the_slope_of_the_scalar(of):
    model, (x, y, _) = network(), examples()
    direction = torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(2))
    found = classifier_gradient(model, x, y, of)
    assert found.shape == x.shape
    assert not found.requires_grad
    h = 1e-6
    with torch.no_grad():
        high, low = (gradient_scalar(model(x + s * h * direction), y, of) for s in (1, -1))
    slopes = (found * direction).flatten(1).sum(1)
    torch.testing.assert_close(slopes, (high - low) / (2 * h), rtol=1e-6, atol=1e-9)


def test_scalars_of_one_row_of_logits():
    logits, y = torch.tensor([[1.0, 3.0, -2.0]]).double(), torch.tensor([0])
    total = sum(torch.tensor(v).double().exp() for v in (1.0, 3.0, -2.0))
    expected = {
        "logit_sum": 2.0, "label_logit": 1.0, "predicted_logit": 3.0, "logsumexp": total.log().item(),
        "label_log_probability": (1 - total.log()).item(), "loss": (total.log() - 1).item(),
    }  # fmt: skip
    assert set(expected) == set(ALL)
    assert {of: gradient_scalar(logits, y, of).item() for of in ALL} == pytest.approx(expected)


def test_identities_between_the_gradients():
    model, (x, y, _) = network(), examples()
    g = {of: classifier_gradient(model, x, y, of) for of in ALL}
    logits = model(x)
    v, p = class_gradients(model, x), logits.softmax(1)
    expected = (p[:, :, None, None, None] * v).sum(1)  # of the logits, under the model's probabilities
    rows = torch.arange(len(x))
    torch.testing.assert_close(g["logit_sum"], v.sum(1))
    torch.testing.assert_close(g["label_logit"], v[rows, y])
    torch.testing.assert_close(g["predicted_logit"], v[rows, logits.argmax(1)])
    torch.testing.assert_close(g["logsumexp"], expected)
    torch.testing.assert_close(g["label_log_probability"], v[rows, y] - expected)
    torch.testing.assert_close(g["loss"], -g["label_log_probability"])


def test_a_shift_of_all_logits_shows_in_the_sum_alone():
    """The direction that cross-entropy leaves free."""
    model, (x, y, _) = network(), examples()
    shift = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 1)).double()

    def shifted(x):
        return model(x) + shift(x)

    w = shift[1].weight.view(1, *x.shape[1:])
    sums = [classifier_gradient(m, x, y, "logit_sum") for m in (model, shifted)]
    torch.testing.assert_close(sums[1] - sums[0], (CLASSES * w).expand_as(x))
    for of in ("label_log_probability", "loss"):
        before, after = (classifier_gradient(m, x, y, of) for m in (model, shifted))
        torch.testing.assert_close(after, before)


def test_inside_no_grad_and_without_touching_x():
    model, (x, y, _) = network(), examples()
    with torch.no_grad():
        found = classifier_gradient(model, x, y, "logit_sum")
    assert torch.equal(found, classifier_gradient(model, x, y, "logit_sum"))
    assert not x.requires_grad


def test_the_sum_of_a_symmetric_pair_is_refused():
    x, y = torch.rand(3, 4), torch.zeros(3, dtype=torch.int64)
    pair = Linear([[-1.0, 0, 2, 1], [1.0, 0, -2, -1]])
    with pytest.raises(DataError, match="always sum to zero"):
        classifier_gradient(pair, x, y, "logit_sum")
    found = classifier_gradient(pair, x, y, "label_logit")
    assert torch.equal(found, torch.tensor([-1.0, 0, 2, 1]).expand(3, 4))
    other = Linear([[-1.0, 0, 2, 1], [1.0, 1, -2, -1]])
    assert torch.equal(
        classifier_gradient(other, x, y, "logit_sum"), torch.tensor([0.0, 1, 0, 0]).expand(3, 4)
    )


def test_unknown_scalars_are_refused():
    with pytest.raises(ValueError, match="allowed: logit_sum, label_logit"):
        gradient_scalar(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), "logit")


@pytest.mark.parametrize("name", ["score_similarity", "gradient_maps"])
def test_options_of_evaluations_are_these(name):
    """Options are read without torch, so that the names stand in both places."""
    assert get_args(plugins.config_class("evaluations", name).model_fields["gradient"].annotation) == ALL
