"""Figures of residuals, gradients, distances and robustness: what is shown, and what is said of gaps."""

import numpy as np
import pandas as pd
import pytest
from made_up import context, group, put

from pagrepro import artifact, plugins, statistics
from pagrepro.errors import DataError
from pagrepro.figures import _pictures as pictures

GONE = "no x-rays; set `paths: {x: /folder}`"


def draw(results, groups, figure, **more):
    return artifact.draw(context(results, groups, figure=figure, **more))


def all_axes(figure):
    return [*figure.axes, *(axes for part in figure.subfigs for axes in part.axes)]


def texts(figure):
    found = [t.get_text() for t in figure.texts]
    for part in [figure, *figure.subfigs]:
        found += [part.get_suptitle(), part.get_supxlabel(), part.get_supylabel()]
    for axes in dict.fromkeys(all_axes(figure)):
        found += [t.get_text() for t in axes.texts]
        found += [axes.get_title(), axes.get_ylabel(), axes.get_xlabel()]
    return "\n".join(found).replace("\n", " ")


def shown(figure):
    return [a.get_images()[0].get_array() for a in dict.fromkeys(all_axes(figure)) if a.get_images()]


def test_ranges_and_signs_of_pictures():
    image = np.array([[[-1.0, 0.0], [1.0, 3.0]]])
    assert pictures.scaled(image, -1, 1).tolist() == [[[0, 128], [255, 255]]]
    assert pictures.largest(np.array([1.0, -4.0, np.nan, np.inf])) == 4
    assert pictures.largest(np.array([np.nan])) == 0
    with pytest.raises(DataError, match=r"found \(500,\)"):
        pictures.scaled(np.zeros(500), 0, 1)


# --- residuals -----------------------------------------------------------------------------------------


@pytest.fixture
def generators(tmp_path):
    rng = np.random.default_rng(0)
    found = {"x": group(not_testable=GONE)}
    for name, channels, classes in (("q", 1, 2), ("m", 3, 4)):
        labels = np.repeat(np.arange(classes), 2)
        x = rng.uniform(-1, 1, (len(labels), channels, 4, 4))
        moved = x[:, None] + np.arange(classes)[:, None, None, None] / 4
        for seed in (0, 1):
            arrays = {"x": x + seed, "moved": moved + seed, "truth": moved + seed + 0.1, "labels": labels}
            put(tmp_path, f"{name}_s{seed}", "similarity", {"cosine": 0.5}, arrays)
        found[name] = group(f"{name}_s0", f"{name}_s1", dataset=f"data of {name}")
    return found


def panel(name, **more):
    return {"label": name, "group": name, "low": -1, "high": 1, **more}


def test_residual_examples_of_two_classes(tmp_path, generators):
    show = ["x", "residual", "moved", "truth", "truth_residual"]
    panels = [panel("q", per_class=2, show=show, classes=["small", "large"]), panel("x")]
    result = draw(tmp_path, generators, {"name": "residual_examples", "panels": panels})
    pictures_of = shown(result.figure)
    assert len(pictures_of) == 5 * 4
    with np.load(tmp_path / "evaluations/q_s0/similarity.npz") as arrays:
        x, moved = arrays["x"], arrays["moved"]
    assert np.array_equal(pictures_of[0], pictures.scaled(x[0], -1, 1)[0])
    # Class 0 goes to class 1, which is 0.25 brighter, class 1 to class 0; the scale is that of the line.
    assert np.unique(pictures_of[4]).tolist() == [255]
    assert np.unique(pictures_of[6]).tolist() == [128]
    assert np.array_equal(pictures_of[8], pictures.scaled(moved[0, 1], -1, 1)[0])
    seen = texts(result.figure)
    assert seen.count("small → large") == 2
    assert seen.count("large → small") == 2
    assert "q (data of q), seed 0" in seen
    assert "no x-rays" in seen
    assert result.frame is None


