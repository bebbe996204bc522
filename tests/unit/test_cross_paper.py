"""The cross-paper matrix on made-up results: numbers, marks, what is missing, and what its words say."""

import numpy as np
import pytest
from made_up import context, group, put
from pydantic import ValidationError

from pagrepro import artifact, cross_paper, plugins, rank_correlation
from pagrepro.errors import DataError
from pagrepro.matrix_options import Measure, Objective

MEASURES = {
    "clean": {"value": "accuracy", "better": "high", "kind": "accuracy", "scale": 100, "digits": 1},
    "pgd": {"value": "accuracy", "better": "high", "kind": "robustness", "scale": 100, "digits": 1},
    "cosine": {"value": "cosine", "better": "high", "kind": "alignment"},
    "l1": {"value": "l1", "better": "low", "kind": "smoothness"},
}
COLUMNS = [{"label": name, "evaluation": name, **more} for name, more in MEASURES.items()]
RHO = 1 - 6 * 2 / (6 * 35)  # of six places, two neighbours exchanged


@pytest.fixture
def made(tmp_path):
    """Six objectives with three runs each. Robustness rises from a to f, cosine with it but for one exchange,
    and the gradient norm falls; clean accuracy has nothing to do with it. `f` works on cosine."""
    groups, rows = {}, []
    clean = [0.9, 0.94, 0.91, 0.93, 0.92, 0.95]
    cosine = [0.1, 0.2, 0.3, 0.5, 0.4, 0.6]
    for place, name in enumerate("abcdef"):
        for seed in range(3):
            run, noise = f"{name}_s{seed}", 1e-3 * (seed - 1)
            put(tmp_path, run, "clean", {"accuracy": clean[place] + noise})
            put(tmp_path, run, "pgd", {"accuracy": 0.1 * place + noise})
            put(tmp_path, run, "cosine", {"cosine": cosine[place] + noise})
            put(tmp_path, run, "l1", {"l1": 10.0**-place + 1e-9 * seed})
        groups[name] = group(*(f"{name}_s{seed}" for seed in range(3)))
        family = "first" if name in "ab" else "second"
        rows.append({"label": f"objective {name}", "group": name, "family": family})
    rows[-1]["optimises"] = ["cosine"]
    return tmp_path, groups, rows


def read(made):
    folder, groups, rows = made
    objectives, measures = [Objective(**r) for r in rows], [Measure(**c) for c in COLUMNS]
    return cross_paper.read(context(folder, groups), objectives, measures)


def draw(made, kind, name, columns=COLUMNS, **more):
    folder, groups, rows = made
    options = {"name": name, "rows": rows, "columns": columns, **more}
    return artifact.draw(context(folder, groups, **{kind: options}))


CORRELATED = {"targets": ["pgd"], "given": "clean", "draws": 200}


def long(result):
    return result.frame.set_index(["row", "column"])


# --- numbers ---------------------------------------------------------------------------------------------


def test_cells_are_means_in_the_unit_of_the_table(made):
    matrix = read(made)
    assert matrix.values.shape == (6, 3, 4)
    assert matrix.means[:, 1] == pytest.approx([0, 10, 20, 30, 40, 50])
    assert matrix.values[2, :, 0] == pytest.approx([90.9, 91.0, 91.1])
    assert matrix.optimised.sum() == 1
    assert matrix.optimised[5, 2]


def test_correlations_are_oriented(made):
    correlations = cross_paper.Correlations(read(made), draws=200)
    link = correlations.link("cosine", "pgd", "clean")
    assert link.plain.rho == pytest.approx(RHO)
    # Smaller gradients are the better ones: both improve together.
    assert correlations.link("l1", "pgd", "clean").plain.rho == pytest.approx(1)
    assert link.plain.n == 6
    low, high = link.plain.objectives
    assert low <= RHO <= high
    assert np.ptp(link.plain.runs) <= np.ptp(link.plain.objectives)


def test_given_takes_the_third_measure_out(made):
    matrix = read(made)
    x, y, z = (matrix.means[:, place] for place in (2, 1, 0))
    link = cross_paper.Correlations(matrix, draws=200).link("cosine", "pgd", "clean")
    assert link.given.rho == pytest.approx(float(rank_correlation.partial_spearman(x, y, z)))


