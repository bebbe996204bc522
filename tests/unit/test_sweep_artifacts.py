"""Figures and tables of sweeps: numbers as measured, gaps and substitutes visible."""

import json

import numpy as np
import pytest
from made_up import context, group, put
from matplotlib.colors import to_hex
from pydantic import ValidationError
from sweep_curves import ACCURACY, ALIGNMENT, CROSSING, CURVES, OFF, ON, PEAK, STRENGTHS, put_sweep

from pagrepro import artifact, plugins, regimes
from pagrepro.errors import DataError
from pagrepro.figures import _curves as curves
from pagrepro.figures import _style as style

GONE = "no such images; set `paths: {x: /folder}`"
EVERY = slice(0, 30, 3)
FEW = {"strengths": STRENGTHS[EVERY], **{name: values[EVERY] for name, values in CURVES.items()}}
LPIPS = {"evaluation": "lpips", "value": "lpips", "label": "1 − LPIPS"}
COSINE = {"evaluation": "similarity", "value": "cosine", "label": "cosine"}
COLUMNS = [{"label": "GN", "group": "gn", "xlabel": "λ"}, {"label": "AT", "group": "at"}]
SWEEP = {"name": "sweep_curves", "columns": COLUMNS, "alignment": [LPIPS, COSINE]}


def draw(results, groups, **more):
    return artifact.draw(context(results, groups, **more))


def texts(figure):
    found = [t.get_text() for t in figure.texts] + [figure.get_supxlabel()]
    for axes in figure.axes:
        found += [t.get_text() for t in axes.texts]
        found += [axes.get_title(), axes.get_ylabel(), axes.get_xlabel()]
    for legend in figure.legends:
        found += [t.get_text() for t in legend.get_texts()]
    return "\n".join(found)


def lines(axes):
    """label -> (x, y)"""
    return {line.get_label(): (line.get_xdata(), line.get_ydata()) for line in axes.get_lines()}


def stripes(axes):
    """(colour, left end, right end) of the shaded ranges."""
    boxes = [p for p in axes.patches if p.get_height() == 1]
    return [(to_hex(p.get_facecolor()), p.get_x(), p.get_x() + p.get_width()) for p in boxes]


@pytest.fixture
def groups(tmp_path):
    gn = put_sweep(tmp_path, "gn", seeds=3, noise=0.0, **FEW)
    return {"gn": {**gn, "missing": {"lpips": "no AlexNet"}}, "at": group(not_testable=GONE)}


# --- sweep_curves ----------------------------------------------------------------------------------------


def test_both_rows_of_curves(tmp_path, groups):
    result = draw(tmp_path, groups, figure=SWEEP)
    upper, gone, lower, gone_too, right = result.figure.axes
    assert lines(upper)["on the manifold"][0].tolist() == STRENGTHS[EVERY].tolist()
    assert lines(upper)["on the manifold"][1].tolist() == pytest.approx(ON[EVERY])
    assert lines(upper)["off the manifold"][1].tolist() == pytest.approx(OFF[EVERY])
    assert lines(lower)["accuracy"][1].tolist() == pytest.approx(ACCURACY[EVERY])
    assert lines(right)["alignment of gradients"][1].tolist() == pytest.approx(ALIGNMENT[EVERY])
    assert right.get_ylabel() == "cosine\n(dashed)"
    assert all(
        f"not testable: {GONE}" in axes.texts[0].get_text().replace("\n", " ") for axes in (gone, gone_too)
    )
    seen = texts(result.figure)
    assert "GN\n(digits)" in seen
    assert (
        "3 seeds; 40 images (on and off the manifold); 100 images (accuracy); 20 images (alignment)" in seen
    )
    frame = result.frame
    assert len(frame) == 30
    assert set(frame["objective"]) == {"GN"}
    assert set(frame["measure"]) == {"cosine"}
    assert frame["on"].tolist() == pytest.approx(np.repeat(ON[EVERY], 3))
    by_strength = frame.drop_duplicates("strength")["regime"]
    assert tuple(by_strength) == regimes.find(ON[EVERY], OFF[EVERY], ACCURACY[EVERY]).names


