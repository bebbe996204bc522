"""Tables over runs: correlations, set-ups with hours, and rows that are parts of one measurement."""

import json

import numpy as np
import pytest
from made_up import context, group, put
from pydantic import ValidationError

from pagrepro import artifact, plugins
from pagrepro.errors import DataError
from pagrepro.layout import Layout


def draw(tmp_path, groups, table, **more):
    return artifact.draw(context(tmp_path, groups, table=table, **more))


def cells(result):
    return result.frame.set_index(["row", "column"])


# --- accuracy: parts of one measurement ------------------------------------------------------------------


def test_rows_may_be_classes_of_the_same_runs(tmp_path):
    put(tmp_path, "g_s0", "similarity", {"norm_x_class0": 1.0, "norm_x_class1": 1.3, "norm_x": 1.15})
    column = {"label": "norm", "evaluation": "similarity", "value": "norm_x", "scale": 1}
    rows = [{"label": f"class {k}", "group": "g", "suffix": f"_class{k}"} for k in (0, 1)]
    rows.append({"label": "all", "group": "g"})
    result = draw(tmp_path, {"g": group("g_s0")}, {"name": "accuracy", "rows": rows, "columns": [column]})
    assert result.frame["measured"].tolist() == [1.0, 1.3, 1.15]


# --- correlation -----------------------------------------------------------------------------------------

CORRELATION = {
    "name": "correlation", "against": {"evaluation": "eps50", "value": "eps50"},
    "columns": [{"label": "ours", "evaluation": "alignment", "value": "alpha_dx"},
                {"label": "alpha_x", "evaluation": "alignment", "value": "alpha_x"}],
    "rows": [{"label": "Spheres", "group": "g"}], "published": {"Spheres": {"ours": 0.818}},
}  # fmt: skip


def budgets(tmp_path, alpha, other, radius, eps, seeds=5):
    """A group with one run per entry; the seeds go round."""
    runs = []
    for number, (a, b, r, e) in enumerate(zip(alpha, other, radius, eps, strict=True)):
        run = f"g_{number}"
        put(tmp_path, run, "alignment", {"alpha_dx": a, "alpha_x": b})
        put(tmp_path, run, "eps50", {"eps50": r})
        runs.append({"run": run, "seed": number % seeds, "labels": {"eps": e}})
    return {"g": {**group(), "runs": runs}}


def test_correlation_over_runs(tmp_path):
    rng = np.random.default_rng(0)
    eps = np.repeat([0.1, 0.2, 0.3, 0.4], 5)
    radius = eps + 0.02 * rng.normal(size=20)
    alpha = 0.5 * radius + 0.01 * rng.normal(size=20)
    other = rng.normal(size=20)
    result = draw(tmp_path, budgets(tmp_path, alpha, other, radius, eps.tolist()), CORRELATION)
    table = cells(result)
    r = np.corrcoef(alpha, radius)[0, 1]
    assert table.loc["Spheres", "ours"]["measured"] == pytest.approx(r)
    assert table.loc["Spheres", "ours"][["published", "n_seeds"]].tolist() == [0.818, 5]
    low, high = (table.loc["Spheres", f"ours, {end}"]["measured"] for end in ("low", "high"))
    assert low < r < high <= 1
    left_out = [np.corrcoef(alpha[eps != e], radius[eps != e])[0, 1] for e in np.unique(eps)]
    for end, value in (("lowest", min(left_out)), ("highest", max(left_out))):
        found = table.loc["Spheres", f"ours, without one budget: {end}"]
        assert found["measured"] == pytest.approx(value)
        assert np.isnan(found["published"])
    assert (
        table.loc["Spheres", "alpha_x, low"]["measured"]
        < 0
        < table.loc["Spheres", "alpha_x, high"]["measured"]
    )
    without = " to ".join(f"{e:.3f}" for e in (min(left_out), max(left_out)))
    assert f"| 0.818 | {r:.3f} [{low:.3f}, {high:.3f}] (20 runs) | {without} |" in result.markdown


def test_runs_without_a_value_are_left_out_and_counted(tmp_path):
    eps = [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    radius = [0.1, 0.12, 0.21, 0.2, 0.33, None]
    result = draw(
        tmp_path, budgets(tmp_path, [1, 2, 3, 4, 5, 6], [1, 3, 2, 5, 4, 6], radius, eps), CORRELATION
    )
    ours = cells(result).loc["Spheres", "ours"]
    assert ours["measured"] == pytest.approx(np.corrcoef([1, 2, 3, 4, 5], radius[:5])[0, 1])
    # Without 0.1 or 0.2 there are three runs left.
    assert ours["note"] == (
        "1 of 6 runs without a finite value, left out; too little is left without one of 2 values of 'eps'"
    )
    assert "- Spheres, ours: 1 of 6 runs" in result.markdown


@pytest.mark.parametrize(
    ("alpha", "note"),
    [([1, 2, 3], "3 runs, 4 are needed"), ([1, 1, 1, 1, 1], "a quantity is the same in all 5 runs")],
)
def test_too_little_for_a_correlation_gives_a_reason(tmp_path, alpha, note):
    steps = [k / 10 for k in range(len(alpha))]
    result = draw(tmp_path, budgets(tmp_path, alpha, steps, steps, steps), CORRELATION)
    found = cells(result)
    assert found.loc["Spheres", "ours"]["note"] == note
    assert found["measured"][["ours" in column for _, column in found.index]].isna().all()
    assert f"| 0.818 | {note} | – |" in result.markdown


def test_one_budget_leaves_nothing_out_and_absent_groups_say_why(tmp_path):
    groups = budgets(tmp_path, [1, 2, 4, 3], [1, 2, 3, 4], [1, 2, 3, 4], [0.1] * 4)
    found = cells(draw(tmp_path, groups, CORRELATION))
    assert np.isnan(found.loc["Spheres", "ours, without one budget: lowest"]["measured"])
    assert "nothing to leave out" in found.loc["Spheres", "ours"]["note"]
    absent = draw(tmp_path, {"g": group(not_testable="no x-rays")}, CORRELATION)
    assert "| 0.818 | not testable: no x-rays | – |" in absent.markdown
    with pytest.raises(DataError, match="published names 'Sphere'"):
        draw(tmp_path, groups, {**CORRELATION, "published": {"Sphere": {"ours": 1.0}}})


# --- setup -----------------------------------------------------------------------------------------------


def fitted(tmp_path, run, *seconds):
    path = Layout(tmp_path).history(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"epoch": k, "wall_s": s}) + "\n" for k, s in enumerate(seconds)))


