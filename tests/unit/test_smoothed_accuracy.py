"""The smoothed classifier: where its answer is known, on noise that belongs to the images."""

from dataclasses import replace

import pytest
import torch
from linear_models import Linear, request
from networks import CLASSES, examples, smooth_convnet

from pagrepro.errors import RangeError
from pagrepro.evaluations import smoothed_accuracy
from pagrepro.image_noise import image_noise


def measure(request, **options):
    return smoothed_accuracy.measure(smoothed_accuracy.Config(**options), request)


def digits(batch_size=7):
    x, y, _ = examples(20)
    return request(smooth_convnet().float(), x, y, 0.0, 1.0, CLASSES, batch_size, seed=3)


def test_without_noise_it_is_the_network():
    found = measure(digits(), sigma=0, draws=2)
    assert found.values["accuracy"] == found.values["base_accuracy"]
    scores = digits().model(digits().x)
    assert found.arrays["correct"].tolist() == (scores.argmax(1) == digits().y).tolist()


def test_smoothing_mends_a_narrow_error():
    """Class 1 but for a sliver around 0, where the network is wrong and noise hardly ever stays."""

    class Sliver(torch.nn.Module):
        def forward(self, x):
            inside = (x[:, 0].abs() < 0.01).to(x)
            return torch.stack([20 * inside, 20 * (1 - inside)], 1)

    x = torch.tensor([[0.0, 0.0], [3.0, 0.0]])
    found = measure(request(Sliver(), x, [1, 1]), sigma=1, draws=50)
    assert found.values == {"accuracy": 1.0, "base_accuracy": 0.5}
    assert found.arrays["correct"].tolist() == [True, True]


def test_probabilities_are_averaged_not_votes():
    """Far on the right one draw in six is very sure of class 1, the others lean a little to class 0."""

    class Steps(torch.nn.Module):
        def forward(self, x):
            right = (x[:, 0] > 1).to(x)
            return torch.stack([torch.full_like(right, 0.1), 30 * right], 1)

    found = measure(request(Steps(), torch.zeros(1, 2), [1], seed=0), sigma=1, draws=400)
    # P(e > 1) = 0.16: mean probability 0.16 + 0.84 * 0.475 = 0.56 of class 1, though 84 % vote for class 0.
    assert found.values == {"accuracy": 1.0, "base_accuracy": 0.0}


def test_written_out():
    """Every image's noise by its row, seed and draw; the mean of the softmax decides."""
    asked = digits()
    found = measure(asked, sigma=0.8, draws=3)
    mean = 0
    for draw in range(3):
        noise = image_noise(3, f"smoothing/{draw}", asked.index, asked.x.shape[1:])
        mean = mean + asked.model(asked.x + 0.8 * noise).softmax(1) / 3
    assert found.arrays["correct"].tolist() == (mean.argmax(1) == asked.y).tolist()
    assert 0 < found.values["accuracy"] < 1
    assert found.values["accuracy"] != found.values["base_accuracy"]


def test_numbers_depend_on_rows_and_not_on_batches_or_order():
    whole = measure(digits(), sigma=0.8, draws=3).arrays["correct"]
    assert (measure(digits(batch_size=20), sigma=0.8, draws=3).arrays["correct"] == whole).all()
    asked, rows = digits(), torch.tensor([11, 2, 19])
    some = replace(asked, x=asked.x[rows], y=asked.y[rows], index=rows)
    assert (measure(some, sigma=0.8, draws=3).arrays["correct"] == whole[rows]).all()
    other = measure(replace(asked, seed=4), sigma=0.8, draws=3).arrays["correct"]
    assert (other != whole).any()


def test_outputs_that_are_not_finite_are_wrong():
    class Broken(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0], x[:, 0] / 0 * 0], 1)

    found = measure(request(Broken(), torch.ones(3, 2), [0, 0, 1]), sigma=0.1, draws=2)
    assert found.values == {"accuracy": 0.0, "base_accuracy": 0.0}


def test_range_of_the_images_is_checked_before_the_noise():
    model = Linear(torch.eye(2))
    found = measure(request(model, [[1.0, 0.0]], [0], 0.0, 1.0), sigma=5, draws=1)
    assert found.values["base_accuracy"] == 1
    with pytest.raises(RangeError):
        measure(request(model, [[255.0, 0.0]], [0], 0.0, 1.0), sigma=5, draws=1)
