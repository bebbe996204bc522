"""Figures with one line per group: histograms, curves, scatter plots, and rows of maps."""

import json

import numpy as np
import pytest
from made_up import context, group, put
from matplotlib.colors import to_hex
from pydantic import ValidationError
from test_run_figures import all_axes, shown
from test_run_figures import texts as texts_of_axes

from pagrepro import artifact, palette, plugins
from pagrepro.errors import DataError
from pagrepro.figures import _lines as lines
from pagrepro.figures import _maps as maps
from pagrepro.figures import _pictures as pictures
from pagrepro.layout import Layout

GONE = "no ImageNet; set `paths: {imagenet: /folder}`"
LINES = [{"label": n.upper(), "group": n} for n in ("at", "gn", "gone")]


def draw(results, groups, figure, **more):
    return artifact.draw(context(results, groups, figure=figure, **more))


def texts(figure):
    """All words of a figure, its title lines on the left and its legends too."""
    found = [texts_of_axes(figure)] + [axes.get_title("left") for axes in figure.axes]
    boxes = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    found += [t.get_text() for box in boxes if box is not None for t in box.get_texts()]
    return "\n".join(found).replace("\n", " ")


def curves_of(axes):
    """label -> (x, y)"""
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in axes.get_lines()}


def band_of(axes):
    """(lowest, highest) of the first band."""
    points = axes.collections[0].get_paths()[0].vertices
    return points[:, 1].min(), points[:, 1].max()


def made(*names, seeds=2, **more):
    found = {
        n: group(*(f"{n}_s{s}" for s in range(seeds)), labels={"method": n, "activation": "gelu"}, **more)
        for n in names
    }
    return {**found, "gone": group(not_testable=GONE)}


# --- histograms ---------------------------------------------------------------------------------------

L1 = np.array([0.0, 0.01, 0.02, 0.02, 50.0, 60.0, 70.0, 1000.0])
CORRECT = np.array([True, True, True, True, False, False, False, True])
HISTOGRAMS = {
    "name": "histograms", "lines": LINES, "evaluation": "gradients", "array": "l1",
    "xlabel": "norm", "bins": 5,
    "panels": [{"label": "all"}, {"label": "correct", "mask": "clean_correct"},
               {"label": "wrong", "mask": "clean_correct", "keep": False, "lines": ["AT"]}],
}  # fmt: skip


@pytest.fixture
def norms(tmp_path):
    for name, factor in (("at", 1.0), ("gn", 10.0)):
        for seed in range(2):
            arrays = {"l1": (factor * L1).astype(np.float32), "clean_correct": CORRECT}
            put(tmp_path, f"{name}_s{seed}", "gradients", {"l1": 1.0}, arrays)
    return made("at", "gn")


def test_histograms_pool_seeds_and_select_by_a_mask(tmp_path, norms):
    result = draw(tmp_path, norms, HISTOGRAMS)
    frame = result.frame.set_index(["panel", "line"])
    assert frame.loc[("all", "AT"), "examples"].unique().tolist() == [16]
    assert frame.loc[("all", "AT"), "zeros"].unique().tolist() == [2]
    # Zeros have no logarithm; everything else is counted. Edges are from 0.01 to 10,000, of both lines.
    assert frame.loc[("all", "AT"), "count"].tolist() == [6, 0, 0, 6, 2]
    assert frame.loc[("all", "GN"), "count"].tolist() == [2, 4, 0, 4, 4]
    edges = np.array([*frame.loc[("all", "GN"), "low"], frame.loc[("all", "GN"), "high"].iloc[-1]])
    assert edges == pytest.approx(np.logspace(-2, 4, 6), rel=1e-6)
    assert frame.loc[("correct", "AT"), "count"].tolist() == [6, 0, 0, 0, 2]
    assert frame.loc[("correct", "AT"), "mean"].iloc[0] == pytest.approx(1000.05 / 5, rel=1e-6)
    wrong = frame.loc[("wrong", "AT")]
    assert wrong["count"].sum() == 6
    assert wrong["std"].iloc[0] == pytest.approx(np.std([50, 60, 70] * 2, ddof=1))
    assert ("wrong", "GN") not in frame.index
    seen = texts(result.figure)
    assert "AT: 60 ± 8.94 (n = 6)" in seen
    assert "(n = 16, 2 zero)" in seen
    assert "digits with cifar_resnet18 w8: AT (2 runs), GN (2 runs)" in seen
    assert f"GONE: not testable: {GONE}" in seen
    # Of every line its filling, then its outline.
    heights, ends, _ = result.figure.axes[0].patches[1].get_data()
    assert (heights * np.diff(np.log10(ends))).sum() == pytest.approx(1)


