"""Tables: long form, Markdown, and what they say of substitutes, divergence and absence."""

import io

import numpy as np
import pandas as pd
import pytest
from made_up import context, group, put

from pagrepro import artifact
from pagrepro.errors import DataError

ACCURACY = {
    "name": "accuracy", "published_on": "CIFAR-10 with ResNet-18", "place": "Table 1, page 8",
    "rows": [{"label": "Vanilla", "group": "vanilla"}, {"label": "Teacher", "group": "teacher"}],
    "columns": [{"label": "Clean", "evaluation": "clean"},
                {"label": "Margin", "evaluation": "clean", "value": "margin", "scale": 1, "digits": 1}],
    "published": {"Vanilla": {"Clean": 93.61, "Margin": [2.0, 0.5]}, "Teacher": {"Clean": 84.94}},
}  # fmt: skip


@pytest.fixture
def groups(tmp_path):
    for seed, value in enumerate((0.9, 0.92, 0.94)):
        status = "diverged" if seed == 2 else "complete"
        put(tmp_path, f"v_s{seed}", "clean", {"accuracy": value, "margin": seed}, status=status)
    return {"vanilla": group("v_s0", "v_s1", "v_s2", labels={"lambda": 0.4, "substitute": "own teacher"}),
            "teacher": group(not_testable="weights | no network")}  # fmt: skip


def draw(tmp_path, groups, table, **more):
    found = context(tmp_path, groups, table=table, **more)
    return artifact.draw(found), found


def test_accuracy_table(tmp_path, groups):
    result, _ = draw(tmp_path, groups, ACCURACY)
    table = result.frame.set_index(["row", "column"])
    assert list(result.frame.columns) == list(artifact.TABLE_COLUMNS)
    clean = table.loc["Vanilla", "Clean"]
    assert clean["measured"] == pytest.approx(92)
    assert clean["measured_sd"] == pytest.approx(2)  # ddof 1
    assert (clean["published"], clean["n_seeds"], clean["tier"]) == (93.61, 3, "demo")
    assert clean["note"] == "1 of 3 diverged (91 without); substitute: own teacher"
    assert table.loc["Vanilla", "Margin"][["published", "published_sd", "measured"]].tolist() == [
        2.0,
        0.5,
        1.0,
    ]
    gone = table.loc["Teacher", "Clean"]
    assert np.isnan(gone["measured"])
    assert (gone["published"], gone["note"]) == (84.94, "not testable: weights | no network")


def test_markdown_is_laid_out_as_in_the_paper(tmp_path, groups):
    text = draw(tmp_path, groups, ACCURACY)[0].markdown
    assert text.startswith("# Table 1. A title\n")
    assert (
        "Published: CIFAR-10 with ResNet-18, Table 1, page 8. Measured here: digits with cifar_resnet18 w8"
        in text
    )
    assert (
        "| Vanilla | digits, cifar_resnet18 w8 | 93.61 | 92.00 ± 2.00 (n=3) | 2.0 ± 0.5 | 1.0 ± 1.0 (n=3) |"
        in text
    )
    assert "| Teacher | – | 84.94 | not testable: weights \\| no network | – |" in text
    assert "- Vanilla, Clean: 1 of 3 diverged (91 without); substitute: own teacher" in text


def test_rows_by_label_and_cells_that_the_paper_leaves_empty(tmp_path, groups):
    rows = [{"label": "0.4", "group": "vanilla", "where": {"lambda": 0.4}, "without": ["Margin"]},
            {"label": "1", "group": "vanilla", "where": {"lambda": 1}}]  # fmt: skip
    result, _ = draw(tmp_path, groups, {**ACCURACY, "rows": rows, "published": {}})
    assert result.frame["row"].tolist() == ["0.4", "1", "1"]
    assert result.frame["n_seeds"].tolist() == [3, 0, 0]
    assert "no run of vanilla has the labels" in result.frame["note"][1]


def test_published_numbers_must_have_a_place(tmp_path, groups):
    for published in ({"Vanila": {"Clean": 1.0}}, {"Vanilla": {"Claen": 1.0}}):
        with pytest.raises(DataError, match=r"published names '(Vanila|Claen)'; there are: "):
            draw(tmp_path, groups, {**ACCURACY, "published": published})


def test_preview_is_marked(tmp_path, groups):
    groups["vanilla"]["runs"].append({"run": "v_s9", "seed": 9, "labels": {}})
    found = context(tmp_path, groups, allow_missing=True, table=ACCURACY)
    path = tmp_path / "tables" / "table1.csv"
    artifact.save_table(artifact.draw(found), found, path)
    saved = pd.read_csv(path)
    assert saved["note"].str.endswith("incomplete: 3 of 4 runs").all()
    assert saved["n_seeds"][0] == 3
    assert path.with_suffix(".md").read_text().startswith("# Table 1. A title (incomplete: 3 of 4 runs)")
    assert '"spec_hash": "hash of v_s0"' in path.with_suffix(".json").read_text()
    assert not list(path.parent.glob(".*"))


def test_settings_table_shows_published_and_used(tmp_path, groups):
    groups["mixed"] = group("m_s0", "m_s1")
    groups["mixed"]["runs"][0]["labels"]["lambda"] = 0.2
    groups["mixed"]["runs"][1]["labels"]["lambda"] = 0.1
    table = {
        "name": "settings", "key": "lambda", "symbol": "λ", "columns": ["CIFAR-10", "STL"],
        "rows": [{"label": "One Image", "groups": {"CIFAR-10": "vanilla", "STL": "teacher"}},
                 {"label": "Class Mean", "groups": {"CIFAR-10": "mixed"}}],
        "published": {"One Image": {"CIFAR-10": 0.5, "STL": 0.25}},
    }  # fmt: skip
    result, _ = draw(tmp_path, groups, table)
    assert result.frame[["published", "measured"]].fillna(-1).to_numpy().tolist() == [
        [0.5, 0.4],
        [0.25, -1],
        [-1, -1],
    ]
    assert result.frame["note"][2] == "used: 0.1, 0.2"
    assert (
        "| One Image | 0.50 | 0.4 | digits, cifar_resnet18 w8 | 0.25 | not testable: weights"
        in result.markdown
    )
    with pytest.raises(DataError, match="no label 'gamma'"):
        draw(tmp_path, groups, {**table, "key": "gamma"})


def test_seeds_table_shows_every_seed(tmp_path, groups):
    table = {"name": "seeds", "rows": [{"label": "One Image", "group": "vanilla"}],
             "columns": [{"label": "Clean", "evaluation": "clean"}],
             "published": {"One Image": {"Clean": [79.13, 0.74]}}}  # fmt: skip
    result, _ = draw(tmp_path, groups, table)
    assert result.frame["row"].tolist() == ["One Image", *(f"One Image, seed {s}" for s in range(3))]
    assert result.frame["measured"].tolist() == pytest.approx([92, 90, 92, 94])
    assert result.frame["measured_sd"].isna().tolist() == [False, True, True, True]
    assert "| One Image | paper | 79.13 ± 0.74 |" in result.markdown
    assert "| One Image, seed 2 | digits, cifar_resnet18 w8 | 94.00 |" in result.markdown


def test_long_form_survives_csv(tmp_path, groups):
    result, _ = draw(tmp_path, groups, ACCURACY)
    again = pd.read_csv(io.StringIO(result.frame.to_csv(index=False)))
    assert again["measured"].tolist() == pytest.approx(result.frame["measured"].tolist(), nan_ok=True)
