"""Weighted sums and bounds of curves: every verdict on made-up results."""

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from pagrepro.claims import contrast, curve_bound
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
            found.append([role, role, f"{role}{seed}", seed, {}, "d", "n", "complete", "accuracy", value, path])
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
    assert found.verdict == "inconclusive" and found.interval is None


def test_contrast_about_given_models(tmp_path):
    correct = {"a": 0.9, "b": 0.5, "c": 0.6, "d": 0.5}
    paths = {}
    for role, share in correct.items():
        paths[role] = [tmp_path / f"{role}.npz"]
        np.savez(paths[role][0], correct=np.arange(1000) < 1000 * share)
    frame = rows({role: [share] for role, share in correct.items()}, paths)
    found = contrast.judge(contrast.Config(weights=GROWTH, above=0.2, about="models"), frame)
    assert found.verdict == "confirmed" and found.effect == pytest.approx(0.3)


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
    assert near.verdict == "confirmed" and near.effect == pytest.approx(0.06)
    far = bound(frame, below=0.1)
    assert far.verdict == "contradicted" and far.effect == pytest.approx(0.31)
    assert bound(frame, since=0.6, above=0.25).verdict == "confirmed"


def test_a_single_curve_and_noise_about_the_bound(tmp_path):
    frame = curves(tmp_path, value=[0.5 - 0.4 * EPS + shift for shift in (-0.05, 0, 0.05)])
    assert bound(frame, until=0.5, above=0.3).verdict == "inconclusive"
    assert bound(frame, until=0.2, above=0.2).verdict == "confirmed"
    assert bound(frame, since=0.9, above=0.4).verdict == "contradicted"


def test_curves_of_two_seeds_say_nothing_and_empty_ranges_are_errors(tmp_path):
    frame = curves(tmp_path, value=[EPS, EPS])
    assert bound(frame, above=-1).verdict == "inconclusive"
    with pytest.raises(DataError, match="no finite values in the range"):
        bound(frame, since=2, above=0)
    with pytest.raises(ValidationError):
        curve_bound.Config(x="eps", y="accuracy", above=0, below=1)