def test_histograms_with_a_floor_and_of_one_seed(tmp_path, norms):
    result = draw(tmp_path, norms, {**HISTOGRAMS, "floor": 1e-16, "seed": 1})
    frame = result.frame.set_index(["panel", "line"]).loc[("all", "AT")]
    assert frame["examples"].iloc[0] == 8
    assert frame["count"].sum() == 8
    assert frame["low"].iloc[0] == pytest.approx(1e-16)
    assert frame["mean"].iloc[0] == pytest.approx(L1.mean())


def test_histograms_of_what_is_not_finite_or_all_the_same(tmp_path):
    put(tmp_path, "at_s0", "gradients", {}, {"l1": np.array([3.0, 3.0, np.nan])}, status="diverged")
    groups = made("at", seeds=1)
    figure = {**HISTOGRAMS, "lines": [LINES[0]], "panels": [{"label": "all"}]}
    result = draw(tmp_path, groups, figure)
    assert result.frame["count"].sum() == 2
    seen = texts(result.figure)
    assert "AT: 3 ± 0 (n = 3, 1 not finite)" in seen
    assert "AT (1 run, 1 diverged)" in seen
    put(tmp_path, "at_s0", "gradients", {}, {"l1": np.array([np.nan])})
    assert "AT: nan (n = 1, 1 not finite)" in texts(draw(tmp_path, groups, figure).figure)


def test_histograms_that_cannot_be_drawn(tmp_path, norms):
    with pytest.raises(ValidationError, match="lines that are not there: XX"):
        draw(tmp_path, norms, {**HISTOGRAMS, "panels": [{"label": "all", "lines": ["XX"]}]})
    with pytest.raises(ValidationError, match="two panels have the same label"):
        draw(tmp_path, norms, {**HISTOGRAMS, "panels": [{"label": "all"}] * 2})
    with pytest.raises(DataError, match=r"'l1' is float32 \(16,\), expected bool \(16,\)"):
        draw(tmp_path, norms, {**HISTOGRAMS, "panels": [{"label": "all", "mask": "l1"}]})
    lines = [{**LINES[0], "where": {"activation": "relu"}}]
    with pytest.raises(DataError, match=r"no run of at has the labels \{'activation': 'relu'\}"):
        draw(tmp_path, norms, {**HISTOGRAMS, "lines": lines, "panels": [{"label": "all"}]})
    put(tmp_path, "at_s0", "gradients", {}, {"l1": -L1, "clean_correct": CORRECT})
    with pytest.raises(DataError, match="'l1' has negative numbers"):
        draw(tmp_path, norms, HISTOGRAMS)
    put(tmp_path, "at_s0", "gradients", {}, {"l1": np.ones((2, 2)), "clean_correct": CORRECT})
    with pytest.raises(DataError, match="one number per example"):
        draw(tmp_path, norms, HISTOGRAMS)


# --- entry_histograms ---------------------------------------------------------------------------------

ENTRIES = {"name": "entry_histograms", "lines": LINES, "evaluation": "gradients"}


def put_entries(results, run, channels, factor=1):
    """Four decades; channel c has c zeros, one entry below the bins, two above."""
    rows = np.array([[1, 10, 20, 30, 0, 2]] * channels) * factor
    zeros = np.arange(channels) * factor
    if channels:
        rows, zeros = np.vstack([rows.sum(0), rows]), np.array([zeros.sum(), *zeros])
    arrays = {"histogram_edges": 10.0 ** np.arange(-4, 1), "histogram": rows, "histogram_zero": zeros}
    put(results, run, "gradients", {}, arrays)


