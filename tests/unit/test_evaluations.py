"""Accuracy, attacks, alignment and images on models whose answers are known in closed form."""

import math

import numpy as np
import pytest
import torch
from linear_models import Linear, request, step_right
from pydantic import ValidationError
from torch import nn

from pagrepro import plugins
from pagrepro.errors import DataError, RangeError
from pagrepro.evaluations import accuracy, alignment, pgd_accuracy, targeted_images
from pagrepro.request import LoadedField, LoadedRun

# --- accuracy ----------------------------------------------------------------------------------


def test_accuracy_loss_and_margins():
    found = accuracy.measure(
        accuracy.Config(), request(step_right(), [[2.0, 0], [-1.0, 0], [3.0, 0]], [1, 0, 0])
    )
    assert found.values["accuracy"] == pytest.approx(2 / 3)
    expected = np.mean([math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log1p(math.exp(3))])
    assert found.values["loss"] == pytest.approx(expected, rel=1e-6)
    assert found.arrays["correct"].tolist() == [True, True, False]
    assert found.arrays["margin"].tolist() == pytest.approx([2, 1, -3])
    assert found.flags == []


def test_nonfinite_logits_are_never_correct_and_flagged():
    """argmax of NaN logits is 0, which would be right for every example of class 0."""
    found = accuracy.measure(
        accuracy.Config(), request(Linear([[float("nan"), 0], [0, 0]]), torch.ones(4, 2), [0] * 4)
    )
    assert found.values["accuracy"] == 0
    assert found.flags == ["nonfinite_logits"]


def test_values_outside_the_range_are_refused():
    images = torch.full((2, 1, 2, 2), 2.0)
    wide = request(Linear(torch.zeros(2, 4)), images, [0, 1], 0.0, 1.0)
    pgd = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 1, "relative_step": 2}
    targeted = {**pgd, "targeted": True}
    for module, config in (
        (accuracy, accuracy.Config()),
        (pgd_accuracy, pgd_accuracy.Config(attack=pgd)),
        (alignment, alignment.Config()),
        (targeted_images, targeted_images.Config(attack=targeted)),
    ):
        with pytest.raises(RangeError, match=r"\[2, 2\]"):
            module.measure(config, wide)


# --- accuracy under attack ---------------------------------------------------------------------


def attack(**options):
    given = {"name": "pgd", "norm": "l2", "eps": 1.0, "steps": 5, "relative_step": 2, **options}
    return plugins.resolve("attacks", given)


def test_pgd_on_a_line_flips_exactly_the_points_within_eps():
    x1 = torch.tensor([-3.0, -1.5, -0.9, -0.1, 0.1, 0.5, 1.1, 2.0])
    x, y = torch.stack([x1, torch.zeros(8)], 1), (x1 > 0).long()
    found = pgd_accuracy.measure(
        pgd_accuracy.Config(attack=attack(start="zero")), request(step_right(), x, y, batch_size=3)
    )
    assert found.arrays["correct"].tolist() == (x1.abs() > 1).tolist()
    assert found.values["accuracy"] == 0.5
    assert found.values["clean_accuracy"] == 1
    assert found.values["max_l2"] == pytest.approx(1, rel=1e-5)
    assert found.values["max_linf"] <= found.values["max_l2"]
    assert found.values["nonfinite"] == 0
    assert found.flags == []


def test_pgd_noise_depends_on_seed_and_place_only():
    x = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = (x[:, 0] > 0).long()
    config = pgd_accuracy.Config(attack=attack(steps=1, step_size=1e-6, relative_step=None))
    first = pgd_accuracy.measure(config, request(step_right(), x, y))
    torch.rand(100)  # another position of the global stream changes nothing
    again = pgd_accuracy.measure(config, request(step_right(), x, y))
    other = pgd_accuracy.measure(config, request(step_right(), x, y, seed=1))
    assert np.array_equal(first.arrays["correct"], again.arrays["correct"])
    assert first.values == again.values
    assert first.values["max_l2"] != other.values["max_l2"]


