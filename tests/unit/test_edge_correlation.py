"""Correlation of gradients with edges: networks whose gradient is known in advance."""

import numpy as np
import pytest
import torch
from linear_models import Linear, request
from torch import nn

from pagrepro.errors import DataError
from pagrepro.evaluations import edge_correlation as evaluation
from pagrepro.oriented_energy import oriented_energy

SHAPE = (3, 8, 8)


def measure(ask, **options):
    return evaluation.measure(evaluation.Config(**options), ask)


def images(n=6, seed=0):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


class EdgeSquare(nn.Module):
    """f_1 = sum_c,i E_i^s x_c,i: the gradient of the logit of class 1 is the map E^s, of class 0 zero."""

    def __init__(self, power):
        super().__init__()
        self.power = power

    def forward(self, x):
        weight = oriented_energy(x.detach()).pow(self.power)[:, None]
        f = (weight * x).flatten(1).sum(1)
        f = f - f.detach()  # equal logits, so that the loss has a gradient
        return torch.stack([torch.zeros_like(f), f], 1)


@pytest.mark.parametrize(("power", "expected"), [(1, 1), (2, 1), (-1, -1)])
def test_a_power_of_the_energy_is_perfectly_correlated(power, expected):
    x = images()
    found = measure(request(EdgeSquare(power), x, torch.ones(6, dtype=torch.int64), 0.0, 1.0))
    for name in ("saliency", "loss_gradient"):
        assert found.values[name] == pytest.approx(expected, abs=1e-5)
        assert found.values[f"{name}_std"] == pytest.approx(0, abs=1e-5)
        # The edges of other images are other edges.
        assert abs(found.values[f"{name}_other"]) < 0.9
        assert found.values[f"{name}_floored"] == 0
    assert (found.values["undefined"], found.flags) == (0, [])


def test_definition_on_a_linear_network():
    generator = torch.Generator().manual_seed(5)
    w = 0.1 * torch.randn(2, 192, generator=generator)
    x, y = images(), torch.tensor([0, 1, 1, 0, 1, 0])
    ask = request(Linear(w), x, y, 0.0, 1.0, batch_size=4)
    found = measure(ask, examples=2)
    rows = w.view(2, *SHAPE)
    # The direction of the loss gradient is the difference of the rows, whatever the label.
    maps = {
        "saliency": rows[y].abs().amax(1),
        "loss_gradient": (rows[1] - rows[0]).abs().sum(0).expand(6, 8, 8),
    }
    u = np.log(np.maximum(oriented_energy(x).double().numpy(), 1e-3))
    for name, expected in maps.items():
        v = expected.double().log().numpy()
        r = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(u, v)]
        np.testing.assert_allclose(found.arrays[name], r, atol=1e-5)
        assert found.values[name] == pytest.approx(np.mean(r), abs=1e-6)
        assert found.values[f"{name}_std"] == pytest.approx(np.std(r), abs=1e-6)
        others = found.arrays[f"{name}_other"]
        close = [
            [abs(np.corrcoef(a.ravel(), b.ravel())[0, 1] - other) < 1e-5 for a in u]
            for b, other in zip(v, others)
        ]
        gain = np.mean(np.array(r) - others)
        assert found.values[f"{name}_gain"] == pytest.approx(gain, abs=1e-6)
        # Every control is with the edges of exactly one other image.
        assert (np.array(close).sum(1) == 1).all()
        assert not np.diag(close).any()
    assert found.arrays["images"].shape == (2, *SHAPE)
    np.testing.assert_allclose(found.arrays["edges"], oriented_energy(x[:2]).numpy())
    np.testing.assert_allclose(found.arrays["saliency_maps"], maps["saliency"][:2].numpy(), rtol=1e-6)
    ratio = found.arrays["loss_gradient_maps"] / maps["loss_gradient"][:2].numpy()
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, :1], ratio.shape), rtol=1e-5)


def test_floors_are_counted():
    """Weights in the upper half only: half of the pixels have no gradient."""
    w = torch.zeros(2, *SHAPE)
    w[:, :, :4] = torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(1))
    x = images()
    x[0], x[:, :, 4:] = 0.5, 0.5
    ask = request(Linear(w.flatten(1)), x, torch.arange(6) % 2, 0.0, 1.0)
    found = measure(ask)
    assert found.arrays["saliency_floored"].tolist() == [32] * 6
    assert found.values["loss_gradient_floored"] == 6 * 32
    # A flat image has no edges, and so no correlation.
    assert found.values["energy_floored"] == pytest.approx(1 / 6)
    assert found.values["undefined"] == 2  # its own, and of the image it is the other one of
    assert np.isnan(found.arrays["saliency"][0])
    assert np.isfinite(found.values["saliency"])
    assert found.flags == ["2 images have no correlation", "floored_gradients"]
    # The others have edges where there are gradients: the lower the floor, the more only that counts.
    assert found.values["saliency"] > measure(ask, gradient_floor=0.5).values["saliency"] + 0.05
    assert found.values["saliency"] > 0.7


def test_pearson():
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 3, 50, generator=generator, dtype=torch.float64)
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(u.numpy(), v.numpy())]
    np.testing.assert_allclose(evaluation.pearson(u, v), r, rtol=1e-12)
    torch.testing.assert_close(evaluation.pearson(u, -2 * u + 1), -torch.ones(3, dtype=torch.float64))
    v[0], v[1, 0] = 0.1, torch.nan
    assert evaluation.pearson(u, v).isnan().tolist() == [True, True, False]


def test_single_images_and_other_data():
    w = torch.randn(2, 192, generator=torch.Generator().manual_seed(1))
    one = measure(request(Linear(w), images(1), [1], 0.0, 1.0))
    assert one.flags == ["no_other_image"]
    assert one.values["saliency"] == one.values["saliency_other"]
    with pytest.raises(DataError, match="images"):
        measure(request(Linear(torch.eye(2)), torch.rand(4, 2), [0, 1, 0, 1], 0.0, 1.0))
