"""Weighted sums, conditional means, bounds and convergence of curves: every verdict on made-up results."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from pagrepro.claims import contrast, converges, curve_bound, difference, ordering
from pagrepro.errors import DataError
from pagrepro.results import FRAME_COLUMNS

ROLES = ("a", "b", "c", "d")
GROWTH = {"a": 1, "b": -1, "c": -1, "d": 1}


def rows(values: dict[str, list[float]], paths: dict[str, list] | None = None) -> pd.DataFrame:
    """One run per value, its place being the seed."""
    found = []
    for role, numbers in values.items():
        for seed, value in enumerate(numbers):
            path = None if paths is None else str(paths[role][seed])
            found.append(
                [role, role, f"{role}{seed}", seed, {}, "d", "n", "complete", "accuracy", value, path]
            )
    return pd.DataFrame(found, columns=list(FRAME_COLUMNS))


def growth(difference, seeds=4, noise=0.01):
    """Four quantities whose contrast is `difference`, with noise that is the same in a and b."""
    shift = noise * np.arange(seeds)
    return rows({"a": 0.5 + difference + 2 * shift, "b": 0.3 + shift, "c": [0.4] * seeds, "d": [0.2] * seeds})


@pytest.mark.parametrize(
    ("difference", "verdict"), [(0.2, "confirmed"), (-0.2, "contradicted"), (0.0, "inconclusive")]
)
def test_contrast(difference, verdict):
    frame = growth(difference - 0.015)
    found = contrast.judge(contrast.Config(weights=GROWTH, above=0), frame)
    assert found.verdict == verdict
    assert found.effect == pytest.approx(difference)
    assert found.n_seeds == 4


def test_contrast_of_two_seeds_says_nothing():
    found = contrast.judge(contrast.Config(weights=GROWTH, above=0), growth(0.5, seeds=2))
    assert found.verdict == "inconclusive"
    assert found.interval is None


def test_contrast_about_given_models(tmp_path):
    correct = {"a": 0.9, "b": 0.5, "c": 0.6, "d": 0.5}
    paths = {}
    for role, share in correct.items():
        paths[role] = [tmp_path / f"{role}.npz"]
        np.savez(paths[role][0], correct=np.arange(1000) < 1000 * share)
    frame = rows({role: [share] for role, share in correct.items()}, paths)
    found = contrast.judge(contrast.Config(weights=GROWTH, above=0.2, about="models"), frame)
    assert found.verdict == "confirmed"
    assert found.effect == pytest.approx(0.3)


def test_contrast_needs_one_group_and_a_threshold():
    frame = growth(0.1)
    frame.loc[0, "group"] = "other"
    with pytest.raises(DataError, match="one group"):
        contrast.judge(contrast.Config(weights=GROWTH, above=0), frame)
    with pytest.raises(ValidationError):
        contrast.Config(weights=GROWTH)


# --- curves ------------------------------------------------------------------------------------------

EPS = np.linspace(0, 1, 11)


def curves(tmp_path, **heights) -> pd.DataFrame:
    """role -> curves by seed."""
    paths = {}
    for role, lines in heights.items():
        paths[role] = []
        for seed, line in enumerate(lines):
            paths[role].append(tmp_path / f"{role}{seed}.npz")
            np.savez(paths[role][-1], eps=EPS, accuracy=line)
    return rows({role: [0.0] * len(lines) for role, lines in heights.items()}, paths)


def bound(frame, **options):
    return curve_bound.judge(curve_bound.Config(x="eps", y="accuracy", **options), frame)


def test_the_worst_place_of_a_difference_decides(tmp_path):
    high = [1 - EPS + 0.01 * s for s in range(3)]
    low = [1 - EPS - np.where(EPS > 0.55, 0.3, 0.05) for _ in range(3)]
    frame = curves(tmp_path, high=high, low=low)
    near = bound(frame, until=0.5, below=0.1)
    assert near.verdict == "confirmed"
    assert near.effect == pytest.approx(0.06)
    far = bound(frame, below=0.1)
    assert far.verdict == "contradicted"
    assert far.effect == pytest.approx(0.31)
    assert bound(frame, since=0.6, above=0.25).verdict == "confirmed"


def test_a_single_curve_and_noise_about_the_bound(tmp_path):
    frame = curves(tmp_path, value=[0.5 - 0.4 * EPS + shift for shift in (-0.05, 0, 0.05)])
    assert bound(frame, until=0.5, above=0.3).verdict == "inconclusive"
    assert bound(frame, until=0.2, above=0.2).verdict == "confirmed"
    assert bound(frame, since=0.9, above=0.4).verdict == "contradicted"


def test_curves_of_two_seeds_say_nothing_and_empty_ranges_are_errors(tmp_path):
    frame = curves(tmp_path, value=[EPS, EPS])
    assert bound(frame, above=-1).verdict == "inconclusive"
    with pytest.raises(DataError, match="no place of 'eps' in the range"):
        bound(frame, since=2, above=0)
    with pytest.raises(ValidationError):
        curve_bound.Config(x="eps", y="accuracy", above=0, below=1)


def threshold_curves(tmp_path, **margins) -> pd.DataFrame:
    """role -> sizes that break each example; one run each."""
    paths = {}
    for role, distance in margins.items():
        paths[role] = [tmp_path / f"{role}.npz"]
        accuracy = (distance[:, None] > EPS).mean(0)
        np.savez(paths[role][0], eps=EPS, accuracy=accuracy, distance=distance)
    return rows({role: [0.0] for role in margins}, paths)


def test_given_models_are_judged_over_examples(tmp_path):
    distance = np.random.default_rng(0).uniform(0, 1, 800)
    frame = threshold_curves(tmp_path, high=distance + 0.2, low=distance)
    options = {"about": "models", "examples": "distance"}
    apart = bound(frame, since=0.3, until=0.9, above=0.1, **options)
    assert apart.verdict == "confirmed"
    assert "800 test examples" in apart.reason
    assert apart.effect == pytest.approx(0.2, abs=0.04)
    assert apart.interval[0] < apart.effect < apart.interval[1]
    whole = bound(frame, below=0.15, **options)
    assert whole.verdict == "contradicted"
    assert bound(frame, below=whole.effect + 0.005, **options).verdict == "inconclusive"
    method = bound(frame, since=0.3, until=0.9, above=0.1)
    assert method.verdict == "inconclusive"
    assert method.interval is None


def test_the_bootstrap_is_paired_by_example(tmp_path):
    """Each accuracy is uncertain by some hundredths; their difference, of the same examples, is not."""
    distance = np.random.default_rng(1).uniform(0, 1, 400)
    distance = np.append(distance, [0.49] * 8)
    frame = threshold_curves(tmp_path, high=np.where(distance == 0.49, 0.55, distance), low=distance)
    found = bound(frame, since=0.5, until=0.5, above=0, about="models", examples="distance")
    assert found.verdict == "confirmed"
    assert found.effect == pytest.approx(8 / 408)


def test_examples_that_the_curve_is_not_the_mean_of_are_refused(tmp_path):
    frame = threshold_curves(tmp_path, value=np.linspace(0, 1, 50))
    np.savez(frame["arrays"][0], eps=EPS, accuracy=1 - EPS, distance=np.ones(50))
    found = bound(frame, above=-1, about="models", examples="distance")
    assert found.verdict == "inconclusive"
    assert "not the mean of its array 'distance'" in found.reason
    absent = bound(frame, above=-1, about="models", examples="radius")
    assert absent.verdict == "inconclusive"
    assert "no array 'radius'" in absent.reason
    with pytest.raises(ValidationError, match="examples"):
        curve_bound.Config(x="eps", y="accuracy", above=0, about="models")


def test_curves_that_are_not_finite_are_left_out_and_diverged_ones_counted(tmp_path):
    frame = curves(tmp_path, value=[0.5 - 0.1 * EPS + s / 100 for s in range(4)] + [EPS * np.nan])
    found = bound(frame, above=0.3)
    assert found.verdict == "confirmed"
    assert found.n_seeds == 4
    assert "1 curves not finite, left out" in found.reason
    frame.loc[0, "status"] = "diverged"
    found = bound(frame, above=0.3)
    assert "1 of 5 diverged" in found.reason
    assert "without them 0.42" in found.reason


def test_curves_without_arrays_or_of_other_places_are_errors(tmp_path):
    frame = curves(tmp_path, high=[EPS] * 3, low=[EPS] * 3)
    with pytest.raises(DataError, match="no array 'loss'"):
        curve_bound.judge(curve_bound.Config(x="eps", y="loss", above=0), frame)
    np.savez(frame["arrays"][5], eps=2 * EPS, accuracy=EPS)
    with pytest.raises(DataError, match="not over the same"):
        bound(frame, below=1)
    frame.loc[1, "arrays"] = None
    with pytest.raises(DataError, match="high1: no arrays"):
        bound(frame, below=1)


# --- convergence -------------------------------------------------------------------------------------

SETTLED = 1 - 0.5 ** np.arange(11)


def settles(frame, **options):
    return converges.judge(converges.Config(x="eps", y="accuracy", direction="up", **options), frame)


def test_a_curve_that_rises_ever_less_converges(tmp_path):
    frame = curves(tmp_path, value=[SETTLED + 0.1 * s for s in range(3)])
    found = settles(frame)
    assert found.verdict == "confirmed"
    assert found.n_seeds == 3
    # The smallest step is the last, 2^-10; share of 1 - 2^-10.
    assert "every step: 0.000977" in found.measured
    assert "last step: 0.0989" in found.measured
    assert settles(frame, share=0.0005).verdict == "contradicted"
    assert settles(frame, margin=0.01).verdict == "contradicted"


def test_straight_falling_and_noisy_curves_do_not_converge(tmp_path):
    assert settles(curves(tmp_path, value=[2 * EPS] * 3), share=0.05).verdict == "contradicted"
    falling = curves(tmp_path, value=[-SETTLED] * 3)
    assert settles(falling).verdict == "contradicted"
    down = converges.Config(x="eps", y="accuracy", direction="down")
    assert converges.judge(down, falling).verdict == "confirmed"
    noisy = curves(tmp_path, value=[SETTLED + shift * EPS for shift in (-0.4, 0.3, 0.3)])
    assert settles(noisy, margin=-1).verdict == "confirmed"
    assert settles(noisy).verdict == "inconclusive"


def test_convergence_of_one_model_over_its_examples(tmp_path):
    losses = SETTLED * np.random.default_rng(2).uniform(0.5, 1.5, 300)[:, None]
    frame = curves(tmp_path, value=[losses.mean(0)])
    np.savez(frame["arrays"][0], eps=EPS, accuracy=losses.mean(0), losses=losses)
    found = settles(frame, about="models", examples="losses")
    assert found.verdict == "confirmed"
    assert "300 test examples" in found.reason
    assert settles(frame).verdict == "inconclusive"
    with pytest.raises(DataError, match="3 places are needed in the range, found 2"):
        settles(frame, since=0.9)


# --- means over some of the examples -----------------------------------------------------------------


def conditional(tmp_path, runs: int = 1) -> pd.DataFrame:
    """Means of `l1` over all examples, over those that `held`, and over the others."""
    values, paths = {"broken": [], "all": [], "held": []}, {"broken": [], "all": [], "held": []}
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        held = rng.random(500) < 0.6
        l1 = rng.exponential(np.where(held, 1.0, 5.0))
        path = tmp_path / f"run{seed}.npz"
        np.savez(path, l1=l1, held=held)
        for role, among in (("broken", ~held), ("all", np.ones(500, bool)), ("held", held)):
            values[role].append(l1[among].mean())
            paths[role].append(path)
    return rows(values, paths)


ARRAYS = {"broken": "l1 where not held", "all": "l1", "held": "l1 where held"}


@pytest.mark.parametrize("runs", [1, 2])
def test_conditional_means_of_given_models(tmp_path, runs):
    frame = conditional(tmp_path, runs)
    options = {"about": "models", "array": ARRAYS}
    found = ordering.judge(ordering.Config(order=("broken", "all", "held"), **options), frame)
    assert found.verdict == "confirmed"
    assert "500 test examples" in found.reason
    found = ordering.judge(ordering.Config(order=("all", "broken", "held"), **options), frame)
    assert found.verdict == "contradicted"
    frame = frame.replace({"role": {"broken": "high", "held": "low"}})
    arrays = {"high": ARRAYS["broken"], "low": ARRAYS["held"]}
    apart = difference.judge(difference.Config(above=3, about="models", array=arrays), frame)
    broken, held = (frame.loc[frame["role"] == role, "value"].mean() for role in ("high", "low"))
    assert apart.effect == pytest.approx(broken - held)
    assert apart.interval[0] < apart.effect < apart.interval[1]
    # Of two means over n and m of 500 examples, per run: the width of the interval is that of the normal one.
    width = 2 * 1.96 * np.sqrt((25 / 200 + 1 / 300) / runs)
    assert apart.interval[1] - apart.interval[0] == pytest.approx(width, rel=0.25)


def test_a_condition_that_is_not_there_is_named(tmp_path):
    frame = conditional(tmp_path)
    array = {**ARRAYS, "held": "l1 where correct"}
    config = ordering.Config(order=("broken", "all", "held"), about="models", array=array)
    found = ordering.judge(config, frame)
    assert found.verdict == "inconclusive"
    assert "no array 'l1 where correct'" in found.reason