def test_pgd_counts_what_is_not_finite():
    class Broken(Linear):
        def forward(self, x):
            return super().forward(x).where(x[:, :1] < 5, torch.nan)

    model = Broken([[0.0, 0.0], [1.0, 0.0]])
    config = pgd_accuracy.Config(attack=attack(start="zero"))
    found = pgd_accuracy.measure(config, request(model, [[9.0, 0.0], [-3.0, 0.0]], [0, 0]))
    assert found.values["nonfinite"] == 0.5
    assert found.values["accuracy"] == 0.5
    assert "nonfinite_under_attack" in found.flags


# --- alignment ---------------------------------------------------------------------------------


def field_of(directions):
    return {"targets": LoadedField("f", lambda rows, x: directions[rows].to(x), {})}


def test_alignment_of_a_linear_model_with_chosen_directions():
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    directions = torch.tensor([
        [[3.0, 0.0], [0.0, -1.0]],  # cosines 1, -1
        [[1.0, 1.0], [0.0, 5.0]],  # sqrt(1/2), 1
        [[0.0, 0.0], [4.0, 3.0]],  # dropped, 3/5
    ])  # fmt: skip
    x, y = torch.rand(3, 2), [0, 1, 1]
    found = alignment.measure(
        alignment.Config(), request(Linear(weight), x, y, batch_size=2, inputs=field_of(directions))
    )
    half = math.sqrt(0.5)
    np.testing.assert_allclose(found.arrays["cosine"], [[1, -1], [half, 1], [np.nan, 0.6]], rtol=1e-6)
    assert found.values["cosine"] == pytest.approx((1 - 1 + half + 1 + 0.6) / 5)
    assert found.values["cosine_own"] == pytest.approx((1 + 1 + 0.6) / 3)
    assert found.values["cosine_other"] == pytest.approx((-1 + half) / 2)
    assert found.values["dropped"] == pytest.approx(1 / 6)
    assert "cosine_attacked" not in found.values


def test_alignment_reads_directions_again_at_the_attacked_point():
    """A bowl around r: its gradient is 2 (r - x) everywhere, so its alignment with r - x is always 1."""
    r = torch.tensor([[2.0, 0.0], [-2.0, 1.0]])

    class Bowls(nn.Module):
        def forward(self, x):
            return -(x[:, None] - r).square().sum(2)

    moving = {"targets": LoadedField("f", lambda rows, x: r - x[:, None], {})}
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    config = alignment.Config(attack=attack(), gradient_batch=2)
    found = alignment.measure(config, request(Bowls(), x, [0, 1] * 4 + [0], inputs=moving))
    assert found.values["cosine"] == pytest.approx(1, abs=1e-6)
    assert found.values["cosine_attacked"] == pytest.approx(1, abs=1e-6)
    fixed = field_of((r - x[:, None]).clone())
    stale = alignment.measure(config, request(Bowls(), x, [0, 1] * 4 + [0], inputs=fixed))
    assert stale.values["cosine"] == pytest.approx(1, abs=1e-6)
    assert stale.values["cosine_attacked"] < 0.99


def test_alignment_survives_vanishing_gradients():
    """Gradients of 1e-30, whose squares single precision cannot hold, still have a direction."""
    found = alignment.measure(
        alignment.Config(),
        request(
            Linear([[1e-30, 0.0], [0.0, 0.0]]), torch.rand(2, 2), [0, 1], inputs=field_of(torch.ones(2, 2, 2))
        ),
    )
    np.testing.assert_allclose(found.arrays["cosine"], [[math.sqrt(0.5), np.nan]] * 2, rtol=1e-6)
    nothing = alignment.measure(
        alignment.Config(),
        request(Linear(torch.zeros(2, 2)), torch.rand(2, 2), [0, 1], inputs=field_of(torch.ones(2, 2, 2))),
    )
    assert math.isnan(nothing.values["cosine"])
    assert nothing.flags == ["no_direction_at_all"]