def test_objectives_that_work_on_a_measure_are_left_out_of_untrained(made):
    _folder, _groups, rows = made
    rows[0]["optimises"] = ["pgd"]
    link = cross_paper.Correlations(read(made), draws=200).link("cosine", "pgd", "clean")
    assert link.untrained.n == 4
    assert link.untrained.rho == pytest.approx(1 - 6 * 2 / (4 * 15))
    other = cross_paper.Correlations(read(made), draws=200).link("l1", "pgd", "clean")
    assert other.untrained.n == 5


def test_families_are_left_out_one_by_one(made):
    link = cross_paper.Correlations(read(made), draws=200).link("cosine", "pgd", "clean")
    # Without the first family c, d, e, f are left; without the second, two objectives: no correlation.
    assert link.families == pytest.approx((0.8, 0.8))


def test_runs_that_diverged_are_in_the_table_and_out_of_correlations(made):
    folder, _groups, _rows = made
    put(folder, "c_s1", "pgd", {"accuracy": 1.0}, status="diverged")
    matrix = read(made)
    assert matrix.means[2, 1] == pytest.approx((19.9 + 100 + 20.1) / 3)
    assert rank_correlation.means(matrix.oriented)[2, 1] == pytest.approx(20)
    assert cross_paper.Correlations(matrix, draws=200).link("cosine", "pgd", "clean").plain.rho == (
        pytest.approx(RHO)
    )
    assert (
        "1 of 3 diverged" in long(draw(made, "table", "objective_matrix")).loc["objective c", "pgd"]["note"]
    )


def test_a_missing_objective_is_left_out_pair_by_pair(made):
    _folder, _groups, rows = made
    rows[3]["without"] = {"cosine": "no teacher"}
    matrix = read(made)
    assert matrix.reasons == {("objective d", "cosine"): "no teacher"}
    correlations = cross_paper.Correlations(matrix, draws=200)
    assert correlations.link("cosine", "pgd", "clean").plain.n == 5
    assert correlations.link("l1", "pgd", "clean").plain.n == 6


def test_values_that_are_no_numbers_are_left_out(made):
    put(made[0], "b_s0", "cosine", {"cosine": None})
    matrix = read(made)
    assert np.isnan(matrix.values[1, 0, 2])
    assert matrix.means[1, 2] == pytest.approx(0.2005)


def test_measures_of_other_networks_have_groups_of_their_own(made):
    folder, groups, rows = made
    for row in rows:
        run = f"{row['group']}_far_s0"
        put(folder, run, "ratio", {"ratio": 2.0})
        groups[f"{row['group']}_far"] = group(run)
    far = {"label": "ratio", "evaluation": "ratio", "value": "ratio", "better": "high", "kind": "alignment"}
    found = draw((folder, groups, rows), "table", "objective_matrix", [*COLUMNS, {**far, "suffix": "_far"}])
    cell = long(found).loc["objective a", "ratio"]
    assert (cell["measured"], cell["n_seeds"]) == (2.0, 1)
    with pytest.raises(DataError, match="no group 'a_near'"):
        draw((folder, groups, rows), "table", "objective_matrix", [*COLUMNS, {**far, "suffix": "_near"}])


# --- the table of values ---------------------------------------------------------------------------------


def test_table_of_values(made):
    result = draw(made, "table", "objective_matrix", notes=["A note."])
    cell = long(result).loc["objective f", "cosine"]
    assert cell["measured"] == pytest.approx(0.6)
    # t(0.975, 2) = 4.302653, sd = 1e-3
    assert cell["high"] - cell["low"] == pytest.approx(2 * 4.302653e-3 / np.sqrt(3), rel=1e-5)
    assert (cell["optimised"], cell["better"], cell["n_seeds"]) == (True, "high", 3)
    assert long(result).loc["objective a", "l1"]["better"] == "low"
    assert "0.60 ± 0.00†" in result.markdown
    assert "| objective | paper | clean ↑ | pgd ↑ | cosine ↑ | l1 ↓ |" in result.markdown
    assert "6 objectives, 4 measures, 3 runs of each objective" in result.markdown
    assert "† (1 of 24 cells)" in result.markdown
    assert "- A note." in result.markdown


