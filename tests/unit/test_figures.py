"""Figures: drawn from made-up results, numbers checked, gaps visible."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from made_up import context, group, put
from matplotlib.image import imread

from pagrepro import artifact, palette, plugins
from pagrepro.errors import DataError
from pagrepro.figures import _style as style
from pagrepro.results import groups_from_json


def texts(figure):
    found = [t.get_text() for t in figure.texts]
    for axes in figure.axes:
        found += [t.get_text() for t in axes.texts] + [
            axes.get_title(),
            axes.get_title("left"),
            axes.get_ylabel(),
        ]
    return "\n".join(found)


def draw(results, groups, figure, **more):
    return artifact.draw(context(results, groups, figure=figure, **more))


@pytest.fixture
def toy(tmp_path):
    points = np.array([[-50, -100], [-30, -60], [30, 60], [50, 100]], np.float32)
    labels = np.array([0, 1, 0, 1])
    for method, accuracies in (("vanilla", (0.0, 0.5, 0.25)), ("aligned", (0.75, 1.0, 0.5))):
        for seed, accuracy in enumerate(accuracies):
            grid = np.arange(16, dtype=np.int8).reshape(4, 4) % 2
            arrays = {"grid": grid, "x_bounds": np.array([-60.0, 60]), "y_bounds": np.array([-120.0, 120]),
                      "points": points, "labels": labels, "predictions": np.array([0, 1, 0, 0])}  # fmt: skip
            put(tmp_path, f"{method}_s{seed}", "decision_map", {"accuracy": 0.75}, arrays)
            put(tmp_path, f"{method}_s{seed}", "pgd_l2", {"accuracy": accuracy})
    return {m: group(*(f"{m}_s{s}" for s in range(3))) for m in ("vanilla", "aligned")}


REGIONS = {
    "name": "decision_regions", "seed": 1,
    "panels": [{"label": "vanilla", "group": "vanilla", "published": 0.0},
               {"label": "aligned", "group": "aligned", "published": 75.5}],
}  # fmt: skip


def test_decision_regions(tmp_path, toy):
    result = draw(tmp_path, toy, REGIONS)
    attacked = result.frame[result.frame["quantity"] == "attacked"]
    assert attacked["measured"].tolist() == [0, 50, 25, 75, 100, 50]
    assert attacked["published"].tolist() == [0.0] * 3 + [75.5] * 3
    clean = result.frame[result.frame["quantity"] == "clean"]
    assert (clean["seed"].tolist(), clean["measured"].tolist()) == ([1, 1], [75, 75])
    assert "seed 1, clean 75.0 %" in texts(result.figure)


def test_decision_regions_of_a_group_that_is_not_testable(tmp_path, toy):
    toy["aligned"] = group(not_testable="no such data")
    result = draw(tmp_path, toy, REGIONS)
    assert texts(result.figure).count("not testable: no such data") == 2
    assert set(result.frame["panel"]) == {"vanilla"}


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for run, channels in (("a_s0", 1), ("b_s0", 3)):
        arrays = {
            "images": rng.integers(0, 255, (2, 4, channels, 8, 8), dtype=np.uint8),
            "originals": rng.integers(0, 255, (2, channels, 8, 8), dtype=np.uint8),
            "labels": np.array([3, 1]), "success": np.ones((2, 4), bool),
        }  # fmt: skip
        put(tmp_path, run, "targeted_images", {"success": 1.0}, arrays)
        put(tmp_path, run, "clean", {"accuracy": 0.5})
    return {
        "a": group("a_s0", labels={"lambda": 0.1}),
        "b": group("b_s0"),
        "x": group(not_testable="no weights"),
    }


def test_targeted_images(tmp_path, images):
    rows = [{"label": name, "group": name} for name in "xab"]
    result = draw(tmp_path, images, {"name": "targeted_images", "rows": rows, "classes": list("wxyz")})
    shown = [axes.get_images()[0].get_array() for axes in result.figure.axes if axes.get_images()]
    assert [picture.shape for picture in shown] == [(8, 8)] * 5 + [(8, 8, 3)] * 5
    with np.load(tmp_path / "evaluations" / "a_s0" / "targeted_images.npz") as arrays:
        assert np.array_equal(shown[0], arrays["originals"][0, 0])
        assert np.array_equal(shown[4], arrays["images"][0, 3, 0])
    seen = texts(result.figure)
    assert "not testable: no weights" in seen
    assert all(f"\n{name}\n" in seen for name in ("original", *"wxyz"))
    assert result.frame is None
    with pytest.raises(DataError, match="image 7; there are 2"):
        draw(tmp_path, images, {"name": "targeted_images", "rows": rows, "image": [7]})


def test_lambda_row(tmp_path, images):
    rows = [{"label": "λ = 0.1", "group": "a", "where": {"lambda": 0.1}, "published": {"clean": 88.4}},
            {"label": "λ = 1", "group": "x", "published": {"clean": 72.63}}]  # fmt: skip
    quantities = [{"label": "clean", "evaluation": "clean"}]
    result = draw(tmp_path, images, {"name": "lambda_row", "rows": rows, "quantities": quantities})
    assert result.frame["measured"].fillna(-1).tolist() == [50, -1]
    assert result.frame["published"].tolist() == [88.4, 72.63]
    assert result.frame["note"][1] == "not testable: no weights"
    seen = texts(result.figure)
    assert "clean: 50.0 (88.4)" in seen
    assert "clean: – (72.63)" in seen
    assert "not testable: no weights" in seen


def test_saved_figure(tmp_path, toy):
    toy["vanilla"]["runs"].append({"run": "vanilla_s9", "seed": 9, "labels": {}})
    found = context(tmp_path, toy, allow_missing=True, figure=REGIONS)
    result = artifact.draw(found)
    path = tmp_path / "figures" / "figure3.png"
    artifact.save_figure(result, found, path)
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".csv", ".json", ".pdf", ".png"]
    assert len(pd.read_csv(path.with_suffix(".csv"))) == 8
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["incomplete"] == "incomplete: 6 of 7 runs"
    assert {i["run"] for i in sidecar["inputs"]} == {
        f"{m}_s{s}" for m in ("vanilla", "aligned") for s in range(3)
    }
    assert "incomplete: 6 of 7 runs" in texts(result.figure)
    width, height = result.figure.get_size_inches()
    assert imread(path).shape[:2] == pytest.approx((height * 150, width * 150), abs=1)


def test_schematic_needs_no_results_and_is_the_same_every_time(tmp_path):
    written = []
    for name in ("one", "two"):
        found = context(tmp_path, {}, figure={"name": "schematic_direction"})
        artifact.save_figure(artifact.draw(found), found, tmp_path / name / "figure2.png")
        written.append((tmp_path / name / "figure2.png").read_bytes())
        assert not (tmp_path / name / "figure2.csv").exists()
    assert written[0] == written[1]


def test_same_objective_same_colour():
    groups = groups_from_json(
        {
            "a": group("a_s0", labels={"method": "one_image"}, objective="cosine_alignment"),
            "b": group("b_s0", labels={"method": "another"}, objective="cosine_alignment"),
            "c": group("c_s0"),
        }
    )
    assert style.look(groups["a"]) == style.look(groups["b"]) == palette.OBJECTIVES["cosine_alignment"]
    assert style.look(groups["c"]) == palette.OTHER


def test_figures_fit_a_page_and_their_print_can_be_read():
    wide = style.figure(2 * style.PAGE, 4)
    assert wide.get_size_inches().tolist() == [style.PAGE, 2]
    assert style.figure(3, 2).get_size_inches().tolist() == [3, 2]
    named = {name: size for name, size in style.SETTINGS.items() if name.endswith("size")}
    assert min(named.values()) >= style.SMALL >= 7
    sizes = re.compile(r"\b(?:fontsize|labelsize)=(\d+(?:\.\d+)?)")
    for path in (plugins.PACKAGE / "figures").glob("*.py"):
        small = [size for size in sizes.findall(path.read_text(encoding="utf-8")) if float(size) < 7]
        assert not small, f"{path.name}: print of {small} points"