def test_residual_examples_of_chosen_pairs(tmp_path, generators):
    pairs = [{"source": 1, "destination": 3}, {"source": 2, "destination": 0, "nth": 1}]
    result = draw(
        tmp_path, generators, {"name": "residual_examples", "panels": [panel("m", pairs=pairs, seed=1)]}
    )
    seen = texts(result.figure)
    assert "1 → 3" in seen
    assert "2 → 0" in seen
    assert "seed 1" in seen
    with np.load(tmp_path / "evaluations/m_s1/similarity.npz") as arrays:
        expected = pictures.scaled(arrays["moved"][5, 0], -1, 1)
    assert np.array_equal(shown(result.figure)[5], np.moveaxis(expected, 0, -1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "4 classes: say with `pairs`"),
        ({"pairs": [{"source": 0, "destination": 1, "nth": 2}]}, "2 stored examples of class 0"),
        ({"pairs": [{"source": 0, "destination": 4}]}, "class 4 of 4"),
    ],
)
def test_residual_examples_that_are_not_there(tmp_path, generators, options, message):
    with pytest.raises(DataError, match=message):
        draw(tmp_path, generators, {"name": "residual_examples", "panels": [panel("m", **options)]})


def test_class_transfer(tmp_path, generators):
    figure = {"name": "class_transfer", "group": "m", "classes": list("abcd"), "low": -1}
    result = draw(tmp_path, generators, figure)
    images = shown(result.figure)
    assert len(images) == 8 * 5
    with np.load(tmp_path / "evaluations/m_s0/similarity.npz") as arrays:
        assert np.array_equal(
            images[5 * 7 + 2], np.moveaxis(pictures.scaled(arrays["moved"][7, 1], -1, 1), 0, -1)
        )
    framed = [n for n, axes in enumerate(result.figure.axes) if axes.spines["left"].get_visible()]
    assert framed == [5 * line + 1 + line // 2 for line in range(8)]
    labels = [axes.get_ylabel() for axes in result.figure.axes[::5]]
    assert labels == ["a", "", "b", "", "c", "", "d", ""]
    gone = draw(tmp_path, generators, {**figure, "group": "x"})
    assert "no x-rays" in texts(gone.figure)


# --- data sets by methods -------------------------------------------------------------------------------

METHODS = ["B", "P"]
ROWS = [
    {"label": "digits", "groups": {"B": "d_b", "P": "d_p"}},
    {"label": "x-rays", "groups": {"B": "x_b", "P": "x_p"}},
]


@pytest.fixture
def trained(tmp_path):
    groups = {f"x_{m}": group(not_testable=GONE) for m in "bp"}
    for number, m in enumerate("bp"):
        groups[f"d_{m}"] = group(f"d_{m}_s0", f"d_{m}_s1", labels={"method": m})
        for seed in (0, 1):
            run = f"d_{m}_s{seed}"
            gradients = np.zeros((2, 1, 4, 4))
            gradients[0, 0, 0, :2] = (2.0 * (number + 1), -1.0)
            arrays = {"images": np.full((2, 1, 4, 4), 0.5), "gradients": gradients,
                      "labels": np.array([3, 1]), "closest": np.array([number, 0])}  # fmt: skip
            put(tmp_path, run, "shape", {"total_variation": 1.0}, arrays)
            estimate = np.array([0.1, 0.2, 0.3, 0.4, -0.1])
            found = estimate * (1 + seed) + np.array([0, 0.1, 0, 0, 0.1])
            put(tmp_path, run, "closest", {"distance": 0.2}, {"distance": estimate})
            put(tmp_path, run, "cw", {"median": 0.2}, {"distance": np.where([0, 0, 0, 1, 0], np.nan, found)})
            curve = {"grid": np.array([0, 0.1, 1.0]), "error": np.array([0.1, 0.5, 1.0])}
            put(tmp_path, run, "eps50_linf", {"eps50": 0.1}, curve)
    return groups


def test_gradient_images(tmp_path, trained):
    figure = {"name": "gradient_images", "methods": METHODS, "rows": ROWS}
    result = draw(tmp_path, trained, figure)
    images = shown(result.figure)
    assert len(images) == 3
    # Each is scaled by its own largest value: 2 and -1 of 2, then 4 and -1 of 4; 0 is in the middle.
    assert images[1][0, :3].tolist() == [255, 64, 128]
    assert images[2][0, :3].tolist() == [255, 96, 128]
    seen = texts(result.figure)
    assert "3 → 0" in seen
    assert "3 → 1" in seen
    assert seen.count("no x-rays") == 1
    # A gradient of zeros has no scale, and is drawn nevertheless.
    rows = [{**ROWS[0], "image": 1}]
    assert np.unique(shown(draw(tmp_path, trained, {**figure, "rows": rows}).figure)[1]).tolist() == [128]
    with pytest.raises(DataError, match="image 2; there are 2"):
        draw(tmp_path, trained, {**figure, "rows": [{**ROWS[0], "image": 2}]})


def test_gradient_images_of_different_images_are_an_error(tmp_path, trained):
    arrays = {"images": np.zeros((1, 1, 4, 4)), "gradients": np.zeros((1, 1, 4, 4)),
              "labels": np.array([3]), "closest": np.array([0])}  # fmt: skip
    put(tmp_path, "d_p_s0", "shape", {"total_variation": 1.0}, arrays)
    with pytest.raises(DataError, match="different images"):
        draw(tmp_path, trained, {"name": "gradient_images", "methods": METHODS, "rows": ROWS})


def test_distance_scatter(tmp_path, trained):
    figure = {"name": "distance_scatter", "methods": METHODS, "rows": ROWS, "seed": 1}
    result = draw(tmp_path, trained, figure)
    frame = result.frame
    assert set(frame["run"]) == {"d_b_s1", "d_p_s1"}
    one = frame[frame["run"] == "d_b_s1"]
    assert one["predicted"].tolist() == [0.1, 0.2, 0.3, 0.4, -0.1]
    assert one["found"].tolist() == pytest.approx([0.2, 0.5, 0.6, np.nan, -0.1], nan_ok=True)
    errors = statistics.relative_error(one["predicted"].to_numpy(), one["found"].to_numpy())
    assert one["median_error"].iloc[0] == pytest.approx(np.nanmedian(errors))
    assert one[["n", "failures"]].iloc[0].tolist() == [4, 1]
    assert one["spearman"].iloc[0] == pytest.approx(1)
    assert texts(result.figure).count("no x-rays") == 1
    assert "1 failed" in texts(result.figure)
    assert set(draw(tmp_path, trained, {**figure, "seed": None}).frame["seed"]) == {0}
    put(tmp_path, "d_b_s1", "closest", {"distance": 0.2}, {"distance": np.ones(3)})
    with pytest.raises(DataError, match="the same examples"):
        draw(tmp_path, trained, figure)


def test_relative_error_compares_what_can_be_compared():
    estimate = np.array([0.5, 2.0, np.inf, np.nan, 1.0, 1.0, 1.0])
    truth = np.array([1.0, 1.0, 1.0, 1.0, 0.0, np.nan, np.inf])
    expected = [0.5, 1, np.inf, *[np.nan] * 4]
    assert statistics.relative_error(estimate, truth) == pytest.approx(expected, nan_ok=True)


def test_accuracy_curves(tmp_path, trained):
    columns = [{"label": "PGD", "evaluation": "eps50_linf"}]
    figure = {"name": "accuracy_curves", "methods": METHODS, "rows": ROWS, "columns": columns}
    for scale in ("log", "linear"):
        result = draw(tmp_path, trained, {**figure, "scale": scale})
        one = result.frame[result.frame["method"] == "P"]
        assert one["eps"].tolist() == [0, 0.1, 1]
        assert one["accuracy"].tolist() == pytest.approx([0.9, 0.5, 0])
        assert (len(result.frame), set(one["run"]), set(one["data"])) == (6, {"d_p_s0"}, {"digits"})
        lines = result.figure.axes[0].get_lines()
        assert np.array_equal(lines[0].get_xdata(), [0, 0.1, 1])
    trained["d_p"] = group(not_testable=GONE)
    assert "1 not testable" in texts(draw(tmp_path, trained, figure).figure)


def test_alignment_scatter(tmp_path):
    runs = []
    for budget in (0.1, 0.2):
        for seed in range(3):
            run = f"p_e{budget}_s{seed}"
            put(tmp_path, run, "eps50", {"eps50": budget + seed / 100 if seed else None})
            put(tmp_path, run, "alignment", {"alpha_dx": 0.5 * budget, "alpha_x": 0.1})
            runs.append({"run": run, "seed": seed, "labels": {"eps": budget}})
    groups = {"p": {**group(), "runs": runs}, "x": group(not_testable=GONE)}
    figure = {
        "name": "alignment_scatter",
        "panels": [{"label": "digits", "group": "p"}, {"label": "x-rays", "group": "x"}],
        "across": {"label": "eps50", "evaluation": "eps50", "value": "eps50"},
        "series": [{"label": n, "evaluation": "alignment", "value": n} for n in ("alpha_dx", "alpha_x")],
    }  # fmt: skip
    result = draw(tmp_path, groups, figure)
    frame = result.frame
    assert len(frame) == 12
    assert frame["across"].isna().sum() == 4
    means = result.figure.axes[0].get_lines()[0]
    assert means.get_xdata() == pytest.approx([0.115, 0.215])
    assert means.get_ydata() == pytest.approx([0.05, 0.1])
    seen = texts(result.figure)
    assert "2 without a finite value" in seen
    assert "no x-rays" in seen
    del runs[0]["labels"]["eps"]
    with pytest.raises(DataError, match=r"p_e0\.1_s0 has no label 'eps'"):
        draw(tmp_path, groups, figure)


# --- all of them ------------------------------------------------------------------------------------------


GENERATIONS = [{"name": "schematic_generation", "which": which} for which in ("direct", "indirect")]


@pytest.mark.parametrize("figure", [{"name": "schematic_theorem"}, *GENERATIONS])
def test_drawings_need_no_results_and_are_the_same_every_time(tmp_path, figure):
    written = []
    for name in ("one", "two"):
        found = context(tmp_path, {}, figure=figure)
        artifact.save_figure(artifact.draw(found), found, tmp_path / name / "figure.png")
        written.append((tmp_path / name / "figure.png").read_bytes())
        assert not (tmp_path / name / "figure.csv").exists()
    assert written[0] == written[1]


def test_the_two_generations_differ(tmp_path):
    drawn = [texts(draw(tmp_path, {}, figure).figure) for figure in GENERATIONS]
    assert "L_G" in drawn[0]
    assert "L_{proj}" in drawn[1]
    assert "L_G" not in drawn[1]


def test_figures_say_whether_they_plot_numbers():
    without = (
        "schematic_theorem",
        "schematic_generation",
        "residual_examples",
        "class_transfer",
        "gradient_images",
    )
    for name in (*without, "distance_scatter", "alignment_scatter", "accuracy_curves"):
        assert plugins.constant("figures", name, "NUMBERS", True) is (name not in without)


def test_previews_without_any_result_are_drawn(tmp_path):
    groups = {name: group(f"{name}_s0") for name in ("d_b", "d_p", "x_b", "x_p", "g")}
    grid = {"methods": METHODS, "rows": ROWS}
    across = {"label": "eps50", "evaluation": "eps50", "value": "eps50"}
    for figure in (
        {"name": "gradient_images", **grid}, {"name": "distance_scatter", **grid},
        {"name": "accuracy_curves", **grid, "columns": [{"label": "PGD", "evaluation": "pgd"}]},
        {"name": "class_transfer", "group": "g"},
        {"name": "residual_examples", "panels": [{"label": "g", "group": "g"}]},
        {"name": "alignment_scatter", "panels": [{"label": "g", "group": "g"}], "across": across,
         "series": [across]},
    ):  # fmt: skip
        result = draw(tmp_path, groups, figure, allow_missing=True)
        assert "not finished yet" in texts(result.figure), figure["name"]
        assert result.frame is None or isinstance(result.frame, pd.DataFrame)
