"""Figures of gradients, scores and noise: what is shown, in which order and scale; what is said of gaps."""

import numpy as np
import pytest
from made_up import context, group, put
from test_run_figures import all_axes, shown, texts

from pagrepro import artifact
from pagrepro.errors import DataError
from pagrepro.figures import _maps as maps
from pagrepro.figures import _pictures as pictures

GONE = "no ImageNet; set `paths: {imagenet: /folder}`"
STRENGTHS = (0.001, 0.1, 10.0)
SCORES = [{"evaluation": "maps_edm", "label": "score (EDM)"}, {"evaluation": "maps", "label": "score (own)"}]


def draw(results, groups, figure, **more):
    return artifact.draw(context(results, groups, figure=figure, **more))


def titles(figure):
    """In the order of the axes, one entry for each that has a title."""
    return [a.get_title() for a in dict.fromkeys(all_axes(figure)) if a.get_title()]


def colour(array):
    return np.moveaxis(array, 0, -1)


# --- scales -------------------------------------------------------------------------------------------


def test_scales_of_maps():
    image = np.array([[[2.0, -1.0], [0.0, -4.0]]])
    assert maps.unit(image, "max_abs").tolist() == [[[0.5, -0.25], [0, -1]]]
    outlier = np.zeros((1, 10, 10))
    outlier[0, 0, :2] = (100.0, 1.0)
    limit = 3 * outlier.std()
    found = maps.unit(outlier, "three_std")
    assert found[0, 0, 0] == 1
    assert found[0, 0, 1] == pytest.approx(1 / limit)
    assert not maps.unit(np.zeros((1, 2, 2)), "max_abs").any()
    assert not maps.unit(np.full((1, 2, 2), 0.0), "three_std").any()
    assert maps.unit(np.array([[[np.nan, -2.0]]]), "max_abs").tolist() == [[[0, -1]]]
    # 127.5 v + 128 without its decimals.
    assert maps.bytes_of(np.array([-1, -0.5, 0, 0.5, 1])).tolist() == [0, 64, 128, 191, 255]


# --- runs of a sweep ------------------------------------------------------------------------------------


def sweep(results, name, channels=3, evaluation="maps", scores=True):
    """Three strengths of two seeds, declared in another order than that of their strengths."""
    rng = np.random.default_rng(0)
    images, score = rng.uniform(0, 1, (4, channels, 6, 6)), rng.normal(size=(4, channels, 6, 6))
    runs = []
    for index in (2, 0, 1):
        for seed in (0, 1):
            run = f"{name}_i{index}_s{seed}"
            gradients = rng.normal(size=(4, channels, 6, 6)) + 10 * index
            arrays = {"images": images, "gradients": gradients, "labels": np.arange(4),
                      "predicted": np.arange(4)}  # fmt: skip
            if scores:
                arrays |= {"scores": score, "similarity": 0.1 * index + 0.01 * np.arange(4) + seed}
            put(results, run, evaluation, {"zero_maps": 0}, arrays)
            labels = {"seed": seed, "method": name, "strength": STRENGTHS[index], "index": index}
            runs.append({"run": run, "seed": seed, "labels": labels})
    return {**group(), "runs": runs, "dataset": "made up"}


@pytest.fixture
def groups(tmp_path):
    missing = {"maps_edm": "no EDM weights"}
    return {
        "gn": {**sweep(tmp_path, "gn"), "missing": missing},
        "grey": {**sweep(tmp_path, "grey", channels=1, scores=False), "missing": missing},
        "x": group(not_testable=GONE),
    }


def stored(results, run, name):
    with np.load(results / f"evaluations/{run}/maps.npz") as arrays:
        return arrays[name]


def grid(panels, **more):
    return {"name": "map_grid", "panels": panels, "evaluations": SCORES, **more}


def panel(name="gn", runs=None, **more):
    return {"label": f"panel {name}", "runs": runs or [{"group": name, "label": "λ = "}], **more}


def test_runs_in_columns_by_strength(tmp_path, groups):
    headings = ["weak", "aligned", "excessive"]
    result = draw(tmp_path, groups, grid([panel(images=[2], headings=headings)], seed=1))
    seen = shown(result.figure)
    assert len(seen) == 5
    assert np.array_equal(seen[0], colour(pictures.scaled(stored(tmp_path, "gn_i0_s0", "images")[2], 0, 1)))
    expected = [stored(tmp_path, "gn_i0_s0", "scores")[2]]
    expected += [stored(tmp_path, f"gn_i{i}_s1", "gradients")[2] for i in range(3)]
    for found, image in zip(seen[1:], expected, strict=True):
        assert np.array_equal(found, colour(maps.bytes_of(image / np.abs(image).max())))
    assert titles(result.figure) == [
        "image", "score (own)", "λ = 0.001\n1.02", "λ = 0.1\n1.12", "λ = 10\n1.22",
    ]  # fmt: skip
    assert [t for t in headings if t in texts(result.figure)] == headings
    assert "panel gn (made up)" in texts(result.figure)
    assert result.frame is None