def test_two_runs_have_no_interval(made):
    folder, groups, rows = made
    groups["a"]["runs"] = groups["a"]["runs"][:2]
    found = long(draw((folder, groups, rows), "table", "objective_matrix"))
    assert np.isnan(found.loc["objective a", "pgd"]["low"])
    assert np.isfinite(found.loc["objective b", "pgd"]["low"])


def test_what_is_not_testable_says_why_once(made):
    folder, groups, rows = made
    for name in "abcdef":
        groups[name]["missing"] = {"lpips": "no AlexNet"}
    gone = {"label": "lpips", "evaluation": "lpips", "value": "v", "better": "high", "kind": "alignment"}
    columns = [*COLUMNS, gone]
    result = draw((folder, groups, rows), "table", "objective_matrix", columns)
    assert long(result).loc["objective b", "lpips"]["note"] == "not testable: no AlexNet"
    assert result.markdown.count("no AlexNet") == 1
    table = draw((folder, groups, rows), "table", "measure_correlations", columns, **CORRELATED)
    assert np.isnan(long(table).loc["lpips", "pgd"]["measured"])
    assert "no correlation: 0 objectives, too few" in long(table).loc["lpips", "pgd"]["note"]
    # It is no test, and does not count.
    assert "2 correlations over 6 objectives" in table.markdown
    for name in ("objective_matrix", "measure_correlations", "correlation_intervals"):
        more = {"objective_matrix": {}, "measure_correlations": {"given": "clean", "draws": 200}}
        draw((folder, groups, rows), "figure", name, columns, **more.get(name, CORRELATED))


# --- the table of correlations ---------------------------------------------------------------------------


def test_table_of_correlations(made):
    result = draw(made, "table", "measure_correlations", **CORRELATED, notes=["Few objectives."])
    found = long(result)
    assert found.loc["cosine", "pgd"]["measured"] == pytest.approx(RHO)
    assert found.loc["cosine", "pgd"]["note"] == "6 objectives, 18 runs"
    p = found.loc["cosine", "pgd, p"]["measured"], found.loc["l1", "pgd, p"]["measured"]
    adjusted = [found.loc[name, "pgd, p (Holm)"]["measured"] for name in ("cosine", "l1")]
    assert adjusted == pytest.approx(rank_correlation.holm(np.array(p)).tolist())
    assert found.loc["cosine", "pgd, untrained: objectives"]["measured"] == 5
    assert found.loc["cosine", "pgd, without one family: lowest"]["measured"] == pytest.approx(0.8)
    low, high = (found.loc["cosine", f"pgd, {end}"]["measured"] for end in ("low", "high"))
    assert f"{RHO:.2f} [{low:.2f}, {high:.2f}]" in result.markdown
    assert "p is at most 0.05 for: cosine (pgd); l1 (pgd)." in result.markdown
    assert "- Few objectives." in result.markdown
    assert "## Given clean" in result.markdown
    assert "- The widest interval: cosine and pgd" in result.markdown


def test_words_say_none_where_there_is_nothing(made):
    folder, _groups, _rows = made
    for place, name in enumerate("abcdef"):
        for seed in range(3):
            put(folder, f"{name}_s{seed}", "cosine", {"cosine": [0.1, -0.2, 0.3, -0.4, 0.25, 0.0][place]})
            put(folder, f"{name}_s{seed}", "l1", {"l1": 1.0})
    result = draw(made, "table", "measure_correlations", **CORRELATED)
    assert "1 correlation over 6 objectives" in result.markdown
    assert "p is at most 0.05 for: none." in result.markdown
    assert "– (the same rank everywhere, or nothing left)" in result.markdown


def test_nothing_at_all_is_said_so(made):
    folder, groups, rows = made
    result = draw((folder, groups, rows[:3]), "table", "measure_correlations", **CORRELATED)
    assert "No correlation could be computed." in result.markdown
    assert "3 objectives, too few" in result.markdown


