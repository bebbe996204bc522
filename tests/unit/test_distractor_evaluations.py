"""Noise on signal and distractor, and where the gradient is, on models whose answers are known."""

import math
import typing

import numpy as np
import pytest
import torch
from linear_models import Linear, request
from pydantic import ValidationError
from torch import nn

from pagrepro import input_gradients
from pagrepro.distractors import add_noise
from pagrepro.errors import DataError, RangeError
from pagrepro.evaluations import distractor_noise, signal_share
from pagrepro.image_noise import image_noise

SHAPE = (1, 4, 2)
SIGMAS = (0.01, 0.1, 0.5, 1.0, 3.0)


def examples(n=9, seed=0):
    """x in [0, 1], y, and masks: the upper or the lower half is the signal."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, *SHAPE, generator=generator)
    upper = torch.rand(n, generator=generator) < 0.5
    mask = torch.zeros(n, *SHAPE, dtype=torch.bool)
    mask[upper, :, :2], mask[~upper, :, 2:] = True, True
    return x, torch.arange(n) % 2, mask


def asked(model, n=9, **more):
    x, y, mask = examples(n)
    return request(model, x, y, 0.0, 1.0, **{"mask": mask, "batch_size": 4, **more})


class SignalOnly(nn.Module):
    """Logits from the half that is brighter by a number no noise reaches: the signal, once it is marked."""

    def __init__(self, signal=1.0, distractor=0.0):
        super().__init__()
        self.signal, self.distractor = signal, distractor

    def forward(self, x):
        halves = x.flatten(1).view(-1, 2, 4)
        upper = (halves[:, 0].mean(1) > halves[:, 1].mean(1))[:, None]
        on, off = halves[:, 0].where(upper, halves[:, 1]), halves[:, 1].where(upper, halves[:, 0])
        f = (self.signal * on[:, 0] + self.distractor * off[:, 0])[:, None]
        return torch.cat([-f / 2, f / 2], 1)


def marked(model, offset=100.0, **more):
    """A request whose signal halves are brighter by `offset`, which `SignalOnly` finds them by."""
    x, y, mask = examples()
    return request(model, x + offset * mask, y, None, None, mask=mask, batch_size=4, **more)


class Recorder(nn.Module):
    """Keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.given = []

    def forward(self, x):
        self.given.append(x.clone())
        return x.flatten(1)[:, :2]


# --- distractor_noise -------------------------------------------------------------------------------


def measured(model, **options):
    return distractor_noise.measure(distractor_noise.Config(sigmas=SIGMAS, **options), asked(model))


def test_noise_leaves_the_other_block_as_it_is_to_the_last_bit():
    model, (x, _, mask) = Recorder(), examples()
    measured(model)
    noise = image_noise(0, "distractor_noise", torch.arange(9), SHAPE)
    for start in (0, 4, 8):
        rows = slice(start, start + 4)
        given = [model.given.pop(0) for _ in range(1 + 3 * len(SIGMAS))]
        assert torch.equal(given.pop(0), x[rows])
        for where in (mask[rows], ~mask[rows], torch.ones_like(mask[rows])):
            for sigma in SIGMAS:
                noisy = given.pop(0)
                assert torch.equal(noisy[~where], x[rows][~where])
                assert torch.equal(noisy[where], (x[rows] + sigma * noise[rows])[where])
    assert model.given == []
    # Far outside of the data's range: nothing was clipped.
    assert (x + 3 * noise).min() < -3
    assert (x + 3 * noise).max() > 4


def test_changes_are_those_of_the_formula():
    """Each image alone, in plain steps, against the measurement in batches."""
    torch.manual_seed(0)
    model, (x, _, mask) = Linear(torch.randn(2, 8)), examples()
    found = measured(model)
    for i in range(9):
        noise = image_noise(0, "distractor_noise", torch.tensor([i]), SHAPE)[0]
        before = model(x[i : i + 1]).double().softmax(1)
        for place, where in (("signal", mask[i]), ("distractor", ~mask[i])):
            for s, sigma in enumerate(SIGMAS):
                after = model((x[i] + sigma * noise * where)[None]).double().softmax(1)
                expected = float((after - before).abs().sum())
                assert found.arrays[f"{place}_changes"][i, s] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_ratio_is_the_quotient_of_the_means():
    torch.manual_seed(1)
    found = measured(Linear(torch.randn(2, 8)))
    arrays = found.arrays
    for place in ("signal", "distractor"):
        mean = arrays[f"{place}_changes"].astype(np.float64).mean(0)
        assert arrays[place] == pytest.approx(mean, rel=1e-5)
    assert arrays["ratio"] == pytest.approx(arrays["signal"] / (arrays["distractor"] + 1e-12), rel=1e-14)
    assert arrays["sigma"].tolist() == list(SIGMAS)
    assert found.values["ratio"] == pytest.approx(arrays["ratio"][1:4].mean())
    assert found.values["largest_ratio"] == arrays["ratio"].max()
    assert arrays["signal_changes"].shape == arrays["distractor_changes"].shape == (9, len(SIGMAS))
    assert ((arrays["whole"] >= 0) & (arrays["whole"] <= 2)).all()
    assert found.flags == []


