"""Score maps of a split: those of an exact denoiser, and what is refused before and while they are made."""

import copy

import pytest
import torch
from tiny import Tiny
from torch import nn

from pagrepro.denoiser import GaussianMixture
from pagrepro.errors import ConfigError, DataError, RangeError
from pagrepro.fields import score as field
from pagrepro.image_noise import image_noise
from pagrepro.request import FieldRequest, LoadedRun

IMAGE, CPU = (1, 4, 4), torch.device("cpu")


def gaussians(shape=IMAGE, conditional=False):
    means = torch.randn((3, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return GaussianMixture(means, 0.2, conditional=conditional)


def request(model, rows=range(10), low=0.0, high=1.0, seed=5):
    x = torch.randint(256, (10, *IMAGE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    inputs = {"denoiser": LoadedRun("d", model, {})}
    return FieldRequest(x, torch.arange(10) % 3, 3, torch.tensor([*rows]), seed, low, high, CPU, inputs)


def computed(model, rows=range(10), **options):
    return field.compute(field.Config(batch_size=4, **options), request(model, rows))["scores"]


def coordinates(rows=range(10)):
    return 2 * request(None).x[[*rows]].float() / 255 - 1


@pytest.mark.parametrize("conditional", ["none", "label"])
def test_maps_are_the_scores_of_the_images(conditional):
    model = gaussians(conditional=conditional == "label")
    x = coordinates().double().requires_grad_()
    y = torch.arange(10) % 3 if conditional == "label" else None
    (expected,) = torch.autograd.grad(model.log_density(x, 0.7, y).sum(), x)
    found = computed(model, sigma=0.7, conditional=conditional)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


def test_shards_hold_what_the_whole_has():
    model = gaussians()
    whole = computed(model, average=2)
    parts = [computed(model, range(3), average=2), computed(model, range(3, 10), average=2)]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_averages_are_over_the_noise_of_the_image():
    model, x, sigma = gaussians(), coordinates(), 0.5
    noise = image_noise(5, "score", torch.arange(10), (3, *IMAGE))
    denoised = sum(model.denoise(x + sigma * noise[:, k], sigma) for k in range(3)) / 3
    found = computed(model, sigma=sigma, average=3)
    torch.testing.assert_close(found, (denoised - x) / sigma**2, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, computed(model, sigma=sigma), atol=1e-2)


def test_resized_maps_are_those_of_the_resized_images():
    """Half the size: antialiasing weighs four pixels in each direction, 1 3 3 1."""
    model = gaussians((1, 2, 2))
    found = computed(model, sigma=0.5, resize=2)
    assert found.shape == (10, 1, 2, 2)
    # At the border the pixels outside are left out.
    weights = torch.tensor([[3.0, 3.0, 1.0, 0.0], [0.0, 1.0, 3.0, 3.0]]) / 7
    x = weights @ coordinates() @ weights.T
    torch.testing.assert_close(found, (model.denoise(x, 0.5) - x) / 0.25, rtol=1e-4, atol=1e-4)


def test_maps_are_read_by_row():
    tensors = field.compute(field.Config(dtype="float16"), request(gaussians()))
    found = field.read(field.Config(), tensors, torch.tensor([7, 0]), torch.zeros(2, *IMAGE).double())
    assert tensors["scores"].dtype == torch.float16
    assert found.dtype == torch.float64
    assert torch.equal(found, tensors["scores"][[7, 0]].double())


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="d has no `denoise`"):
        computed(nn.Linear(2, 2))
    with pytest.raises(DataError, match=r"\(1, 2, 2\), these are \(1, 4, 4\)"):
        computed(gaussians((1, 2, 2)))
    with pytest.raises(DataError, match=r"\(1, 4, 4\), these are \(1, 2, 2\)"):
        computed(gaussians(), resize=2)
    with pytest.raises(DataError, match=r"takes 0 classes.*conditional: label it would be given 3"):
        computed(gaussians(), conditional="label")
    with pytest.raises(DataError, match=r"takes 3 classes.*conditional: none it would be given 0"):
        computed(gaussians(conditional=True))
    with pytest.raises(RangeError, match="images given to the denoiser"):
        field.compute(field.Config(), request(gaussians(), high=0.5))
    with pytest.raises(DataError, match="need a range"):
        field.compute(field.Config(), request(gaussians(), low=None, high=None))


# --- what expansion knows ------------------------------------------------------------------------------


@pytest.fixture
def tiny():
    """Three sets of images: `pictures`, the same under another name, and a small one in another range."""
    made = Tiny()
    datasets = made.datasets["datasets"]
    pictures = {
        "label": "pictures", "data": {"name": "digits"}, "classes": 10, "shape": [1, 8, 8],
        "parts": {"train": 1397, "test": 400},
        "splits": {"train": {"part": "train"}, "test": {"part": "test"}},
    }  # fmt: skip
    datasets |= {"pictures": pictures, "twins": copy.deepcopy(pictures)}
    datasets["shifted"] = {**copy.deepcopy(pictures), "low": -1.0, "shape": [1, 4, 4], "classes": 2}
    datasets["fewer"] = {**copy.deepcopy(pictures), "shape": [1, 4, 4], "classes": 2}
    network = {"name": "ddpmpp", "width": 8, "multipliers": [1], "blocks": 1, "attention": []}
    run = {
        "name": "denoiser", "task": {"name": "denoiser", "network": network}, "dataset": "pictures",
        "fit": {"epochs": 1, "batch_size": 8, "ema": {"decay": 0.9}}, "seed": 0,
    }  # fmt: skip
    made.paper["runs"]["denoiser"] = run
    made.paper["fields"]["scores"] = {
        "name": "scores", "field": {"name": "score"}, "dataset": "pictures", "split": "test", "seed": 0,
        "inputs": {"denoiser": {"run": "denoiser", "weights": "ema"}},
    }  # fmt: skip
    made.paper["evaluations"]["clean"]["groups"] = ["plain"]
    return made


def test_denoisers_are_fitted_on_the_data_of_the_field(tiny, tmp_path):
    spec = tiny.expand(tmp_path).fields["scores"].spec
    assert spec["inputs"]["denoiser"]["weights"] == "ema"
    assert spec["field"]["sigma"] == 0.5
    tiny.paper["runs"]["denoiser"]["dataset"] = "twins"
    with pytest.raises(ConfigError) as caught:
        tiny.expand(tmp_path)
    text = str(caught.value)
    assert "fields.scores.inputs.denoiser.run" in text
    assert "denoiser, fitted on twins" in text
    assert "a run fitted on pictures; or `fitted_on: twins`" in text


def test_another_data_set_has_to_be_named(tiny, tmp_path):
    scores, run = tiny.paper["fields"]["scores"], tiny.paper["runs"]["denoiser"]
    scores["field"]["fitted_on"] = "fewer"
    with pytest.raises(ConfigError, match=r"fitted on pictures'\n.*a run fitted on fewer \(fitted_on\)"):
        tiny.expand(tmp_path)
    run["dataset"] = "fewer"
    assert "scores" in tiny.expand(tmp_path).fields
    scores["field"]["fitted_on"] = run["dataset"] = "shifted"
    with pytest.raises(ConfigError, match=r"denoiser with \{'low': -1.0.*\n.*\{'low': 0.0"):
        tiny.expand(tmp_path)


def test_other_roles_are_not_asked_for_their_data(tiny, tmp_path):
    """A teacher may have learned from another data set of the same form."""
    tiny.paper["runs"]["denoiser"]["dataset"] = "twins"
    tiny.paper["fields"]["scores"]["field"] = {"name": "teacher_gradient"}
    tiny.paper["fields"]["scores"]["inputs"] = {"teacher": {"run": "denoiser"}}
    assert "scores" in tiny.expand(tmp_path).fields
