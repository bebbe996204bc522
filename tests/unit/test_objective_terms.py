"""Terms of an objective at the end of its training, in closed form, and the batch they are taken on."""

import numpy as np
import pytest
import torch
from linear_models import CPU, Linear, request
from PIL import Image

from pagrepro import plugins, replay
from pagrepro.batch import Batch
from pagrepro.evaluations import objective_terms
from pagrepro.image_files import ImageFiles
from pagrepro.layout import Layout
from pagrepro.oriented_energy import oriented_energy
from pagrepro.replay import ReplayRequest
from pagrepro.training_data import TrainingData


def images(n, *shape):
    return torch.rand((n, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def terms(model, x, y, options, progress=0.0):
    batch = Batch(x, torch.as_tensor(y), torch.arange(len(x)), progress=progress)
    spec = {"seed": 0, "task": {"objective": plugins.resolve("objectives", options)}}
    ask = request(model, x, y, low=0.0, high=1.0, build=ReplayRequest, batch=batch, run_spec=spec)
    found = objective_terms.measure(objective_terms.Config(), ask)
    assert batch.progress == progress
    assert found.arrays == {}
    assert found.flags == []
    return found.values


@pytest.mark.parametrize(("gradient_of", "cosine"), [("class", 1), ("saliency", 1), ("loss", -1)])
def test_cosines_of_a_network_whose_class_gradient_is_the_edges(gradient_of, cosine):
    """Logits <E, x> and -<E, x>: the gradient of class 0 is E, that of its cross-entropy -2 (1 - p) E."""
    x = images(1, 1, 8, 8)
    edges = oriented_energy(x).flatten()
    model = Linear(torch.stack([edges, -edges])).double()
    options = {"name": "edge_alignment", "weight": 3, "gradient_of": gradient_of, "class_choice": "label"}
    found = terms(model, x, [0], {**options, "growth": 2})
    assert found["cosine"] == pytest.approx(cosine, abs=1e-6)
    # 2 (1 - cos) of the flattened batch; at the end of training its weight is 3 (1 + 2).
    assert found["alignment"] == pytest.approx(2 * (1 - cosine), abs=1e-5)
    assert found["loss"] == pytest.approx(found["cross_entropy"] + 9 * found["alignment"], abs=1e-9)


def test_ramps_are_over_and_terms_are_means():
    x, y = images(5, 3), torch.tensor([0, 1, 1, 0, 1])
    model = Linear([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0]])
    options = {"name": "gradient_norm", "norm": "l1", "weight": 0.7, "ramp": 0.5, "cross_entropy_weight": 0.3}
    found = terms(model, x, y, options, progress=0.1)
    weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 0.0]], dtype=torch.float64)
    probability = (x @ weight.T).softmax(1)[torch.arange(5), y]
    penalty = (1 - probability).mean() * (weight[0] - weight[1]).abs().sum()
    assert found["penalty"] == pytest.approx(float(penalty), rel=1e-6)
    assert found["cross_entropy"] == pytest.approx(float(-probability.log().mean()), rel=1e-6)
    assert found["loss"] == pytest.approx(0.3 * found["cross_entropy"] + 0.7 * found["penalty"], rel=1e-9)
    assert not any(p.requires_grad for p in model.parameters())  # the measured network is left alone


def test_sampled_classes_are_the_same_at_every_call():
    x = images(6, 1, 8, 8)
    model = Linear(torch.randn((3, 64), generator=torch.Generator().manual_seed(1)))
    first, second = (terms(model, x, [0, 1, 2] * 2, {"name": "edge_alignment", "weight": 1}) for _ in "ab")
    assert first == second


# --- images that are augmented one by one ------------------------------------------------------------


def training(monkeypatch, x, **task):
    data = TrainingData(x, torch.arange(9) % 3, 3)
    monkeypatch.setattr(replay, "load_training_data", lambda *given: data)
    objective = {"objective": {"name": "cross_entropy"}}
    spec = {"task": {"name": "classifier", **objective, **task}, "fit": {"batch_size": 4}, "seed": 3}
    return replay.training_batch(spec, Layout("results"), CPU)


def test_images_of_a_recipe_come_as_they_are(monkeypatch, tmp_path):
    """In a tensor or in files: the rows of an ordinary run's first batch, decoded, without augmentation."""
    pixels = torch.randint(256, (9, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = training(monkeypatch, pixels)
    recipe = {"recipe": {"size": 12, "workers": 0}}
    for k, image in enumerate(pixels):
        Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(tmp_path / f"{k}.png")
    files = ImageFiles(tmp_path, tuple(f"{k}.png" for k in range(9)), 12, 12)
    for x in (pixels, files):
        batch = training(monkeypatch, x, **recipe)
        assert torch.equal(batch.x, plain.x)
        assert batch.x.dtype == torch.float64
        assert torch.equal(batch.y, plain.y)
        assert torch.equal(batch.index, plain.index)
        assert torch.equal(batch.augmented(), plain.augmented())