def test_regimes_are_shaded_and_named(tmp_path, groups):
    figure = draw(tmp_path, groups, figure=SWEEP).figure
    found = stripes(figure.axes[0])
    assert len({colour for colour, _, _ in found}) == 3
    # Strengths 0 to 12 are weak, 15 is aligned, 18 and more excessive; ends are half-way in the logarithm.
    ends = np.sqrt(STRENGTHS[[12, 15]] * STRENGTHS[[15, 18]])
    assert [left for _, left, _ in found][1:] == pytest.approx(ends)
    assert [right for _, _, right in found][:2] == pytest.approx(ends)
    assert [t.get_text() for t in figure.axes[0].texts] == list(regimes.REGIMES)
    assert stripes(figure.axes[2]) == found


def test_best_alignment_there_is(tmp_path, groups):
    for run in groups["gn"]["runs"]:
        put(tmp_path, run["run"], "lpips", {"lpips": 0.25}, {"lpips": np.ones(7)})
    groups["gn"]["missing"] = {}
    result = draw(tmp_path, groups, figure=SWEEP)
    assert result.figure.axes[-1].get_ylabel() == "1 − LPIPS\n(dashed)"
    assert set(result.frame["alignment"]) == {0.25}
    groups["gn"]["missing"] = {"lpips": "no AlexNet", "similarity": "no denoiser"}
    neither = draw(tmp_path, groups, figure=SWEEP)
    assert "alignment: not testable" in texts(neither.figure)
    assert neither.frame["alignment"].isna().all()


def test_published_curves_of_the_same_quantity(tmp_path, groups):
    published = {name: {"x": STRENGTHS.tolist(), "y": values} for name, values in CURVES.items()}
    columns = [{**COLUMNS[0], "published": published}]
    figure = draw(tmp_path, groups, figure={**SWEEP, "columns": columns}).figure
    upper, lower, right = figure.axes
    pale = [line for line in upper.get_lines() if line.get_label() == "published (read off)"]
    assert [line.get_ydata().tolist() for line in pale] == [ON, OFF]
    assert all(line.get_alpha() < 1 for line in pale)
    assert lines(lower)["published (read off)"][1].tolist() == ACCURACY
    # The published alignment is LPIPS; ours is a substitute.
    assert "published (read off)" not in lines(right)
    same = draw(tmp_path, groups, figure={**SWEEP, "columns": columns, "alignment": [COSINE]}).figure
    assert lines(same.axes[-1])["published (read off)"][1].tolist() == ALIGNMENT
    assert figure.legends[0].get_texts()[-1].get_text() == "published (read off)"
    with pytest.raises(ValidationError, match="as many x as y"):
        draw(tmp_path, groups, figure={**SWEEP, "columns": [
            {**COLUMNS[0], "published": {"on": {"x": [1], "y": [1, 2]}}}]})  # fmt: skip


def test_lower_row_alone_over_categories(tmp_path, groups):
    published = {"accuracy": {"x": [STRENGTHS[3], 77.0], "y": [0.5, 0.6]}}
    columns = [{"label": "zoo", "group": "gn", "scale": "categorical", "published": published}]
    result = draw(tmp_path, groups, figure={**SWEEP, "columns": columns, "rows": ["alignment"]})
    left, right = result.figure.axes
    assert lines(left)["accuracy"][0].tolist() == list(range(10))
    assert [t.get_text() for t in left.get_xticklabels()][:2] == ["1e-05", "5.3e-05"]
    assert (
        lines(left)["published (read off)"][0].tolist(),
        lines(left)["published (read off)"][1].tolist(),
    ) == ([1], [0.5])
    assert result.frame["on"].isna().all()
    assert set(result.frame["regime"]) == {""}
    assert stripes(left) == []
    assert right.get_ylabel() == "cosine\n(dashed)"