@pytest.fixture
def setups(tmp_path):
    fitted(tmp_path, "b_s0", 900, 3600)
    fitted(tmp_path, "b_s1", 7200)
    fitted(tmp_path, "p_s0")
    for run, seconds in (("b_s0", 1800), ("b_s1", 5400)):
        put(tmp_path, run, "square", {"eps50": 0.1}, provenance={"wall_s": seconds})
    put(tmp_path, "p_s0", "square", {"eps50": 0.1})
    return {
        "b": group("b_s0", "b_s1", labels={"n": 784, "eps": 0.3, "note": "half"}),
        "p": {**group("p_s0"), "runs": [{"run": "p_s0", "seed": 0, "labels": {"n": 1000, "note": "half"}}]},
        "x": group(not_testable="no x-rays"),
    }


SETUP = {
    "name": "setup", "place": "Table S1", "published_on": "MNIST",
    "columns": [{"label": "M", "groups": {"baseline": "b", "pgd": "p"}},
                {"label": "X", "groups": {"baseline": "x"}}],
    "rows": [{"label": "n", "of": ["baseline"], "key": "n"},
             {"label": "sizes", "of": ["baseline", "pgd"], "key": "n"},
             {"label": "kind", "of": ["baseline"], "key": "note"},
             {"label": "fit", "of": ["baseline"], "hours": "fit"},
             {"label": "P fit", "of": ["pgd"], "hours": "fit"},
             {"label": "Square", "of": ["baseline", "pgd"], "hours": "evaluation", "evaluation": "square"}],
    "published": {"n": {"M": 10000000, "X": 50176}, "kind": {"M": "all / half"}, "fit": {"M": 6.5},
                  "P fit": {"X": 3}},
}  # fmt: skip


def test_setup_table(tmp_path, setups):
    result = draw(tmp_path, setups, SETUP)
    table = cells(result)
    assert table.loc["n", "M"][["published", "measured", "n_seeds"]].tolist() == [10000000, 784, 2]
    assert table.loc["sizes", "M"]["note"] == "used: 784, 1,000"
    assert np.isnan(table.loc["sizes", "M"]["measured"])
    assert table.loc["kind", "M"]["note"] == "published: all / half; used: half"
    assert table.loc["n", "X"]["note"] == "not testable: no x-rays"
    for line in ("| n | 10,000,000 | 784 | 50,176 | not testable: no x-rays |",
                 "| sizes | – | 784, 1,000 |", "| kind | all / half | half |",
                 "- M here: digits, cifar_resnet18 w8", "| P fit | – | – | 3 |  |"):  # fmt: skip
        assert line in result.markdown
    assert ("sizes", "X") in table.index
    assert ("Square", "X") in table.index


def test_hours_are_of_one_run(tmp_path, setups):
    table = cells(draw(tmp_path, setups, SETUP))
    assert table.loc["fit", "M"][["measured", "n_seeds"]].tolist() == [1.5, 2]
    assert table.loc["fit", "M"]["measured_sd"] == pytest.approx(np.std([1, 2], ddof=1))
    assert table.loc["Square", "M"][["measured", "n_seeds"]].tolist() == [1.0, 2]
    assert table.loc["Square", "M"]["note"] == "1 of 3 runs without a time"
    assert table.loc["P fit", "M"]["note"] == "1 of 1 runs without a time"
    assert table.loc["fit", "X"]["note"] == "not testable: no x-rays"


def test_setup_rows_are_one_thing_and_labels_have_to_be_there(tmp_path, setups):
    with pytest.raises(DataError, match="b_s0 has no label 'gamma'; it has: seed, n, eps, note"):
        draw(
            tmp_path,
            setups,
            {**SETUP, "rows": [{"label": "n", "of": ["baseline"], "key": "gamma"}], "published": {}},
        )
    config = plugins.config_class("tables", "setup")
    for row in (
        {"key": "n", "hours": "fit"},
        {},
        {"hours": "evaluation"},
        {"hours": "fit", "evaluation": "e"},
    ):
        with pytest.raises(ValidationError, match=r"exactly one|goes with"):
            config(rows=[{"label": "a", "of": ["b"], **row}], columns=[])


def test_setup_of_a_preview_counts_what_is_there(tmp_path, setups):
    setups["b"]["runs"].append({"run": "b_s9", "seed": 9, "labels": {"n": 784, "eps": 0.3, "note": "half"}})
    found = context(tmp_path, setups, allow_missing=True, table=SETUP)
    table = cells(artifact.draw(found))
    assert table.loc["fit", "M"]["n_seeds"] == 2
    assert found.incomplete == "incomplete: 3 of 4 runs"
    assert found.used["b_s0", "history"] == ""