def test_previews_are_marked_and_do_not_fail(made, tmp_path):
    folder, groups, rows = made
    groups["b"] = group("b_s0", "b_s9")
    options = {"name": "objective_matrix", "rows": rows, "columns": COLUMNS}
    here = context(folder, groups, allow_missing=True, table=options)
    result = artifact.draw(here)
    assert here.incomplete == "incomplete: 16 of 17 runs"
    assert long(result).loc["objective b", "pgd"]["n_seeds"] == 1


# --- figures ---------------------------------------------------------------------------------------------


def test_heat_map_colours_by_rank_in_the_better_direction(made):
    result = draw(made, "figure", "objective_matrix")
    found = result.frame.set_index(["objective", "measure"])
    assert found.loc["objective f", "pgd"]["rank"] == 1
    assert found.loc["objective f", "l1"]["rank"] == 1
    assert found.loc["objective a", "l1"]["rank"] == 6
    assert found.loc["objective d", "cosine"]["rank"] == 2
    axes = result.figure.axes[0]
    image = axes.get_images()[0].get_array()
    assert image[5, 3] == 1
    assert image[0, 1] == 0
    assert "0.60†" in [t.get_text() for t in axes.texts]
    assert axes.get_xticklabels()[-1].get_text().split() == ["l1", "↓"]


def test_ties_share_a_rank_and_a_constant_column_is_in_the_middle(made):
    folder, _groups, _rows = made
    for name in "abcdef":
        for seed in range(3):
            put(folder, f"{name}_s{seed}", "cosine", {"cosine": 0.5})
    module = plugins.load("figures", "objective_matrix")
    places = module.column_ranks(read(made))
    assert places[:, 2].tolist() == [3.5] * 6
    assert module.shares(places)[:, 2].tolist() == [0.5] * 6


def test_a_zero_has_no_sign():
    module = plugins.load("figures", "objective_matrix")
    assert [module.number(value, 2) for value in (-0.0004, 0.0, -3.214)] == ["0.00", "0.00", "-3.21"]


def test_figure_of_all_pairs(made):
    result = draw(made, "figure", "measure_correlations", given="clean", draws=200)
    frame = result.frame.set_index(["x", "y"])
    assert len(frame) == 6
    assert frame.loc["pgd", "cosine"]["rho"] == pytest.approx(RHO)
    assert np.isnan(frame.loc["clean", "pgd"]["given"])
    image = result.figure.axes[0].get_images()[0].get_array()
    assert image[2, 1] == pytest.approx(RHO)
    assert image[1, 2] == pytest.approx(frame.loc["pgd", "cosine"]["given"])
    assert image.mask[0].all()


def test_figure_of_intervals(made):
    result = draw(made, "figure", "correlation_intervals", **CORRELATED)
    frame = result.frame.set_index(["predictor", "estimate"])
    assert frame.loc["cosine", "plain"]["rho"] == pytest.approx(RHO)
    assert frame.loc["cosine", "untrained"]["n"] == 5
    assert frame.loc["l1", "plain"]["p_holm"] < 0.05
    (axes,) = result.figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["cosine", "l1"]
    drawn = [line.get_xdata()[0] for line in axes.get_lines() if len(line.get_xdata()) == 1]
    assert drawn[0] == pytest.approx(RHO)


# --- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows, columns: rows[0].update(optimises=["curvature"]),
            "measures that are not there: curvature",
        ),
        (lambda rows, columns: rows[0].update(without={"pdg": "x"}), "not there: pdg; there are: clean, pgd"),
        (lambda rows, columns: rows[1].update(label="objective a"), "two rows have the same label"),
        (lambda rows, columns: columns.append(columns[0]), "two columns have the same label: clean"),
    ],
)
def test_labels_have_to_fit(made, change, message):
    rows, columns = [dict(row) for row in made[2]], list(COLUMNS)
    change(rows, columns)
    with pytest.raises(ValidationError, match=message):
        plugins.config_class("tables", "objective_matrix")(rows=rows, columns=columns)


def test_targets_have_to_be_measures(made):
    with pytest.raises(ValidationError, match="not there: autoattack"):
        draw(made, "table", "measure_correlations", **{**CORRELATED, "targets": ["autoattack"]})