def test_sensitivities_that_cannot_be_had(tmp_path, groups):
    groups["gn"]["missing"] = {"lpips": "no AlexNet", "sensitivity": "no autoencoder"}
    result = draw(tmp_path, groups, figure={**SWEEP, "columns": COLUMNS[:1]})
    assert "not testable: no autoencoder" in texts(result.figure)
    assert result.frame["accuracy"].notna().all()
    assert set(result.frame["regime"]) == {""}


def test_nothing_and_unfinished(tmp_path, groups):
    result = draw(tmp_path, groups, figure={**SWEEP, "columns": COLUMNS[1:]})
    assert result.frame.empty
    (tmp_path / "evaluations" / "gn_0_s0" / "clean.json").unlink()
    found = context(tmp_path, groups, allow_missing=True, figure=SWEEP)
    frame = artifact.draw(found).frame.set_index("run")
    assert found.incomplete == "incomplete: 29 of 30 runs"
    assert np.isnan(frame.loc["gn_0_s0", "accuracy"])
    assert frame["on"].notna().all()


def test_saved_with_its_numbers(tmp_path, groups):
    found = context(tmp_path, groups, figure=SWEEP)
    path = tmp_path / "figures" / "figure2.png"
    artifact.save_figure(artifact.draw(found), found, path)
    assert (
        path.with_suffix(".csv").read_text().startswith("objective,run,seed,status,strength,on,off,accuracy,")
    )
    assert json.loads(path.with_suffix(".json").read_text())["not_testable"] == {"at": GONE}


def test_axis_with_a_strength_of_zero():
    axes = style.figure(2, 2).subplots()
    curves.logarithmic(axes, np.array([0.0, 0.01, 10.0]))
    assert axes.get_xscale() == "symlog"
    assert axes.get_xticks()[0] == 0
    axes = style.figure(2, 2).subplots()
    curves.logarithmic(axes, np.array([0.01, 10.0]))
    assert axes.get_xscale() == "log"


def test_ends_of_stripes():
    assert curves.edges(np.array([1.0, 100.0]), True) == pytest.approx([0.1, 10, 1000])
    assert curves.edges(np.array([0.0, 1.0, 3.0]), False) == pytest.approx([-0.5, 0.5, 2, 4])
    assert curves.edges(np.array([4.0]), True) == pytest.approx([2, 8])
    assert curves.edges(np.array([0.0]), False) == pytest.approx([-0.5, 0.5])


# --- noise_ratio, convergence ----------------------------------------------------------------------------

SIGMA = np.logspace(-2, 1, 4)


@pytest.fixture
def noise(tmp_path):
    for name, factor in (("standard", 1.5), ("robust", 4.0)):
        for seed in range(3):
            ratio = factor + seed * np.array([0.1, 0.2, 0.3, 0.4])
            put(tmp_path, f"{name}_s{seed}", "distractor_noise", {}, {"sigma": SIGMA, "ratio": ratio})
    names = ("standard", "robust")
    made = {n: group(*(f"{n}_s{s}" for s in range(3)), labels={"method": n}) for n in names}
    return {**made, "gone": group(not_testable=GONE)}


RATIO = {"name": "noise_ratio", "lines": [{"label": n, "group": n} for n in ("standard", "robust", "gone")]}


def test_noise_ratio(tmp_path, noise):
    result = draw(tmp_path, noise, figure=RATIO)
    (axes,) = result.figure.axes
    assert lines(axes)["robust, 3 seeds"][1].tolist() == pytest.approx([4.1, 4.2, 4.3, 4.4])
    one = [line for line in axes.get_lines() if line.get_label() == "equal"]
    assert [list(line.get_ydata()) for line in one] == [[1, 1]]
    assert f"gone: not testable: {GONE}" in texts(result.figure)
    assert len(result.frame) == 24
    assert result.frame.query("run == 'robust_s2'")["ratio"].tolist() == pytest.approx([4.2, 4.4, 4.6, 4.8])
    low, high = axes.get_ylim()
    assert low == 0
    assert 4.8 < high < 5.5
    assert draw(tmp_path, noise, figure={**RATIO, "top": 12}).figure.axes[0].get_ylim() == (0, 12)


