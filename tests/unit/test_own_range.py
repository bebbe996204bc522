"""A model for other inputs than [0, 1] is found where accuracy can tell, and only there."""

import re

import pytest
import torch
from made_up_models import DATA, Changed, Templates, blobs, linear

from pagrepro.own_range import MARGIN, check_range, learned, sign_test

X, Y, CENTRES = blobs(300, classes=10)
MADE_UP = DATA | {"classes": 10}
MEAN, STD = X.mean((0, 2, 3), keepdim=True), X.std((0, 2, 3), keepdim=True)
CONVERSIONS = {
    "[-1, 1]": lambda x: 2 * x - 1,
    "[0, 255]": lambda x: 255 * x,
    "standardised": lambda x: (x - MEAN) / STD,
}


def judged(model, said=None, data=MADE_UP):
    (flag,) = check_range(model, X, Y, X, data, said)
    return flag


def test_a_model_for_unit_images_passes():
    flag = judged(Templates(CENTRES))
    assert flag.level == "ok"
    assert "100.0% in [0, 1]" in flag.message


@pytest.mark.parametrize("label", CONVERSIONS)
def test_a_model_for_other_inputs_is_refused_with_the_convention(label):
    """Templates in the other range: what is given in [0, 1] is far from all of them."""
    centres = CONVERSIONS[label](CENTRES)
    flag = judged(Templates(centres))
    assert flag.level == "refused"
    assert label in re.search(r"inputs in another form \((.*?)\):", flag.message)[1]
    assert "--input-range 0 1" in flag.message
    assert judged(Changed(Templates(centres), before=CONVERSIONS[label])).level == "ok"


def test_who_says_zero_to_one_is_warned_and_not_refused():
    flag = judged(Templates(2 * CENTRES - 1), said=(0.0, 1.0))
    assert flag.level == "warning"
    assert "in another form ([-1, 1]" in flag.message


@pytest.mark.parametrize(
    ("said", "form"), [((-1.0, 1.0), "2 * x - 1"), ((0.0, 255.0), "255 * x"), ((-0.5, 0.5), "1 * x - 0.5")]
)
def test_another_range_that_is_said_is_refused_with_the_layer_to_add(said, form):
    flag = judged(Templates(CENTRES), said=said)
    assert flag.level == "refused"
    assert f"whose forward returns {form}" in flag.message


def test_random_networks_are_not_judged():
    """Without anything learned, accuracy says nothing about the range: no network is refused."""
    levels = set()
    for seed in range(1, 41):  # seed 0 draws the very numbers of the class images
        levels.add(judged(linear(16, 10, seed=seed)).level)
    assert levels <= {"not checked", "ok"}
    assert "not checked" in levels


def test_data_without_a_range_are_not_checked():
    flag = judged(Templates(CENTRES), data=MADE_UP | {"low": None, "high": None})
    assert flag.level == "not checked"


def test_small_differences_and_few_examples_are_no_reason():
    assert sign_test(5, 0) == 1 / 32
    assert sign_test(3, 3) == pytest.approx(42 / 64)
    assert sign_test(200, 100) < 1e-8
    # One example of twelve more, however often: below the margin.
    better = torch.arange(300) % 12 == 0
    worse = Changed(Templates(CENTRES), after=lambda z: z)

    class Slightly(torch.nn.Module):
        def forward(self, x):
            z = worse(x.clamp(0, 1))
            wrong = better[: len(x)] if float(x.min()) >= 0 and len(x) == 300 else torch.zeros(len(x)).bool()
            return torch.where(wrong[:, None], -z, z)

    assert MARGIN > 1 / 12
    assert judged(Slightly()).level == "ok"


@pytest.mark.parametrize(("classes", "bound"), [(2, 0.75), (10, 0.5), (100, 0.11), (1000, 0.101)])
def test_how_much_has_to_be_learned(classes, bound):
    assert learned(1 / classes) == pytest.approx(bound)


def test_with_few_classes_it_is_a_warning():
    x, y, centres = blobs(300, classes=3)
    (flag,) = check_range(Templates(2 * centres - 1), x, y, x, DATA, None)
    assert flag.level == "warning"
    assert "it may be that the model was made for inputs in another form ([-1, 1]" in flag.message