def test_small_noise_gives_the_ratio_of_the_slopes():
    """f linear: for sigma -> 0 the change is 2 p (1-p) sigma |w . e|, so R tends to |w_signal| /
    |w_distractor|, here exactly in the limit because both weights see one Gaussian number each and the means
    are over many."""
    n = 3000
    x = torch.zeros(n, *SHAPE)
    mask = torch.zeros(n, *SHAPE, dtype=torch.bool)
    mask[:, :, :2] = True
    weight = torch.zeros(2, 8)
    weight[1, 0], weight[1, 7] = 0.6, 0.2
    asked_for = request(Linear(weight), x, [0] * n, 0.0, 1.0, mask=mask, batch_size=n)
    found = distractor_noise.measure(distractor_noise.Config(sigmas=(0.01, 0.5)), asked_for)
    # A mean of n half-normal numbers: relative standard error 0.76 / sqrt(n), of a quotient sqrt(2) times
    # that.
    assert found.arrays["ratio"][0] == pytest.approx(3, rel=5 * 0.76 * math.sqrt(2 / n))
    for place, w in (("signal", 0.6), ("distractor", 0.2)):
        # |dp| sums to 2 * p (1 - p) * sigma * w * E|e|, at p = 1/2.
        expected = 0.5 * 0.01 * w * math.sqrt(2 / math.pi)
        assert found.arrays[place][0] == pytest.approx(expected, rel=5 * 0.76 / math.sqrt(n))


def test_a_model_that_ignores_the_distractor():
    found = distractor_noise.measure(
        distractor_noise.Config(sigmas=SIGMAS), marked(SignalOnly(signal=1.0, distractor=0.0))
    )
    assert found.arrays["distractor"].tolist() == [0] * len(SIGMAS)
    assert np.array_equal(found.arrays["whole"], found.arrays["signal"])
    assert found.flags == ["no_change_by_the_distractor"]
    blind = distractor_noise.measure(distractor_noise.Config(sigmas=SIGMAS), marked(SignalOnly(0.0, 1.0)))
    assert blind.arrays["ratio"].tolist() == [0] * len(SIGMAS)
    assert blind.values["largest_ratio"] == 0


def test_noise_belongs_to_the_image():
    """Another batch size or a part of the images changes nothing; another seed does."""
    torch.manual_seed(2)
    model = Linear(torch.randn(2, 8))
    config = distractor_noise.Config(sigmas=SIGMAS)
    x, y, mask = examples()
    whole = distractor_noise.measure(config, asked(model, batch_size=9)).arrays["signal_changes"]
    assert distractor_noise.measure(config, asked(model, batch_size=2)).arrays[
        "signal_changes"
    ] == pytest.approx(whole, abs=1e-6)
    chosen = torch.tensor([7, 2])
    some = request(model, x[chosen], y[chosen], 0.0, 1.0, mask=mask[chosen])
    object.__setattr__(some, "index", chosen)
    assert distractor_noise.measure(config, some).arrays["signal_changes"] == pytest.approx(
        whole[[7, 2]], abs=1e-6
    )
    other = distractor_noise.measure(config, asked(model, seed=1)).arrays["signal_changes"]
    assert np.abs(other - whole).max() > 0.01


def test_accuracy_is_that_of_clean_images():
    x, y, mask = examples()
    weight = torch.zeros(2, 8)
    weight[1, 0] = 1
    found = distractor_noise.measure(
        distractor_noise.Config(sigmas=SIGMAS), request(Linear(weight), x, y, 0.0, 1.0, mask=mask)
    )
    assert found.values["accuracy"] == pytest.approx(float((y == 1).double().mean()))


def test_outputs_that_are_not_finite_are_flagged():
    class Broken(Linear):
        def forward(self, x):
            return super().forward(x).where(x.flatten(1).abs().amax(1, keepdim=True) < 3, torch.nan)

    found = measured(Broken(torch.ones(2, 8)))
    assert "nonfinite_changes" in found.flags


def test_default_sigmas_are_the_papers():
    config = distractor_noise.Config()
    assert config.sigmas == pytest.approx(np.logspace(-2, 1, 30), rel=1e-5)
    assert config.middle == (0.1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigmas": (0.0, 0.5)}, "sigmas"),
        ({"sigmas": ()}, "sigmas"),
        ({"sigmas": (0.5, 0.2)}, "ascending"),
        ({"sigmas": (0.2, 0.2)}, "ascending"),
        ({"sigmas": (0.01, 3)}, "none of the sigmas"),
        ({"middle": (0.15, 0.11)}, "none of the sigmas"),
    ],
)
def test_sigmas_that_cannot_be_used(options, message):
    with pytest.raises(ValidationError, match=message):
        distractor_noise.Config(**options)


