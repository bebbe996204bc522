"""Curves of a sweep from results: every run at its place, gaps left open."""

import numpy as np
import pandas as pd
import pytest
from made_up import context, put
from sweep_curves import put_sweep

from pagrepro import sweeps
from pagrepro.errors import DataError

MEASURED = {"on": ("sensitivity", "on"), "accuracy": ("clean", "accuracy")}


def test_points_and_curves(tmp_path):
    groups = {"g": put_sweep(tmp_path, "g", seeds=2, noise=0.0, strengths=[1.0, 0.1, 10.0],
                             on=[0.2, 0.1, 0.3], off=[0.5] * 3, accuracy=[0.8, 0.9, 0.7], alignment=None,
                             status={"g_2_s1": "diverged"})}  # fmt: skip
    points = sweeps.points(context(tmp_path, groups), "g", MEASURED, "strength")
    assert points["strength"].tolist() == [0.1, 0.1, 1, 1, 10, 10]
    assert points["run"].tolist()[:2] == ["g_1_s0", "g_1_s1"]
    found = sweeps.from_points(points, ["on", "accuracy"])
    assert (found.strengths.tolist(), found.seeds, found.runs) == ([0.1, 1, 10], (0, 1), 6)
    assert found.values["on"].tolist() == [[0.1, 0.2, 0.3]] * 2
    assert found.mean("accuracy") == pytest.approx([0.9, 0.8, 0.7])
    assert found.diverged.tolist() == [[False] * 3, [False, False, True]]
    assert np.isnan(found.without_diverged().values["on"]).tolist() == found.diverged.tolist()


def test_missing_values_are_not_numbers(tmp_path):
    groups = {"g": put_sweep(tmp_path, "g", seeds=1, strengths=[1.0, 2.0], on=[0.2, 0.1], off=[0.5] * 2,
                             accuracy=[0.8, 0.9], alignment=None)}  # fmt: skip
    groups["g"]["missing"] = {"sensitivity": "no autoencoder"}
    points = sweeps.points(context(tmp_path, groups), "g", MEASURED, "strength")
    assert points["on"].isna().all()
    assert points["accuracy"].notna().all()
    put(tmp_path, "g_0_s0", "clean", {"accuracy": None})
    found = sweeps.from_points(
        sweeps.points(context(tmp_path, groups), "g", MEASURED, "strength"), ["accuracy"]
    )
    assert np.isnan(found.values["accuracy"][0, 0])


def test_over_seeds_takes_what_is_finite():
    mean, low, high = sweeps.over_seeds(np.array([[1.0, np.nan, np.inf], [3.0, np.nan, 2.0]]))
    assert mean[[0, 2]].tolist() == [2, 2]
    assert (low[[0, 2]].tolist(), high[[0, 2]].tolist()) == ([1, 2], [3, 2])
    assert np.isnan([mean[1], low[1], high[1]]).all()


def test_errors_name_run_and_label(tmp_path):
    groups = {"g": put_sweep(tmp_path, "g", seeds=1, strengths=[1.0], on=[1], off=[1], accuracy=[1],
                             alignment=None)}  # fmt: skip
    with pytest.raises(DataError, match="g_0_s0 has no numeric label 'lambda'; it has: strength, index"):
        sweeps.points(context(tmp_path, groups), "g", MEASURED, "lambda")
    row = {"run": "a", "seed": 0, "strength": 0.5, "status": "complete", "on": 1.0}
    with pytest.raises(DataError, match=r"the same seed 0 and strength 0\.5"):
        sweeps.from_points(pd.DataFrame([row, row]), ["on"])