def test_entry_histograms_per_channel_with_zeros_at_the_left(tmp_path):
    for seed in range(2):
        put_entries(tmp_path, f"at_s{seed}", 3)
        put_entries(tmp_path, f"gn_s{seed}", 3, 5)
    result = draw(tmp_path, made("at", "gn"), ENTRIES)
    frame = result.frame.set_index(["panel", "line"])
    assert list(dict.fromkeys(result.frame["panel"])) == [
        "all entries",
        "channel R",
        "channel G",
        "channel B",
    ]
    blue = frame.loc[("channel B", "GN")]
    assert blue["count"].tolist() == [20, 10, 100, 200, 300, 0, 20]
    assert blue["low"].tolist() == pytest.approx([0, 0, 1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert blue["high"].tolist() == pytest.approx([0, 1e-4, 1e-3, 1e-2, 1e-1, 1, np.inf])
    assert blue["share"].sum() == pytest.approx(1)
    # Shares do not depend on how many entries were counted.
    assert frame.loc[("channel B", "AT"), "share"].tolist() == pytest.approx(blue["share"].tolist())
    seen = texts(result.figure)
    assert "GN: 3.08 % zero, 1.5 % below 1e-04, 3.1 % above 1e+00" in seen
    assert GONE in seen
    axes = result.figure.axes[3]
    bars = [bar for bar in axes.patches if hasattr(bar, "get_height")]
    assert [bar.get_height() for bar in bars] == pytest.approx([2 / 65] * 2)
    assert all(bar.get_x() < -4 for bar in bars)
    assert axes.get_xticklabels()[0].get_text() == "0"


def test_entry_histograms_of_a_single_channel_and_of_none(tmp_path):
    groups = made("at", "gn", seeds=1)
    for name in ("at", "gn"):
        put_entries(tmp_path, f"{name}_s0", 1)
    result = draw(tmp_path, groups, ENTRIES)
    assert set(result.frame["panel"]) == {"all entries"}
    put_entries(tmp_path, "at_s0", 3)
    with pytest.raises(DataError, match="2 names for 3 channels"):
        draw(tmp_path, groups, {**ENTRIES, "lines": LINES[:1], "channels": ["a", "b"]})
    with pytest.raises(DataError, match=r"different numbers of channels: \[1, 3\]"):
        draw(tmp_path, groups, ENTRIES)
    empty = draw(tmp_path, groups, {**ENTRIES, "lines": LINES[2:]})
    assert GONE in texts(empty.figure)
    assert empty.frame.empty


# --- edge_scatter -------------------------------------------------------------------------------------

SCATTER = {"name": "edge_scatter", "evaluation": "edges", "image": 1}
ENERGY = 10.0 ** np.arange(-6, 10).reshape(4, 4)


@pytest.fixture
def edges(tmp_path):
    for name, power in (("at", 2.0), ("gn", -0.5)):
        for seed in range(2):
            first = np.ones((4, 4))
            arrays = {
                "edges": np.stack([first, ENERGY]), "saliency_maps": np.stack([first, ENERGY**power]),
                "loss_gradient_maps": np.stack([first, np.full((4, 4), 0.5 * seed)]),
            }  # fmt: skip
            put(
                tmp_path, f"{name}_s{seed}", "edges", {}, {k: v.astype(np.float32) for k, v in arrays.items()}
            )
    return made("at", "gn")


def test_edge_scatter(tmp_path, edges):
    floors = {"energy_floor": 1e-7, "gradient_floor": 1e-30}
    result = draw(tmp_path, edges, {**SCATTER, "lines": LINES, **floors})
    frame = result.frame.set_index(["line", "map"])
    assert frame.loc[("AT", "saliency"), "log10_energy"].tolist() == pytest.approx(list(range(-6, 10)))
    assert frame.loc[("AT", "saliency"), "log10_gradient"].tolist() == pytest.approx(list(range(-12, 20, 2)))
    assert frame.loc[("AT", "saliency"), "r"].iloc[0] == pytest.approx(1)
    assert frame.loc[("GN", "saliency"), "r"].iloc[0] == pytest.approx(-1)
    assert frame.loc[("GN", "loss_gradient"), "r"].isna().all()
    assert frame.loc[("GN", "loss_gradient"), "gradient_raised"].all()
    seen = texts(result.figure)
    assert "AT r = +1.00" in seen
    assert "GN r = -1.00" in seen
    assert seen.count("r is undefined (16 at the floor)") == 2
    assert seen.count(GONE) == 2
    assert "AT (seed 0)" in seen


def test_edge_scatter_floors_and_draws_some_pixels_but_counts_all(tmp_path, edges):
    lines = [LINES[0]]
    result = draw(tmp_path, edges, {**SCATTER, "lines": lines, "points": 4, "seed": 1, "maps": ["saliency"]})
    assert result.frame["run"].unique().tolist() == ["at_s1"]
    assert result.frame["pixel"].tolist() == [0, 4, 8, 12]
    assert result.frame["log10_energy"].tolist() == pytest.approx([-3, -2, 2, 6])
    x = np.maximum(np.arange(-6, 10), -3)
    expected = np.corrcoef(x, 2 * np.arange(-6, 10))[0, 1]
    assert result.frame["r"].tolist() == pytest.approx([expected] * 4)
    with pytest.raises(DataError, match="image 2; there are 2 images"):
        draw(tmp_path, edges, {**SCATTER, "lines": lines, "image": 2})


# --- mean_curves --------------------------------------------------------------------------------------

EPS = np.array([0.0, 1.0, 2.0, 4.0]) / 255
WHOLE = {"label": "PGD-100", "evaluation": "search", "x": "eps", "y": "accuracy", "x_scale": 255,
         "y_scale": 100, "xlabel": "eps", "ylabel": "accuracy (%)"}  # fmt: skip
ALONG = {
    "label": "loss",
    "evaluation": "profile",
    "x": "weight",
    "y": "loss",
    "xlabel": "w",
    "ylabel": "loss",
}
LOSS = np.array([[1.0, 2, 3], [3, 4, 5], [5, 6, 7], [np.nan, 0, 0]])
HOLDS = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], bool)