def test_noise_ratio_of_nothing(tmp_path, noise):
    result = draw(tmp_path, noise, figure={**RATIO, "lines": [RATIO["lines"][2]]})
    assert "not testable" in texts(result.figure)
    assert result.frame.empty


def test_grids_that_differ_are_refused(tmp_path, noise):
    put(tmp_path, "robust_s1", "distractor_noise", {}, {"sigma": SIGMA * 2, "ratio": np.ones(4)})
    with pytest.raises(DataError, match="robust_s1: 'ratio' over another 'sigma' than robust_s0"):
        draw(tmp_path, noise, figure=RATIO)


def test_convergence(tmp_path):
    for seed in range(2):
        put(
            tmp_path,
            f"t_s{seed}",
            "theory",
            {},
            {"sigma": SIGMA, "rho1": 0.8 + 0.1 * SIGMA, "rho2": np.array([0.8])},
        )
        rho2 = np.array([0.3, 0.5, np.nan])
        put(
            tmp_path,
            f"n_s{seed}",
            "definitions",
            {},
            {"sigma": SIGMA, "rho1": 0.4 - SIGMA / 100, "rho2": rho2},
        )
    made = {"t": group("t_s0", "t_s1"), "n": group("n_s0", "n_s1"), "gone": group(not_testable=GONE)}
    made["n"]["runs"][1]["labels"] = {"strength": 2.0}
    figure = {"name": "convergence", "lines": [
        {"label": "random", "group": "t", "evaluation": "theory"},
        {"label": "trained", "group": "n", "evaluation": "definitions", "where": {"strength": 2.0}},
        {"label": "other", "group": "gone", "evaluation": "definitions"}]}  # fmt: skip
    result = draw(tmp_path, made, figure=figure)
    (axes,) = result.figure.axes
    assert lines(axes)["random (2 runs)"][1].tolist() == pytest.approx((SIGMA / 8).tolist())
    assert lines(axes)["trained"][1].tolist() == pytest.approx((SIGMA / 40).tolist())
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "other: not testable" in texts(result.figure)
    assert set(result.frame["run"]) == {"t_s0", "t_s1", "n_s1"}
    absolute = draw(tmp_path, made, figure={**figure, "relative": False})
    assert absolute.frame.query("line == 'trained'")["difference"].tolist() == pytest.approx(
        (SIGMA / 100).tolist()
    )
    figure["lines"][1]["where"] = {"strength": 7}
    with pytest.raises(DataError, match=r"no run of n has the labels \{'strength': 7\}"):
        draw(tmp_path, made, figure=figure)


# --- tables ----------------------------------------------------------------------------------------------

TABLE = {
    "name": "regimes", "rows": [{"label": "GN", "group": "gn"}, {"label": "AT", "group": "at"}],
    "alignment": [LPIPS, COSINE], "published": {"GN": {"crossing": 0.024, "peak": 0.0728}},
}  # fmt: skip