def test_runs_in_rows_and_images_in_columns(tmp_path, groups):
    result = draw(tmp_path, groups, grid([panel(images=3)], runs_are="rows"))
    seen = shown(result.figure)
    assert len(seen) == 3 * 5
    gradients = stored(tmp_path, "gn_i1_s0", "gradients")
    for place in range(3):
        expected = maps.bytes_of(gradients[place] / np.abs(gradients[place]).max())
        assert np.array_equal(seen[3 * 3 + place], colour(expected))
    labels = [a.get_ylabel() for a in dict.fromkeys(all_axes(result.figure)) if a.get_ylabel()]
    assert labels == ["image", "score (own)", "λ = 0.001", "λ = 0.1", "λ = 10"]
    assert titles(result.figure) == []


def test_chosen_strengths_and_indices(tmp_path, groups):
    for chosen, names in (
        ({"strengths": [0.1]}, ["robust"]),
        ({"indices": [0, 2]}, ["robust0.001", "robust10"]),
        ({"every": 2}, ["robust0.001", "robust10"]),
    ):
        runs = [{"group": "gn", "label": "robust", **chosen}]
        figure = grid([panel(runs=runs, images=2)], numbers=False, scores=False)
        result = draw(tmp_path, groups, figure)
        assert titles(result.figure) == ["image", *names]
        assert len(shown(result.figure)) == 2 * (1 + len(names))
    for chosen, message in (
        ({"strengths": [0.2]}, r"strength of \[0.2\]"),
        ({"indices": [7]}, r"index of \[7\]"),
    ):
        with pytest.raises(DataError, match=message):
            draw(tmp_path, groups, grid([panel(runs=[{"group": "gn", **chosen}])]))


def test_one_channel_without_scores(tmp_path, groups):
    result = draw(tmp_path, groups, grid([panel("grey")], scaling="three_std"))
    seen = shown(result.figure)
    assert len(seen) == 4
    image = stored(tmp_path, "grey_i0_s0", "gradients")[0]
    expected = np.floor(127.5 * np.clip(image / (3 * image.std()), -1, 1) + 128)[0]
    assert np.array_equal(seen[1], expected)
    assert "no score" in texts(result.figure)
    maps_of = [
        a.get_images()[0].get_cmap().name for a in dict.fromkeys(all_axes(result.figure)) if a.get_images()
    ]
    assert maps_of == ["gray", *[pictures.DIVERGING] * 3]


def test_the_first_evaluation_that_is_there_names_the_score(tmp_path, groups):
    groups["gn"] = {**sweep(tmp_path, "gn"), **{"missing": {}}}
    sweep(tmp_path, "gn", evaluation="maps_edm")
    assert "score (EDM)" in titles(draw(tmp_path, groups, grid([panel()])).figure)


def test_what_is_missing_is_said(tmp_path, groups):
    runs = [{"group": "gn", "strengths": [0.1]}, {"group": "x", "label": "standard"}]
    result = draw(tmp_path, groups, grid([panel("x"), panel("gn", runs=runs)]))
    assert texts(result.figure).count("no ImageNet") == 2
    assert len(shown(result.figure)) == 3
    put(tmp_path, "gn_i1_s0", "maps", {}, {"images": np.zeros((1, 3, 6, 6))})
    with pytest.raises(DataError, match="measured on different images"):
        draw(tmp_path, groups, grid([panel(images=2)]))
    with pytest.raises(DataError, match="there are 4"):
        draw(tmp_path, groups, grid([panel("grey", images=[4])]))


def test_unfinished_and_diverged_runs(tmp_path, groups):
    (tmp_path / "evaluations/gn_i0_s0/maps.json").unlink()
    path = tmp_path / "evaluations/gn_i2_s0/maps.json"
    path.write_text(path.read_text().replace('"complete"', '"diverged"'))
    nan = stored(tmp_path, "gn_i1_s0", "gradients") * np.nan
    arrays = {n: stored(tmp_path, "gn_i1_s0", n) for n in ("images", "scores", "similarity")}
    put(tmp_path, "gn_i1_s0", "maps", {}, {**arrays, "gradients": nan})
    result = draw(tmp_path, groups, grid([panel()]), allow_missing=True)
    said = texts(result.figure)
    assert "not finished yet" in said
    assert "not finite" in said
    assert "λ = 10 diverged" in said