@pytest.fixture
def profiles(tmp_path):
    for name in ("at", "gn"):
        for seed in range(2):
            arrays = {"eps": EPS, "accuracy": np.array([0.8, 0.6, 0.4, 0.0]) + 0.1 * seed}
            put(tmp_path, f"{name}_s{seed}", "search", {}, arrays)
            arrays = {"weight": np.array([0.0, 1, 2]), "loss": LOSS + 10 * seed, "correct": HOLDS,
                      "clean": HOLDS[:, 1]}  # fmt: skip
            put(tmp_path, f"{name}_s{seed}", "profile", {}, arrays)
    groups = made("at", "gn")
    groups["gn"]["missing"] = {"profile": "too expensive"}
    return groups


def test_mean_curves_over_seeds(tmp_path, profiles):
    panel = {**WHOLE, "horizontal": 10, "horizontal_label": "chance"}
    result = draw(tmp_path, profiles, {"name": "mean_curves", "lines": LINES, "panels": [panel]})
    (axes,) = result.figure.axes
    x, y = curves_of(axes)["AT"]
    assert x == pytest.approx([0, 1, 2, 4])
    assert y == pytest.approx([85, 65, 45, 5])
    assert band_of(axes) == pytest.approx((0, 90))
    assert curves_of(axes)["chance"][1] == [10, 10]
    assert len(result.frame) == 2 * 2 * 4
    assert result.frame.query("run == 'gn_s1'")["y"].tolist() == pytest.approx([90, 70, 50, 10])
    seen = texts(result.figure)
    assert f"GONE: not testable: {GONE}" in seen
    assert "AT (2 runs), GN (2 runs)" in seen


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [3, 4, 5]),
        ({"mask": "correct"}, [3, 3, 3]),
        ({"mask": "correct", "mask_point": 1}, [2, 3, 4]),
        ({"mask": "correct", "mask_point": -1}, [1, 2, 3]),
        ({"mask": "clean"}, [2, 3, 4]),
    ],
)
def test_mean_curves_of_curves_per_example(tmp_path, profiles, options, expected):
    """The fourth example is not finite at one point, and is left out at all."""
    panels = [{**ALONG, **options}, {**WHOLE, "label": "PGD"}]
    result = draw(tmp_path, profiles, {"name": "mean_curves", "lines": LINES, "panels": panels})
    assert result.frame.query("panel == 'loss' and run == 'at_s0'")["y"].tolist() == expected
    assert curves_of(result.figure.axes[0])["AT"][1] == pytest.approx(np.array(expected) + 5)
    seen = texts(result.figure)
    assert "GN, loss: not testable: too expensive" in seen
    assert result.figure.get_supxlabel().count("GONE: not testable") == 1


