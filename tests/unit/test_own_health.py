"""Every fault of a model that the measurements rely on not being there is found, and sound models pass."""

import pytest
import torch
from made_up_models import DATA, Changed, blobs, linear
from torch import nn

from pagrepro.own_health import (
    Flag,
    check_accuracy,
    check_deterministic,
    check_gradients,
    check_outputs,
    check_repeats,
    refuse,
)
from pagrepro.own_model import ModelError

X, Y, CENTRES = blobs(48)
NOISE = torch.rand(X.shape, generator=torch.Generator().manual_seed(1))


def found(flags):
    return {flag.name: flag.level for flag in flags}


def outputs(model):
    return found(check_outputs(model.eval(), X, NOISE, DATA))


def test_a_sound_model_has_no_flag():
    model = linear(16, 3).eval()
    flags = check_outputs(model, X, NOISE, DATA) + check_repeats(model, X) + check_gradients(model, X, Y)
    assert flags == []


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (lambda z: z.softmax(1), {"probabilities": "refused"}),
        (lambda z: z.log_softmax(1), {"log_probabilities": "warning"}),
        (lambda z: z.sigmoid(), {"bounded_output": "warning"}),
        (lambda z: z * 0 + 2, {"constant_output": "warning"}),
        (lambda z: z * torch.nan, {"nonfinite_logits": "refused"}),
        (lambda z: (4 * z).where(z > 0, torch.nan), {"nonfinite_logits": "warning"}),
        # Logits that happen to be small and positive, or to sum to one, are logits.
        (lambda z: 5 + z, {}),
        (lambda z: z - z.mean(1, keepdim=True) + 1 / 3, {}),
    ],
)
def test_what_comes_out_is_recognised(after, expected):
    assert outputs(Changed(linear(16, 3), after=after)) == expected


def test_probabilities_are_refused_with_what_to_do():
    flags = check_outputs(Changed(linear(16, 3), after=lambda z: z.softmax(1)), X, NOISE, DATA)
    with pytest.raises(ModelError, match="return what comes before the softmax"):
        refuse(flags)
    refuse([Flag("other", "warning", "no reason to refuse")])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Conv2d(3, 3, 3),
            r"fails on a batch \(48, 1, 4, 4\): [^\n]*3 channels[^\n]*\n  made up has .*\(1, 4, 4\) and 3",
        ),
        (linear(16, 5), r"returns a tensor \(48, 5\); expected logits \(48, 3\)"),
        (Changed(linear(16, 3), after=lambda z: {"logits": z}), "returns a dict"),
        (Changed(linear(16, 3), after=lambda z: (z * 100).long()), "returns torch.int64"),
    ],
)
def test_a_model_of_another_form_is_refused(model, message):
    with pytest.raises(ModelError, match=message):
        check_outputs(model, X, NOISE, DATA)


class AlwaysDropout(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, training=True)


class Stubborn(nn.BatchNorm1d):
    """Batch normalisation that stays in training mode."""

    def train(self, mode=True):
        return super().train(True)


def test_dropout_that_is_left_on_is_a_randomised_model():
    model = nn.Sequential(nn.Flatten(), AlwaysDropout(), nn.Linear(16, 3)).eval()
    assert found(check_repeats(model, X)) == {"randomised_model": "warning"}


def test_batch_normalisation_that_is_left_on_is_refused():
    model = nn.Sequential(linear(16, 3), Stubborn(3)).eval()
    (flag,) = check_repeats(model, X)
    assert (flag.name, flag.level) == ("batch_dependent", "refused")
    assert "still in training mode after eval(): 1" in flag.message
    assert check_repeats(nn.Sequential(linear(16, 3), nn.BatchNorm1d(3)).eval(), X) == []


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (lambda x: x.detach(), {"no_gradient": "refused"}),
        (lambda x: (x * 8).round() / 8, {"zero_gradients": "warning"}),
        (lambda x: x + 0 * (x - x).sqrt(), {"nonfinite_gradients": "warning"}),
    ],
)
def test_gradients_that_do_not_reach_the_input_are_found(before, expected):
    assert found(check_gradients(Changed(linear(16, 3), before=before), X, Y)) == expected


class Unordered(nn.Module):
    """An operation without a deterministic form, where such are asked for."""

    def forward(self, x):
        if torch.are_deterministic_algorithms_enabled():
            raise RuntimeError("scatter does not have a deterministic implementation")
        return x.flatten(1)[:, :3]


def test_an_operation_without_a_deterministic_form_is_told():
    assert found(check_deterministic(Unordered(), X, Y)) == {"nondeterministic": "warning"}
    assert check_deterministic(linear(16, 3), X, Y) == []
    assert check_deterministic(nn.Conv2d(3, 3, 3), X, Y) == [], "what else is wrong, other checks tell"


def test_saturated_losses_are_counted():
    model = Changed(linear(16, 3), after=lambda z: 1e4 * z)
    (flag,) = check_gradients(model, X, Y)
    assert flag.name == "zero_gradients"
    assert "of 48 gradients" in flag.message


def test_a_model_at_chance_says_nothing_under_attack():
    constant = Changed(linear(16, 3), after=lambda z: z * 0 + torch.tensor([1.0, 0.0, 0.0]))
    assert found(check_accuracy(constant, X, Y)) == {"accuracy_at_chance": "warning"}


def test_gradients_of_weights_are_not_left_behind():
    model = linear(16, 3)
    check_gradients(model, X, Y)
    assert all(p.grad is None for p in model.parameters())