@pytest.mark.parametrize("module", [distractor_noise, signal_share])
def test_masks_and_ranges_are_checked(module):
    x, y, mask = examples()
    model = Linear(torch.ones(2, 8))
    with pytest.raises(DataError, match=r"these data do not say.*digits_distractor"):
        module.measure(module.Config(), request(model, x, y, 0.0, 1.0))
    with pytest.raises(RangeError):
        module.measure(module.Config(), request(model, 255 * x, y, 0.0, 1.0, mask=mask))


# --- signal_share -----------------------------------------------------------------------------------


def test_share_is_the_energy_on_the_signal():
    """The gradient of SignalOnly's predicted logit is (signal, distractor) / 2 on one pixel each."""
    for signal, distractor in ((1.0, 0.0), (0.0, 2.0), (1.0, 1.0), (3.0, -1.0)):
        found = signal_share.measure(signal_share.Config(), marked(SignalOnly(signal, distractor)))
        expected = signal**2 / (signal**2 + distractor**2)
        assert found.arrays["share"] == pytest.approx(np.full(9, expected), rel=1e-6)
        assert found.values["share"] == pytest.approx(expected, rel=1e-6)
        assert found.values["area"] == 0.5
        assert found.flags == []


def test_share_has_no_scale_and_none_of_a_zero_gradient():
    torch.manual_seed(0)
    g, where = torch.randn(4, *SHAPE, dtype=torch.float64), torch.zeros(4, *SHAPE, dtype=torch.bool)
    where[:, :, :2] = True
    g[3] = 0
    share = signal_share.signal_share(g, where)
    expected = g[:3, :, :2].square().sum((1, 2, 3)) / g[:3].square().sum((1, 2, 3))
    assert share[:3].tolist() == pytest.approx(expected.tolist())
    assert share[3].isnan()
    assert signal_share.signal_share(g * 1e-200, where)[:3].tolist() == pytest.approx(expected.tolist())
    assert (share[:3] + signal_share.signal_share(g, ~where)[:3]).tolist() == pytest.approx([1, 1, 1])


def test_zero_gradients_are_counted_and_left_out():
    found = signal_share.measure(signal_share.Config(), asked(Linear(torch.zeros(2, 8))))
    assert found.values["zero_gradient"] == 1
    assert math.isnan(found.values["share"])
    assert found.flags == ["zero_gradients"]


def test_the_scalar_can_be_chosen():
    """Logit 0 sees the upper half alone, logit 1 the lower one."""
    weight = torch.zeros(2, 8)
    weight[0, 0], weight[1, 7] = 1, 3
    x, y, mask = examples()

    def share(gradient):
        config = signal_share.Config(gradient=gradient)
        return signal_share.measure(config, request(Linear(weight), x, y, 0.0, 1.0, mask=mask)).arrays[
            "share"
        ]

    upper = mask[:, 0, 0, 0].numpy()
    predicted = (3 * x[:, 0, 3, 1] > x[:, 0, 0, 0]).numpy()
    assert share("label_logit").tolist() == (upper ^ (y == 1).numpy()).tolist()
    assert share("predicted_logit").tolist() == (upper ^ predicted).tolist()
    assert share("logit_sum") == pytest.approx(np.where(upper, 0.1, 0.9), rel=1e-6)


def test_every_scalar_of_the_package_is_offered():
    options = signal_share.Config.model_fields["gradient"].annotation
    assert set(typing.get_args(options)) == set(typing.get_args(input_gradients.Gradient))


@pytest.mark.parametrize("count", [0, 3, 6, 20])
def test_the_first_examples_are_kept_with_all_that_belongs_to_them(count):
    torch.manual_seed(0)
    weight, (x, y, mask) = torch.randn(2, 8), examples()
    found = signal_share.measure(signal_share.Config(examples=count, noise_std=0.5), asked(Linear(weight)))
    k, arrays = min(count, 9), found.arrays
    assert arrays["share"].shape == (9,)
    noise = image_noise(0, "signal_share", torch.arange(9), SHAPE)
    predicted = (x.flatten(1) @ weight.T).argmax(1)
    expected = {
        "images": x, "masks": mask.to(torch.uint8), "labels": y, "predicted": predicted,
        "noise_signal": add_noise(x, noise, 0.5, mask), "noise_distractor": add_noise(x, noise, 0.5, ~mask),
        "gradients": weight[predicted].view(9, *SHAPE),
    }  # fmt: skip
    assert arrays.keys() == {"share", *expected}
    for name, value in expected.items():
        assert arrays[name].shape == value[:k].shape
        assert np.array_equal(arrays[name], value[:k].numpy()), name
        assert arrays[name].dtype == value.numpy().dtype