def test_mean_curves_of_some_lines_on_logarithmic_axes(tmp_path, profiles):
    panel = {**WHOLE, "lines": ["GN"], "log_x": True, "log_y": True}
    put(tmp_path, "gn_s0", "search", {}, {"eps": EPS, "accuracy": np.full(4, np.nan)}, status="diverged")
    put(tmp_path, "gn_s1", "search", {}, {"eps": EPS, "accuracy": np.array([0.9, 0.5, 0.1, 0.0])})
    result = draw(tmp_path, profiles, {"name": "mean_curves", "lines": LINES, "panels": [panel]})
    (axes,) = result.figure.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("symlog", "log")
    # Zero has no place on the axis, and a run without numbers no part in the mean.
    assert curves_of(axes)["GN"][1] == pytest.approx([90, 50, 10])
    seen = texts(result.figure)
    assert "GN (2 runs, 1 diverged)" in seen
    assert set(result.frame["status"]) == {"complete", "diverged"}


def test_mean_curves_that_cannot_be_drawn(tmp_path, profiles):
    def figure(**more):
        return {"name": "mean_curves", "lines": LINES[:1], "panels": [{**ALONG, **more}]}

    with pytest.raises(DataError, match=r"'loss' is float64 \(4, 3\), expected bool \(4, 3\)"):
        draw(tmp_path, profiles, figure(mask="loss"))
    with pytest.raises(DataError, match=r"'clean' is bool \(4,\), expected bool \(4, 3\)"):
        draw(tmp_path, profiles, figure(mask="clean", mask_point=0))
    with pytest.raises(DataError, match="point 3 of 3"):
        draw(tmp_path, profiles, figure(mask="correct", mask_point=3))
    put(tmp_path, "at_s1", "profile", {}, {"weight": np.array([0.0, 1, 3]), "loss": LOSS})
    with pytest.raises(DataError, match="at_s1: 'loss' over another 'weight' than at_s0"):
        draw(tmp_path, profiles, figure())
    gone = draw(tmp_path, profiles, {**figure(), "lines": LINES[2:]})
    assert GONE in texts(gone.figure)
    assert gone.frame.empty


# --- monitor_curves -----------------------------------------------------------------------------------


def put_history(results, run, values, every=1):
    """values: accuracy under PGD epoch by epoch, measured every few of them."""
    path = Layout(results).history(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "epoch": epoch, "metrics": {"loss": 1 / epoch}, "wall_s": 1.0,
            "monitor": {"pgd10": {"accuracy": value, "loss": 1.0}} if epoch % every == 0 else {},
        }
        for epoch, value in enumerate(values, 1)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


MONITOR = {"label": "PGD-10", "monitor": "pgd10", "value": "accuracy", "scale": 100, "ylabel": "accuracy (%)"}
TRAINING = {"label": "loss", "value": "loss", "ylabel": "loss"}


@pytest.fixture
def histories(tmp_path):
    put_history(tmp_path, "at_s0", [0, 0.1, 0, 0.3, 0, 0.5], every=2)
    put_history(tmp_path, "at_s1", [0, 0.2, 0, 0.4, 0, 0.6], every=2)
    put_history(tmp_path, "gn_s0", [0.3, 0.4, None, 0.5])
    put_history(tmp_path, "gn_s1", [0.3, 0.2])
    return made("at", "gn")


def test_monitor_curves(tmp_path, histories):
    figure = {"name": "monitor_curves", "lines": LINES, "panels": [MONITOR, TRAINING]}
    result = draw(tmp_path, histories, figure)
    left, right = result.figure.axes
    x, y = curves_of(left)["AT"]
    assert (x.tolist(), y.tolist()) == ([2, 4, 6], pytest.approx([15, 35, 55]))
    x, y = curves_of(left)["GN"]
    # Nothing where no run has a number; the only run that is left where another ended.
    assert (x.tolist(), y.tolist()) == ([1, 2, 4], pytest.approx([30, 30, 50]))
    assert curves_of(right)["AT"][1] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6])
    rows = result.frame.query("panel == 'PGD-10' and run == 'gn_s0'")
    assert rows["epoch"].tolist() == [1, 2, 3, 4]
    assert rows["value"].isna().tolist() == [False, False, True, False]
    seen = texts(result.figure)
    assert "GN (2 runs, 1 ended early)" in seen
    assert "AT (2 runs)" in seen
    assert f"GONE: not testable: {GONE}" in seen


