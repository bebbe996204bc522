"""How rough and how localised gradients are: images whose numbers can be counted by hand."""

import math

import numpy as np
import pytest
import torch
from linear_models import Linear, request

from pagrepro.evaluations import gradient_shape as evaluation


def measure(ask, **options):
    return evaluation.measure(evaluation.Config(**options), ask)


def one(image):
    """(total variation, participation ratio) of one image."""
    g = torch.as_tensor(image, dtype=torch.float32)
    g = g.reshape(1, -1, *g.shape[-2:])
    return evaluation.total_variation(g).item(), evaluation.participation_ratio(g).item()


def test_known_images():
    spot = torch.zeros(5, 5)
    spot[2, 2] = -3.0
    assert one(spot) == (4, pytest.approx(1 / 25))
    spot[2, 2], spot[0, 0] = 0, 2.0  # in a corner it has two neighbours
    assert one(spot) == (2, pytest.approx(1 / 25))
    assert one(torch.full((4, 4), 0.7)) == (0, pytest.approx(1))
    board = (-1.0) ** (torch.arange(4)[:, None] + torch.arange(4))
    assert one(board) == (pytest.approx(2 * 24 / 16), pytest.approx(1))
    step = torch.zeros(4, 4)
    step[:, :2] = 1
    assert one(step) == (pytest.approx(4 / 8), pytest.approx(0.5))


def test_channels_are_not_neighbours():
    board = (-1.0) ** (torch.arange(4)[:, None] + torch.arange(4))
    assert one(torch.stack([board, -board])) == (pytest.approx(3), pytest.approx(1))
    assert one(torch.stack([torch.ones(4, 4), -torch.ones(4, 4)]))[0] == 0


@pytest.mark.parametrize("scale", [1e-30, -1.0, 1e20])
def test_scale_does_not_matter(scale):
    g = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0))
    assert one(scale * g) == pytest.approx(one(g), rel=1e-5)
    assert 1 / 108 < one(g)[1] < 1


def image_model():
    """f = <w, x> on 1x4x4 images: the gradient of ell is w for class 0 and -w for class 1."""
    w = torch.zeros(16)
    w[[0, 5, 6]] = torch.tensor([1.0, -2.0, 1.0])
    return Linear(torch.stack([torch.zeros(16), w])), w.view(1, 4, 4)


def test_values_and_arrays():
    model, w = image_model()
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    found = measure(request(model, x, [0, 1, 1, 0, 1], 0.0, 1.0, batch_size=2), images=3)
    # |differences|: 2 at the corner, then 1-(-2) between the two, and 6 others of -2 or 1.
    variation = (1 + 1 + 3 + 3 * 2 + 3 * 1) / 4
    np.testing.assert_allclose(found.arrays["total_variation"], [variation] * 5)
    np.testing.assert_allclose(found.arrays["participation_ratio"], [36 / (16 * 18)] * 5)
    assert found.values["total_variation"] == pytest.approx(variation)
    assert found.values["participation_ratio"] == pytest.approx(36 / (16 * 18))
    assert found.values["zero_gradient"] == 0
    np.testing.assert_array_equal(found.arrays["images"], x[:3].numpy())
    np.testing.assert_array_equal(found.arrays["gradients"], torch.stack([w, -w, -w]).numpy())
    assert found.arrays["gradients"].dtype == np.float32
    assert found.arrays["labels"].tolist() == [0, 1, 1]
    assert found.arrays["closest"].tolist() == [1, 0, 0]
    assert found.flags == []


@pytest.mark.parametrize(("images", "kept"), [(0, 0), (2, 2), (99, 5)])
def test_as_many_images_as_asked_for(images, kept):
    model, _ = image_model()
    found = measure(request(model, torch.rand(5, 1, 4, 4), [0] * 5, batch_size=2), images=images)
    assert found.arrays["images"].shape == found.arrays["gradients"].shape == (kept, 1, 4, 4)
    assert found.arrays["labels"].shape == found.arrays["closest"].shape == (kept,)
    assert found.arrays["total_variation"].shape == (5,)


def test_vectors_have_no_total_variation():
    found = measure(request(Linear([[0.0, 0.0], [3.0, 4.0]]), [[1.0, 2.0]], [0]))
    assert math.isnan(found.values["total_variation"])
    assert found.values["participation_ratio"] == pytest.approx(25**2 / (2 * (81 + 256)))
    assert found.flags == ["not_images"]


def test_examples_without_a_gradient_are_counted_and_left_out():
    class Half(Linear):
        def forward(self, x):
            return super().forward(x).where(x[:, 0, :1, 0] > 0, torch.tensor([1.0, 0.0]))

    _, w = image_model()
    x = torch.ones(4, 1, 4, 4)
    x[1] = -1
    model = Half(torch.stack([torch.zeros(16), w.flatten()]))
    found = measure(request(model, x, [0] * 4))
    assert found.values["zero_gradient"] == 0.25
    assert np.isnan(found.arrays["participation_ratio"]).tolist() == [False, True, False, False]
    assert found.values["participation_ratio"] == pytest.approx(36 / (16 * 18))
    assert found.flags == ["zero_gradients"]