def test_alignment_of_log_probabilities():
    """Two classes: gradients of log p_0 and log p_1 are opposite, whatever the logits' own directions."""
    model = Linear([[1.0, 0.0], [0.0, 2.0]])
    direction = torch.tensor([[1.0, -2.0], [1.0, -2.0]])
    config = alignment.Config(gradient_of="log_probability")
    found = alignment.measure(
        config, request(model, torch.rand(4, 2), [0] * 4, inputs=field_of(direction.expand(4, 2, 2)))
    )
    np.testing.assert_allclose(found.arrays["cosine"], [[1, -1]] * 4, rtol=1e-5)


# --- images by targeted attack -----------------------------------------------------------------


def test_targeted_images_reach_their_class_and_are_judged():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((5, 1, 4, 4), generator=generator) * 0.02 + 0.5
    weight = torch.eye(3, 16) * 10  # class t is a bright pixel t
    y = Linear(weight)(x).argmax(1)
    options = attack(eps=2.0, steps=20, targeted=True, start="zero")
    config = targeted_images.Config(attack=options)
    blind = Linear(torch.zeros(3, 16), [1.0, 0.0, 0.0])  # a judge that always says class 0
    ask = request(
        Linear(weight), x, y, 0.0, 1.0, 3, batch_size=2, inputs={"judge": LoadedRun("j", blind, {})}
    )
    found = targeted_images.measure(config, ask)
    images = found.arrays["images"]
    assert images.shape == (5, 3, 1, 4, 4)
    assert images.dtype == np.uint8
    assert found.values["success"] == 1
    assert found.arrays["success"].shape == (5, 3)
    assert all((images[:, t].reshape(5, 16)[:, t] > 200).all() for t in range(3))
    assert np.array_equal(found.arrays["originals"], (x * 255).round().byte().numpy())
    pairs = sum(1 for label in y.tolist() for t in range(3) if t != label)
    judged_right = sum(1 for label in y.tolist() for t in range(3) if t != label and t == 0)
    assert found.values["judge_share"] == pytest.approx(judged_right / pairs)
    assert found.values["judge_original"] == pytest.approx((y == 0).float().mean().item())
    alone = targeted_images.measure(config, request(Linear(weight), x, y, 0.0, 1.0, 3))
    assert "judge_share" not in alone.values


def test_targeted_images_refuse_untargeted_attacks_and_points():
    with pytest.raises(ValidationError, match="targeted: true"):
        targeted_images.Config(attack=attack())
    with pytest.raises(ValueError, match="targeted: true"):
        plugins.resolve("evaluations", {"name": "targeted_images", "attack": attack()})
    with pytest.raises(DataError, match="images"):
        targeted_images.measure(
            targeted_images.Config(attack=attack(targeted=True)), request(step_right(), [[1.0, 0.0]], [1])
        )


def test_high_frequency_of_waves():
    column = torch.arange(16.0)
    slow, fast = torch.cos(2 * math.pi * column * 2 / 16), torch.cos(2 * math.pi * column * 6 / 16)
    wave = lambda w: w.expand(1, 1, 16, 16).contiguous()  # noqa: E731
    assert targeted_images.high_frequency(wave(slow)).item() == pytest.approx(0, abs=1e-12)
    assert targeted_images.high_frequency(wave(fast)).item() == pytest.approx(1)
    assert targeted_images.high_frequency(wave(fast).transpose(2, 3)).item() == pytest.approx(1)
    mixed = targeted_images.high_frequency(wave(slow + 2 * fast)).item()
    assert mixed == pytest.approx(4 / 5)
    constant_and_fast = targeted_images.high_frequency(wave(1 + fast)).item()
    assert constant_and_fast == pytest.approx((1 / 2) / (1 + 1 / 2))
    assert targeted_images.high_frequency(torch.zeros(1, 1, 4, 4)).isnan().all()
    noise = torch.randn((4, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    assert targeted_images.high_frequency(noise).mean().item() == pytest.approx(1 - math.pi / 16, abs=0.01)