def test_monitor_curves_by_labels(tmp_path, histories):
    histories["gn"]["runs"][1]["labels"]["activation"] = "relu"
    lines = [{"label": a, "group": "gn", "where": {"activation": a}} for a in ("gelu", "relu")]
    figure = {"name": "monitor_curves", "lines": lines, "panels": [MONITOR]}
    result = draw(tmp_path, histories, figure)
    assert set(result.frame.query("line == 'relu'")["run"]) == {"gn_s1"}
    # Two lines of one objective have one colour and mark; dash and filling tell them apart.
    first, second = result.figure.axes[0].get_lines()
    assert to_hex(first.get_color()) == to_hex(second.get_color()) == palette.OTHER.colour
    assert first.get_marker() == second.get_marker() == palette.OTHER.marker
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_markerfacecolor() != second.get_markerfacecolor()
    lines[0]["where"] = {"activation": "silu"}
    with pytest.raises(DataError, match=r"no run of gn has the labels \{'activation': 'silu'\}"):
        draw(tmp_path, histories, figure)


def test_monitor_curves_of_monitors_that_are_not_there(tmp_path, histories):
    figure = {"name": "monitor_curves", "lines": LINES[:1], "panels": [{**MONITOR, "monitor": "pgd50"}]}
    with pytest.raises(DataError, match=r"AT: no pgd50\.accuracy .*there are: pgd10\.accuracy, pgd10\.loss"):
        draw(tmp_path, histories, figure)
    with pytest.raises(DataError, match=r"no penalty in the histories; there are: loss"):
        draw(tmp_path, histories, {**figure, "panels": [{**TRAINING, "value": "penalty"}]})
    # A fit that diverged before the first measurement is no mistake.
    for seed in range(2):
        put_history(tmp_path, f"at_s{seed}", [0.1], every=5)
    result = draw(tmp_path, histories, {**figure, "lines": LINES[:2], "panels": [MONITOR]})
    assert set(result.frame["line"]) == {"GN"}
    gone = draw(tmp_path, histories, {**figure, "lines": LINES[2:]})
    assert GONE in texts(gone.figure)
    assert gone.frame.empty


# --- label_curves -------------------------------------------------------------------------------------

PUBLISHED = {"x": [0.8, 1.2, 1.9], "y": [79.9, 77.9, 0.1]}
SWEEP = {
    "name": "label_curves", "group": "gn", "label": "GN",
    "quantities": [{"label": "clean", "evaluation": "clean", "published": PUBLISHED},
                   {"label": "AutoAttack", "evaluation": "aa"}],
    "references": [{"label": "AT", "group": "at"}, {"label": "NAT", "group": "gone"}],
}  # fmt: skip


@pytest.fixture
def weights(tmp_path):
    runs = []
    for seed in range(2):
        for strength in (1.4, 0.8):
            run = f"gn_{strength}_s{seed}"
            put(tmp_path, run, "clean", {"accuracy": 0.9 - strength / 10 + seed / 100})
            put(tmp_path, run, "aa", {"accuracy": strength / 10})
            runs.append({"run": run, "seed": seed, "labels": {"strength": strength}})
    for seed in range(2):
        put(tmp_path, f"at_s{seed}", "clean", {"accuracy": 0.7 + 0.1 * seed})
        put(tmp_path, f"at_s{seed}", "aa", {"accuracy": float("nan")}, status="diverged")
    groups = made("at")
    return {**groups, "gn": {**group(), "runs": runs}}