def test_table_of_regimes(tmp_path):
    gn = put_sweep(tmp_path, "gn", seeds=3, noise=0.0, status={"gn_29_s0": "diverged"})
    made = {"gn": {**gn, "missing": {"lpips": "no AlexNet"}}, "at": group(not_testable=GONE)}
    result = draw(tmp_path, made, table=TABLE)
    found = result.frame.set_index(["row", "column"]).loc["GN"]
    expected = {
        "weak, first": STRENGTHS[0], "weak, last": STRENGTHS[13], "weak, strengths": 14,
        "Bayes-aligned, first": STRENGTHS[14], "Bayes-aligned, last": STRENGTHS[16],
        "Bayes-aligned, strengths": 3, "excessive, first": STRENGTHS[17], "excessive, last": STRENGTHS[29],
        "excessive, strengths": 13, "crossing": STRENGTHS[CROSSING], "accuracy at crossing": 0.897,
        "drop at crossing": 0.054, "peak": STRENGTHS[PEAK], "alignment at peak": 0.878,
        "accuracy at peak": 0.864,
    }  # fmt: skip
    assert found["measured"].to_dict() == pytest.approx(expected)
    assert found["measured_sd"].to_dict() == pytest.approx(dict.fromkeys(expected, 0), abs=1e-12)
    assert set(found["n_seeds"]) == {3}
    assert found.loc["crossing", "published"] == 0.024
    assert found.loc["crossing", "note"] == "the same in every seed"
    assert set(result.frame.query("row == 'AT'")["note"]) == {f"not testable: {GONE}"}
    assert (
        "| first strength with off < on | 0.024 | 0.024 (the same in every seed) | – | not testable |"
        in result.markdown
    )
    assert (
        "- GN: digits, cifar_resnet18 w8; alignment: cosine; 30 strengths, 3 seeds; 1 of 90 runs diverged"
        in result.markdown
    )


def test_landmarks_that_only_some_seeds_have(tmp_path):
    above = np.array(OFF) + 1
    gn = put_sweep(tmp_path, "gn", seeds=3, noise=0.0, alignment=None)
    for k, off in enumerate(above):
        put(tmp_path, f"gn_{k}_s1", "sensitivity", {"on": ON[k], "off": off})
    made = {"gn": {**gn, "missing": {"lpips": "no AlexNet", "similarity": "no denoiser"}}}
    table = {**TABLE, "rows": TABLE["rows"][:1]}
    result = draw(tmp_path, made, table=table)
    found = result.frame.set_index("column")
    # In the means of the three seeds the curves never cross, but they do in two seeds.
    assert np.isnan(found.loc["crossing", "measured"])
    assert found.loc["crossing", "n_seeds"] == 2
    assert found.loc["crossing", "note"].endswith("in 2 of 3")
    assert found.loc["peak", "note"] == "in no seed"
    assert "none (seeds: 0.024 to 0.024, in 2 of 3)" in result.markdown
    assert "no alignment: no AlexNet" in result.markdown
    with pytest.raises(DataError, match="published names 'crosing'"):
        draw(tmp_path, made, table={**table, "published": {"GN": {"crosing": 1}}})


def test_table_of_checks(tmp_path):
    for seed, (error, share) in enumerate(((1e-15, 0.9), (2e-15, 0.2), (3e-13, None))):
        put(tmp_path, f"t_s{seed}", "theory", {"error": error, "share": share})
    made = {"t": group("t_s0", "t_s1", "t_s2"), "gone": group(not_testable=GONE)}
    rows = [
        {"label": "error", "group": "t", "value": "error", "high": 1e-14, "place": "Thm 1"},
        {"label": "share", "group": "t", "value": "share", "low": 0.5, "high": 1},
        {"label": "other", "group": "gone", "value": "share", "low": 0.5},
    ]  # fmt: skip
    rows = [{**row, "evaluation": "theory"} for row in rows]
    result = draw(tmp_path, made, table={"name": "checks", "rows": rows})
    found = result.frame.set_index("row")
    assert found.loc["error", "measured"] == pytest.approx((1e-15 + 2e-15 + 3e-13) / 3)
    assert found["published"].tolist() == [1e-14, 1, 0.5]
    assert found.loc["error", "note"] == "kept in 2 of 3 runs"
    assert found.loc["share", "note"].startswith("kept in 1 of 3 runs; 1 of 3 not finite")
    assert "| error | Thm 1 | at most 1e-14 | 1.01e-13 | 3.00e-13 | 2 of 3 runs |" in result.markdown
    assert "| share | – | 0.5 to 1 | 5.50e-01 | not finite | 1 of 3 runs |" in result.markdown
    assert f"| other | – | at least 0.5 | not testable: {GONE} | – | – |" in result.markdown
    with pytest.raises(ValidationError, match="an end of the range"):
        plugins.load("tables", "checks").Config(rows=[{**rows[0], "high": None}])
