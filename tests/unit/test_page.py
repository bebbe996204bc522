"""The page of a tier: what it holds, what it leaves out, and that data never become markup."""

import csv
import io
import json
import re

import numpy as np
import page_results
import pytest
from matplotlib import colormaps
from page_results import NASTY
from PIL import Image

from pagrepro import page, page_data, page_maps, page_plan, palette
from pagrepro.errors import DataError
from pagrepro.layout import Layout

NOISY = [f"digits_noisy_s{seed}" for seed in (0, 1, 2)]


@pytest.fixture
def expansion(tmp_path):
    return page_results.configuration().expand(tmp_path)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "results/tiny")


@pytest.fixture
def template(tmp_path):
    """A template that shows nothing but what is put in."""
    folder = tmp_path / "template"
    folder.mkdir()
    (folder / page.PAGE).write_text(
        "<title>{{tier}}</title>{{style}}<script>{{data}}</script>{{program}}{{plotly}}"
    )
    (folder / page.STYLE).write_text("body {}")
    (folder / page.PROGRAM).write_text("{{data}} is not replaced here")
    return folder


@pytest.fixture
def content(expansion, layout, template):
    page_results.finish(expansion, layout)
    return page.write(expansion, layout, template, "PLOTLY")


def run_of(content, name):
    return next(run for run in content["runs"] if run["name"] == name)


# --- pictures


def test_only_maps_of_images_that_something_reads_are_shown(expansion):
    assert page_plan.pictured(expansion) == {run: ("maps",) for run in NOISY}


def test_maps_that_nothing_reads_are_not_asked_for(tmp_path):
    tiny = page_results.configuration()
    tiny.paper["artifacts"]["figure1"]["evaluations"] = ["edges"]
    assert page_plan.pictured(tiny.expand(tmp_path)) == {}