def test_label_curves(tmp_path, weights):
    result = draw(tmp_path, weights, SWEEP)
    (axes,) = result.figure.axes
    seen = curves_of(axes)
    assert seen["GN, clean"][0] == pytest.approx([0.8, 1.4])
    assert seen["GN, clean"][1] == pytest.approx([82.5, 76.5])
    assert seen["GN, AutoAttack"][1] == pytest.approx([8, 14])
    assert seen["published, clean"][1] == pytest.approx(PUBLISHED["y"])
    assert seen["AT, clean"][1] == pytest.approx([75, 75])
    assert "AT, AutoAttack" not in seen
    frame = result.frame
    assert frame.query("line == 'AT' and quantity == 'clean'")["value"].tolist() == pytest.approx([70, 80])
    assert frame.query("line == 'AT'")["strength"].isna().all()
    assert (
        frame.query("line == 'GN' and quantity == 'AutoAttack'")["strength"].tolist() == [0.8] * 2 + [1.4] * 2
    )
    words = texts(result.figure)
    assert "GN (4 runs), AT (2 runs, 2 diverged)" in words
    assert f"NAT: not testable: {GONE}" in words


def test_label_curves_without_the_sweep_or_its_label(tmp_path, weights):
    alone = draw(tmp_path, weights, {**SWEEP, "group": "gone", "references": SWEEP["references"][:1]})
    assert f"GN: not testable: {GONE}" in texts(alone.figure)
    assert set(alone.frame["line"]) == {"AT"}
    nothing = draw(tmp_path, weights, {**SWEEP, "group": "gone", "references": []})
    assert GONE in texts(nothing.figure)
    assert nothing.frame.empty
    with pytest.raises(DataError, match="has no numeric label 'lambda'"):
        draw(tmp_path, weights, {**SWEEP, "strength": "lambda"})
    quantity = {**SWEEP["quantities"][0], "published": {"x": [1], "y": []}}
    with pytest.raises(ValidationError, match="as many x as y"):
        draw(tmp_path, weights, {**SWEEP, "quantities": [quantity]})


# --- natural_maps -------------------------------------------------------------------------------------


@pytest.fixture
def natural(tmp_path):
    rng = np.random.default_rng(0)
    for name, channels in (("at", 3), ("gn", 3), ("grey", 1)):
        pictures_ = np.random.default_rng(channels).uniform(0, 1, (3, channels, 8, 8))
        for seed in range(2):
            arrays = {n: rng.normal(size=(3, channels, 8, 8)) for n in MAPS}
            arrays |= {"images": pictures_, "edges": rng.uniform(0, 2, (3, 8, 8)),
                       "l1": np.array([12.34, 0.5, 7.0]), "clean_correct": np.ones(3, bool),
                       "attack_correct": np.array([True, False, True])}  # fmt: skip
            put(tmp_path, f"{name}_s{seed}", "natural_maps", {}, arrays)
    return made("at", "gn", "grey")


MAPS = ("loss_gradients", "class_gradients", "perturbations")


def stored(results, run, name):
    with np.load(results / f"evaluations/{run}/natural_maps.npz") as arrays:
        return arrays[name]


def seen_as(image):
    """0.5 + 0.5 x / q99, clipped, in bytes."""
    unit = 0.5 + 0.5 * image / np.quantile(np.abs(image), 0.99)
    return np.clip(unit, 0, 1) * 255


def test_natural_maps_one_row_per_network(tmp_path, natural):
    figure = {"name": "natural_maps", "rows": LINES, "images": [2, 0], "seed": 1, "norms": True}
    result = draw(tmp_path, natural, figure)
    seen = shown(result.figure)
    assert len(seen) == 2 + 2 * 2
    first = pictures.scaled(stored(tmp_path, "at_s0", "images")[2], 0, 1)
    assert np.array_equal(seen[0], np.moveaxis(first, 0, -1))
    for place, run in ((2, "at_s1"), (4, "gn_s1")):
        for column, image in ((0, 2), (1, 0)):
            expected = seen_as(np.moveaxis(stored(tmp_path, run, "loss_gradients")[image], 0, -1))
            assert np.abs(seen[place + column] - expected).max() < 1.01
    below = [axes.get_xlabel() for axes in all_axes(result.figure) if axes.get_xlabel()]
    assert below == ["7", "12.3"] * 2
    words = texts(result.figure)
    assert "AT (cifar_resnet18 w8)" in words
    assert "image (digits)" in words
    assert GONE in words
    assert result.frame is None
    assert plugins.constant("figures", "natural_maps", "NUMBERS", True) is False


