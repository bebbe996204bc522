"""Gradients against scores: networks whose gradient is known, controls that everyone shares, pictures."""

import math

import numpy as np
import pytest
import torch
from linear_models import Linear, request
from torch import nn

from pagrepro import plugins
from pagrepro.errors import DataError
from pagrepro.evaluations import gradient_maps, score_similarity
from pagrepro.image_noise import image_noise
from pagrepro.request import LoadedField
from pagrepro.similarity import derangement, scaled_map, ssim

SHAPE = (1, 8, 8)
SIMILARITIES = ("cosine", "ssim", "lpips_random")


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pixels(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(9))


class Quadratic(nn.Module):
    """logits (<a, x> + |x|^2 / 2, -|x|^2 / 2): their gradients are a + x and -x, that of the sum is a."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(a.flatten())

    def forward(self, x):
        x = x.flatten(1)
        square = x.square().sum(1) / 2
        return torch.stack([x @ self.a + square, -square], 1)


def field(scores):
    """A field whose rows are these; `read` checks that it is given the images of its rows."""

    def read(rows, x):
        assert x.shape[0] == len(rows)
        return scores[rows]

    return LoadedField("score", read, {})


def similar(model, x, scores, y=None, batch_size=3, seed=0, inputs=None, **options):
    given = {"score": field(scores), **(inputs or {})}
    y = [0] * len(x) if y is None else y
    ask = request(model, x, y, 0.0, 1.0, batch_size=batch_size, seed=seed, inputs=given)
    options = {"similarities": ("cosine",), **options}
    return score_similarity.measure(score_similarity.Config(**options), ask)


# --- the measurement --------------------------------------------------------------------------------------


def test_a_gradient_that_is_the_score_has_similarity_one():
    """logits 0 of the label 0: gradient a + x; the score is that, times any factor by image."""
    a, x = draw(*SHAPE), pixels(5, *SHAPE)
    scores = (a + x) * torch.tensor([1.0, 30, 1e-3, 2, 5]).view(5, 1, 1, 1)
    found = similar(Quadratic(a), x, scores, gradient="label_logit", similarities=SIMILARITIES)
    for name in SIMILARITIES:
        assert found.values[name] == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(found.arrays[name], np.ones(5), atol=1e-5)
        for control in ("other", "noise"):
            assert found.values[f"{name}_{control}"] < 0.995
    assert found.values["zero_maps"] == 0
    assert found.flags == []
    assert set(found.arrays) == set(SIMILARITIES)


def test_values_and_controls_against_plain_formulas():
    a, x, scores = draw(*SHAPE), pixels(7, *SHAPE), draw(7, *SHAPE, seed=1)
    g = scaled_map(a[None].expand(7, *SHAPE))
    found = similar(Quadratic(a), x, scores, seed=4, similarities=("cosine", "ssim"))
    other = scores[derangement(7, 4)]
    noise = image_noise(4, "similarity", torch.arange(7), SHAPE)
    for end, maps in {"": scores, "_other": other, "_noise": noise, "_image": 2 * x - 1}.items():
        m = scaled_map(maps)
        cosine = (g * m).flatten(1).sum(1) / (g.flatten(1).norm(dim=1) * m.flatten(1).norm(dim=1))
        assert found.values[f"cosine{end}"] == pytest.approx(cosine.mean().item(), abs=1e-6)
        assert found.values[f"ssim{end}"] == pytest.approx(ssim(g, m).mean().item(), abs=1e-6)
    assert set(found.values) == {
        *(f"{s}{end}" for s in ("cosine", "ssim") for end in score_similarity.CONTROLS),
        "zero_maps",
    }


def test_the_image_in_the_range_of_the_data():
    """The image itself as the gradient: an image in [0, 4] becomes (2 x / 4 - 1)."""
    x = 4 * pixels(4, *SHAPE)
    centred = x / 2 - 1
    model = Linear(torch.stack([centred[0].flatten(), torch.zeros(64)]))
    ask = request(model, x[:1], [0], 0.0, 4.0, inputs={"score": field(centred)})
    options = score_similarity.Config(similarities=("cosine",))
    found = score_similarity.measure(options, ask)
    assert found.values["cosine_image"] == pytest.approx(1, abs=1e-6)
    assert found.flags == ["no_other_image"]


def test_controls_depend_on_the_seed_and_not_on_the_batches():
    a, x, scores = draw(*SHAPE), pixels(6, *SHAPE), draw(6, *SHAPE, seed=1)

    def values(**more):
        return similar(Quadratic(a), x, scores, gradient="label_logit", **more).values

    one, again = values(), values(seed=1)
    assert values(batch_size=6) == pytest.approx(one, rel=1e-5)
    assert again["cosine"] == one["cosine"]
    assert again["cosine_noise"] != one["cosine_noise"]
    assert again["cosine_other"] != one["cosine_other"]


def test_gradients_of_zeros_are_counted_and_not_dropped():
    class Half(Quadratic):
        def forward(self, x):
            return super().forward(x) * (x[:, 0, 0, :1] > 0.5)

    a, x = draw(*SHAPE), pixels(4, *SHAPE)
    x[:, 0, 0, 0] = torch.tensor([0.0, 1, 0, 1])
    found = similar(Half(a), x, a.expand(4, *SHAPE), similarities=("cosine", "lpips_random"))
    assert found.values["zero_maps"] == 2
    assert found.flags == ["2 gradients are zero"]
    assert found.arrays["cosine"].tolist() == pytest.approx([0, 1, 0, 1])
    assert found.values["cosine"] == pytest.approx(0.5)
    assert np.isfinite(found.arrays["lpips_random"]).all()


def test_maps_that_are_not_finite_are_left_out_and_said():
    class Broken(Quadratic):
        def forward(self, x):
            return super().forward(x) / (x[:, 0, 0, :1] > 0.5)

    a, x = draw(*SHAPE), pixels(4, *SHAPE)
    x[:, 0, 0, 0] = torch.tensor([0.0, 1, 1, 1])
    found = similar(Broken(a), x, a.expand(4, *SHAPE), similarities=SIMILARITIES)
    assert found.flags == ["nonfinite_maps"]
    assert np.isnan(found.arrays["cosine"]).tolist() == [True, False, False, False]
    assert found.values["cosine"] == pytest.approx(1)
    assert math.isfinite(found.values["lpips_random_noise"])


def test_scores_of_another_size():
    """Gradients are scaled first, then brought to the side of the scores, and not scaled again."""
    a, x = draw(3, 8, 8), pixels(3, 3, 8, 8)
    small = draw(3, 3, 4, 4, seed=2)
    model = Quadratic(a)
    with pytest.raises(DataError, match="set the option resize to the side of the scores"):
        similar(model, x, small)
    found = similar(model, x, small, resize=4, similarities=("ssim",))
    halved = scaled_map(a[None]).unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    assert found.values["ssim"] == pytest.approx(ssim(halved.expand(3, -1, -1, -1), scaled_map(small)).mean())


def test_the_predicted_class_and_the_sum_are_different_gradients():
    a, x = draw(*SHAPE), pixels(4, *SHAPE)
    scores = (a + x).clone()
    by = {g: similar(Quadratic(a), x, scores, y=[0, 0, 0, 0], gradient=g).values["cosine"]
          for g in ("label_logit", "logit_sum")}  # fmt: skip
    assert by["label_logit"] == pytest.approx(1)
    assert by["logit_sum"] < 0.99


def test_lpips_needs_its_file():
    a, x = draw(*SHAPE), pixels(3, *SHAPE)
    with pytest.raises(DataError, match="alexnet_imagenet"):
        similar(Quadratic(a), x, x, similarities=("lpips",))
    assert plugins.resolve("evaluations", {"name": "score_similarity"})["similarities"][0] == "lpips"


def test_data_without_a_range_are_refused():
    ask = request(Quadratic(draw(*SHAPE)), pixels(2, *SHAPE), [0, 0], inputs={"score": field(None)})
    with pytest.raises(DataError, match="with a range"):
        score_similarity.measure(score_similarity.Config(similarities=("cosine",)), ask)


# --- pictures ---------------------------------------------------------------------------------------------


def maps(model, x, y, scores=None, **options):
    inputs = {} if scores is None else {"score": field(scores)}
    ask = request(model, x, y, 0.0, 1.0, batch_size=2, inputs=inputs)
    return gradient_maps.measure(gradient_maps.Config(**options), ask)


def test_all_images_are_kept_with_their_gradients_and_scores():
    a, x = draw(*SHAPE), pixels(5, *SHAPE)
    model, scores = Quadratic(a), 3 * (a + x)
    found = maps(model, x, [0, 1, 0, 1, 0], scores, gradient="label_logit")
    np.testing.assert_array_equal(found.arrays["images"], x.numpy())
    np.testing.assert_array_equal(found.arrays["scores"], scores.numpy())
    expected = torch.stack([a + x[i] if label == 0 else -x[i] for i, label in enumerate([0, 1, 0, 1, 0])])
    np.testing.assert_allclose(found.arrays["gradients"], expected.numpy(), atol=1e-6)
    assert found.arrays["gradients"].dtype == found.arrays["similarity"].dtype == np.float32
    assert found.arrays["labels"].tolist() == [0, 1, 0, 1, 0]
    predicted = model(x).argmax(1)
    assert found.arrays["predicted"].tolist() == predicted.tolist()
    assert found.arrays["similarity"][[0, 2, 4]].tolist() == pytest.approx([1, 1, 1])
    assert found.values["similarity"] == pytest.approx(found.arrays["similarity"].mean())
    assert found.values["accuracy"] == (predicted == torch.tensor([0, 1, 0, 1, 0])).double().mean()
    assert found.flags == []


def test_without_scores_or_without_a_number():
    a, x = draw(*SHAPE), pixels(3, *SHAPE)
    kept = {"images", "gradients", "labels", "predicted"}
    assert set(maps(Quadratic(a), x, [0] * 3).arrays) == kept
    assert set(maps(Quadratic(a), x, [0] * 3, x, similarity=None).arrays) == {*kept, "scores"}


def test_gradients_of_pictures_keep_their_size_and_zeros_are_said():
    x, scores = pixels(2, 3, 8, 8), pixels(2, 3, 4, 4)
    model = Linear(torch.zeros(2, 192), [0.0, 1.0])
    with pytest.raises(DataError, match="set the option resize"):
        maps(model, x, [0, 1], scores)
    found = maps(model, x, [0, 1], scores, resize=4)
    assert found.arrays["gradients"].shape == (2, 3, 8, 8)
    assert found.arrays["scores"].shape == (2, 3, 4, 4)
    assert found.flags == ["2 gradients are zero"]
    assert found.values["zero_maps"] == 2
    assert found.values["accuracy"] == 0.5