def cell(image, row, column):
    """One picture of a sheet, by the first pixel of every square of pixels."""
    side, gap, left = page_maps.SIDE, page_maps.GAP, page_maps.LABEL
    top, start = gap + row * (side + gap), left + gap + column * (side + gap)
    return np.asarray(image)[top : top + side : side // 8, start : start + side : side // 8]


def test_a_sheet_shows_the_arrays(content, layout):
    image = Image.open(layout.page_picture(NOISY[1]))
    arrays = page_results.maps(1)
    for column in range(page_maps.MOST):
        grey = np.round(arrays["images"][column, 0] * 255)
        assert np.array_equal(cell(image, 0, column), np.repeat(grey[..., None], 3, 2)), column
        gradient = arrays["gradients"][column, 0]
        part = np.clip(gradient / np.quantile(np.abs(gradient), 0.99), -1, 1)
        expected = colormaps["PuOr_r"](np.floor(127.5 * part + 128).clip(0, 255).astype(int))[..., :3]
        assert np.abs(cell(image, 1, column) - 255 * expected).max() <= 0.5, column
    assert image.size[1] == 2 * (page_maps.SIDE + page_maps.GAP) + page_maps.GAP


def test_colour_images_and_large_ones_are_shown():
    red = np.zeros((1, 3, 128, 128))
    red[:, 0] = 1
    result = {
        "evaluation": "maps", "arrays": ["images", "loss_gradients"],
        "spec": {"measure": {"name": "natural_maps"}, "dataset": {"low": -1, "high": 1}},
    }  # fmt: skip
    file = io.BytesIO()
    np.savez(file, images=2 * red - 1, loss_gradients=np.full((1, 3, 128, 128), np.nan))
    file.seek(0)
    rows = page_maps.rows_of(result, file)
    assert [row.label for row in rows] == ["maps: images", "maps: loss gradients (not finite)"]
    image = Image.open(io.BytesIO(page_maps.sheet(rows)))
    assert (cell(image, 0, 0) == (255, 0, 0)).all()
    assert (cell(image, 1, 0) == 128).all()


def test_arrays_that_are_no_pictures_are_refused(expansion, layout):
    run = NOISY[0]
    flat = {"images": np.zeros((2, 5)), "gradients": np.zeros((2, 5))}
    page_results.result(expansion, layout, run, "maps", {}, arrays=flat)
    stored = json.loads(layout.result(run, "maps").read_text())
    with pytest.raises(DataError, match=r"expected images \(k, 1 or 3, height, width\), found \(2, 5\)"):
        page_maps.rows_of(stored, layout.arrays(run, "maps"))
    with pytest.raises(DataError, match="expected the arrays images and gradients"):
        page_maps.rows_of(stored | {"arrays": ["images"]}, layout.arrays(run, "maps"))


# --- content


def test_every_run_has_what_the_configuration_says_of_it(content):
    run = run_of(content, NOISY[2])
    assert (run["papers"], run["groups"]) == (["tiny"], ["tiny.noisy"])
    assert (run["objective"], run["seed"], run["status"]) == ("gaussian_noise", 2, "complete")
    assert (run["dataset"], run["network"]) == (f"digits {NASTY}", "cifar_resnet18 w4")
    assert run["sidecar"]["notes"] == [NASTY]
    assert run["image"] == f"page/{NOISY[2]}.png"
    assert run_of(content, "digits_bright_s0")["image"] is None
    assert content["objectives"]["gaussian_noise"] == palette.SKY


def test_numbers_that_are_not_finite_are_no_points(content):
    assert run_of(content, NOISY[0])["results"]["clean"]["values"].keys() == {"accuracy"}


def test_what_is_not_finished_or_of_another_spec_is_left_out(expansion, layout, content, template):
    assert len(content["runs"]) == 7 < content["asked"]
    old = json.loads(layout.result(NOISY[0], "maps").read_text()) | {"spec_hash": "another"}
    layout.result(NOISY[0], "maps").write_text(json.dumps(old))
    old = json.loads(layout.run_json(NOISY[1]).read_text()) | {"spec_hash": "another"}
    layout.run_json(NOISY[1]).write_text(json.dumps(old))
    again = page.write(expansion, layout, template, "")
    assert run_of(again, NOISY[0])["image"] is None
    assert "maps" not in run_of(again, NOISY[0])["results"]
    assert not layout.page_picture(NOISY[0]).exists()
    assert NOISY[1] not in [run["name"] for run in again["runs"]]


def test_an_empty_tier_has_a_page(expansion, layout, template):
    layout.results.mkdir(parents=True)
    found = page.write(expansion, layout, template, "")
    assert (found["runs"], found["claims"], found["artifacts"], found["start"]) == ([], [], [], None)
    assert layout.page_points().read_text() == ",".join(page_data.POINT_COLUMNS) + "\n"


def test_the_first_plot_is_the_one_with_the_most_runs(content):
    assert content["start"] == {
        "x": "clean.accuracy (accuracy)", "y": "edges.saliency (edge_correlation)",
    }  # fmt: skip


def test_points_are_those_of_all_accuracy_alignment_plots(content, layout):
    with layout.page_points().open(newline="") as file:
        rows = list(csv.DictReader(file))
    plots = {(row["x_measurement"], row["y_measurement"]) for row in rows}
    y = "edges.saliency (edge_correlation)"
    assert plots == {("clean.accuracy (accuracy)", y), ("pgd.accuracy (pgd_accuracy)", y)}
    assert len(rows) == 12
    row = next(row for row in rows if row["run"] == NOISY[1] and row["x_measurement"].startswith("clean"))
    values = run_of(content, NOISY[1])["results"]
    assert float(row["x"]) == values["clean"]["values"]["accuracy"]
    assert float(row["y"]) == values["edges"]["values"]["saliency"]
    assert (row["papers"], row["groups"], row["objective"]) == ("tiny", "tiny.noisy", "gaussian_noise")


def test_results_say_how_they_were_measured(content):
    found = {run["results"]["edges"]["settings"] for run in content["runs"] if "edges" in run["results"]}
    (number,) = found
    assert content["settings"][number].startswith("edge_correlation: energy: blurred_root, ")
    assert "accuracy" in content["settings"]  # it has no options


def test_claims_know_their_runs_and_artifacts(expansion, layout, content, template):
    first, second = content["claims"]
    assert [content["runs"][number]["name"] for number in first["runs"]] == ["line_plain_s0"]
    assert second["runs"] == []
    assert first["artifacts"] == ["table1"]
    assert first["statement"] == f"text 1 {NASTY}"


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("Table 1", ["table1"]),
        ("Figures 1, 4 and 5", ["figure1"]),
        ("Tables 2 and 1, section 4", ["table1"]),
        ("section 1", []),
        ("Figure 12", []),
    ],
)
def test_places_name_artifacts(expansion, place, names):
    assert page_data._named(place, "tiny", expansion) == names


# --- the file


def test_data_cannot_become_markup(content, layout):
    text = layout.page().read_text()
    data = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    assert not set("<>&") & set(data)
    assert json.loads(data) == json.loads(json.dumps(content))
    assert "window.broken" in data


def test_what_is_put_in_is_not_searched_again(content, layout):
    assert layout.page().read_text().endswith("{{data}} is not replaced herePLOTLY")


def test_equal_results_give_equal_files(expansion, layout, content, template):
    files = [layout.page(), layout.page_points(), *map(layout.page_picture, NOISY)]
    before = [file.read_bytes() for file in files]
    page.write(expansion, layout, template, "PLOTLY")
    assert [file.read_bytes() for file in files] == before