def test_natural_maps_of_several_kinds_with_frames(tmp_path, natural):
    rows = [{"label": "edges", "group": "at", "map": "edges"}, LINES[1]]
    figure = {"name": "natural_maps", "rows": rows, "map": "class_gradients", "outcome": True}
    result = draw(tmp_path, natural, figure)
    seen = shown(result.figure)
    assert [image.shape for image in seen] == [(8, 8, 3)] * 3 + [(8, 8)] * 3 + [(8, 8, 3)] * 3
    edges = stored(tmp_path, "at_s0", "edges")[1]
    assert np.abs(seen[4] - 255 * np.clip(edges / np.quantile(edges, 0.99), 0, 1)).max() < 1.01
    expected = seen_as(np.moveaxis(stored(tmp_path, "gn_s0", "class_gradients")[1], 0, -1))
    assert np.abs(seen[7] - expected).max() < 1.01
    frames = [axes.spines["left"] for axes in result.figure.axes]
    assert [to_hex(f.get_edgecolor()) for f in frames[6:]] == [palette.BLUE, palette.VERMILION, palette.BLUE]
    # Neither images nor edges have a frame.
    assert not any(f.get_visible() for f in frames[:6])
    assert texts(result.figure).count("cifar_resnet18 w8") == 1
    assert "dashed orange, it does not" in texts(result.figure)


def test_natural_maps_of_other_images_get_a_row_of_images(tmp_path, natural):
    rows = [LINES[0], {"label": "grey", "group": "grey"}]
    result = draw(tmp_path, natural, {"name": "natural_maps", "rows": rows})
    assert len(shown(result.figure)) == 4 * 3
    assert shown(result.figure)[6].shape == (8, 8)
    with pytest.raises(DataError, match=r"images \[3\]; there are 3"):
        draw(tmp_path, natural, {"name": "natural_maps", "rows": rows, "images": [3]})


def test_scale_by_a_quantile():
    image = np.zeros((1, 10, 10))
    image[0, 0, 0] = -2.0
    assert maps.unit(image, "quantile")[0, 0, 0] == -1
    image = np.linspace(-1, 1, 101).reshape(1, 1, 101)
    assert maps.unit(image, "quantile")[0, 0, [0, 25, 50, 100]] == pytest.approx([-1, -0.5, 0, 1])
    assert maps.unit(np.array([[[np.nan, 3.0]]]), "quantile")[0, 0, 0] == 0


# --- what they share -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "text"), [(3760.4, "3,760"), (0.0123, "0.0123"), (1e7, "1e+07")])
def test_numbers_in_titles(number, text):
    assert lines.short(number) == text


def test_a_long_legend_takes_no_room_from_the_panels():
    heights = []
    for names in ("ab", ["a method with a name that is long", "another method with a long name"]):
        figure, (axes,) = lines.panels(1, 1, 3.0, 2.0)
        for name in names:
            axes.plot([0, 1], [0, 1], label=name)
        lines.legend(figure)
        figure.draw_without_rendering()
        heights.append((figure.get_figheight(), axes.get_window_extent().height / figure.dpi))
    assert heights[1][0] > heights[0][0]
    assert heights[1][1] == pytest.approx(heights[0][1], abs=0.05)


def test_what_is_missing_is_said_once_where_it_is_missing_everywhere():
    reasons = {("a", "x"): "gone", ("a", "y"): "gone", ("b", "x"): "gone", ("c", "x"): "p", ("c", "y"): "q"}
    found = lines.merged(reasons, {"a": 2, "b": 2, "c": 2})
    assert found == {"a": "gone", "b, x": "gone", "c, x": "p", "c, y": "q"}


# --- all of them --------------------------------------------------------------------------------------


def test_previews_without_any_result_are_drawn(tmp_path):
    groups = {"at": group("at_s0"), "gn": group("gn_s0")}
    lines = LINES[:2]
    for figure in (
        {**HISTOGRAMS, "lines": lines}, {**ENTRIES, "lines": lines}, {**SCATTER, "lines": lines},
        {"name": "mean_curves", "lines": lines, "panels": [WHOLE]},
        {"name": "monitor_curves", "lines": lines, "panels": [MONITOR]},
        {**SWEEP, "references": [SWEEP["references"][0]]}, {"name": "natural_maps", "rows": lines},
    ):  # fmt: skip
        result = draw(tmp_path, groups, figure, allow_missing=True)
        assert "not finished yet" in texts(result.figure), figure["name"]
        assert result.frame is None or result.frame.empty