# --- noise ----------------------------------------------------------------------------------------------


def autoencoder(results, k=4):
    rng = np.random.default_rng(1)
    arrays = {name: rng.normal(size=(k, 1, 5, 5)) for name in ("on", "off")}
    arrays |= {"images": rng.uniform(0, 1, (k, 1, 5, 5)), "singular_values": np.ones((k, 3))}
    values = {"latent": 12, "rank": 11.5, "reconstruction": 0.0512, "relative_error": 0.093, "condition": 3.0}
    put(results, "ae_s0", "manifold_noise", values, arrays)
    return {"ae": group("ae_s0"), "x": group(not_testable=GONE)}


def test_noise_on_and_off_the_manifold(tmp_path):
    made = autoencoder(tmp_path)
    result = draw(tmp_path, made, {"name": "noise_examples", "group": "ae", "side": 2})
    seen = shown(result.figure)
    assert len(seen) == 12
    with np.load(tmp_path / "evaluations/ae_s0/manifold_noise.npz") as arrays:
        images, on, off = (arrays[name] for name in ("images", "on", "off"))
    assert np.array_equal(seen[3], pictures.scaled(images[3], 0, 1)[0])
    assert np.array_equal(seen[4], maps.bytes_of(on[0] / np.abs(on[0]).max())[0])
    assert np.array_equal(seen[11], maps.bytes_of(off[3] / np.abs(off[3]).max())[0])
    said = texts(result.figure)
    assert "latent 12, tangent rank 11.5, reconstruction error 0.0512 per pixel (9.3 % of the image)" in said
    assert "off the manifold" in said
    # Fewer images than the grid has places.
    assert len(shown(draw(tmp_path, made, {"name": "noise_examples", "group": "ae"}).figure)) == 12
    assert "no ImageNet" in texts(draw(tmp_path, made, {"name": "noise_examples", "group": "x"}).figure)


# --- distractors ----------------------------------------------------------------------------------------


def distractors(results):
    rng = np.random.default_rng(2)
    found = {"x": group(not_testable=GONE)}
    images = rng.uniform(0, 1, (3, 1, 8, 4))
    noise = {name: images + rng.normal(size=images.shape) for name in ("noise_signal", "noise_distractor")}
    for name, share in (("standard", 0.5), ("robust", 0.9)):
        arrays = {"images": images, "masks": images > 0.5, "gradients": rng.normal(size=images.shape),
                  "share": share + np.array([0, 0.01, 0.02, 0.03]), **noise}  # fmt: skip
        put(results, f"{name}_s0", "signal_share", {"share": share}, arrays)
        found[name] = group(f"{name}_s0")
    return found


def test_distractor_examples(tmp_path):
    made = distractors(tmp_path)
    rows = [{"label": n, "group": n} for n in ("standard", "robust")]
    figure = {"name": "distractor_examples", "rows": rows}
    result = draw(tmp_path, made, figure)
    seen = shown(result.figure)
    assert len(seen) == 3 * 5
    with np.load(tmp_path / "evaluations/robust_s0/signal_share.npz") as arrays:
        gradient, noisy = arrays["gradients"][2], arrays["noise_distractor"][1]
    assert np.array_equal(seen[3 * 2 + 1], pictures.scaled(noisy, 0, 1)[0])
    assert np.array_equal(seen[3 * 4 + 2], maps.bytes_of(gradient / np.abs(gradient).max())[0])
    said = [a.get_xlabel() for a in result.figure.axes if a.get_xlabel()]
    assert said == ["0.50", "0.51", "0.52", "0.90", "0.91", "0.92"]
    assert len(shown(draw(tmp_path, made, {**figure, "images": 2}).figure)) == 2 * 5
    gone = draw(tmp_path, made, {**figure, "rows": [rows[0], {"label": "robust", "group": "x"}]})
    assert texts(gone.figure).count("no ImageNet") == 1
    nothing = draw(tmp_path, made, {**figure, "rows": [{"label": "robust", "group": "x"}]})
    assert texts(nothing.figure).count("no ImageNet") == 4


def test_distractor_examples_of_different_images_are_an_error(tmp_path):
    made = distractors(tmp_path)
    arrays = {n: np.zeros((3, 1, 8, 4)) for n in ("images", "noise_signal", "noise_distractor", "gradients")}
    put(tmp_path, "robust_s0", "signal_share", {"share": 0}, {**arrays, "share": np.zeros(3)})
    rows = [{"label": n, "group": n} for n in ("standard", "robust")]
    with pytest.raises(DataError, match="different images"):
        draw(tmp_path, made, {"name": "distractor_examples", "rows": rows})
