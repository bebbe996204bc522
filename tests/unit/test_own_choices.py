"""What can be measured of a model of one's own is what the paper files declare, with what it needs."""

from functools import cache
from pathlib import Path

import pytest

from pagrepro import plugins
from pagrepro.errors import ConfigError, UserError
from pagrepro.own_choices import Catalogue, select, tiers_with

ROOT = Path(__file__).parents[2]


@cache
def catalogue():
    return Catalogue("demo", ROOT)


@cache
def choices():
    return catalogue().choices("digits")


def by_name(name):
    (found,) = [choice for choice in choices() if choice.name == name]
    return found


def test_names_are_unique_and_every_choice_is_from_a_paper_file():
    names = [choice.name for choice in choices()]
    assert len(set(names)) == len(names) > 40
    assert {name.partition(".")[0] for name in names} == set(catalogue().loaded.papers)


def test_what_two_papers_ask_for_alike_is_measured_once():
    (clean,) = [c for c in choices() if c.plugin == "accuracy" and c.split == "test"]
    assert {name.partition(".")[0] for name in (clean.name, *clean.also)} == set(catalogue().loaded.papers)


def test_options_are_those_of_the_tier():
    settings = catalogue().loaded.papers["ganz2022"].settings["main"]
    attack = by_name("ganz2022.pgd_linf").measure["attack"]
    assert attack["eps"] == pytest.approx(settings["budget"]["linf"])
    sigmas = [c.name for c in choices() if c.name.startswith("srinivas2023.smoothed sigma=")]
    assert len(sigmas) == len(catalogue().loaded.papers["srinivas2023"].settings["c"]["grids"]["rs"])


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("ganz2022.pgd_l2", []),
        ("ganz2022.alignment_class_mean", []),
        ("ganz2022.alignment_teacher_l2", ["run digits_rn18w4_adversarial_l2_s0"]),
        ("ganz2022.targeted", ["run digits_rn18w4_adversarial_l2_s1000 (optional)"]),
        # The pairs that are projected come from a measurement of the model itself.
        ("lanfredi2020.alignment", ["run digits_gan_s100 (optional)"]),
        ("srinivas2023.sensitivity", ["run digits_autoencoder"]),
    ],
)
def test_what_is_needed_besides_the_model(name, needs):
    assert catalogue().needs(by_name(name)) == needs


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ganz2022.protocol", "training step"),
        ("lanfredi2020.similarity", "task conditional_gan"),
        ("srinivas2023.manifold", "task autoencoder"),
    ],
)
def test_what_no_model_of_ones_own_has(name, reason):
    assert reason in by_name(name).never


def test_what_is_missing_at_a_tier_says_so():
    choice = by_name("srinivas2023.maps_edm")
    assert choice.never is None
    assert choice.absent.startswith("not to be had at tier demo: cifar10")


def test_theorems_are_not_measured_of_a_model():
    spheres = {choice.plugin: choice.never for choice in catalogue().choices("spheres_100")}
    assert "theorems" in spheres["exact_models"]
    assert spheres["accuracy"] is None
    assert plugins.constant("evaluations", "manifold_theory", "OF_MODEL") is False


def test_selecting():
    assert select(choices(), "all") == choices()
    names = [choice.name for choice in select(choices(), "pgd_linf, srinivas2023.smoothed")]
    attacked = [name for name in names if name.endswith(".pgd_linf")]
    assert {"ganz2022.pgd_linf", "matrix.pgd_linf"} <= set(attacked)
    smoothed = set(names) - set(attacked)
    assert smoothed
    assert all(name.startswith("srinivas2023.smoothed sigma") for name in smoothed)
    assert {choice.plugin for choice in select(choices(), ["edge_correlation"])} == {"edge_correlation"}
    with pytest.raises(UserError, match="nothing is called 'pgd-linf'"):
        select(choices(), ["pgd-linf"])


def test_other_data_sets_are_refused_with_what_there_is():
    with pytest.raises(ConfigError, match="digits_distractor"):
        catalogue().choices("digit")
    with pytest.raises(ConfigError, match=r"nothing is measured on imagenet at tier demo[\s\S]*squares16"):
        catalogue().choices("imagenet")


def test_tiers_of_a_data_set():
    assert tiers_with("digits", ROOT) == ["demo"]
    assert set(tiers_with("cifar10", ROOT)) == {"small", "full"}
    with pytest.raises(UserError, match="run this in its folder"):
        Catalogue("demo", ROOT / "tests")
