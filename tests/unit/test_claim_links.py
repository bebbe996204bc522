"""Which figures and tables show a claim, what it was judged by, and the labels of the report."""

import pytest

from pagrepro import claim_links, report_labels


def content(number, name, groups=("a",), evaluations=("clean",), kind="figure", **more):
    table = {group: {"dataset": f"data {group}", "objective": "cross_entropy",
                     "runs": [{"run": f"{group}_s0", "seed": 0}]} for group in groups}  # fmt: skip
    return {"number": number, "name": name, "title": f"Title of {name}", kind: {"name": "x"},
            "groups": table, "evaluations": list(evaluations)} | more  # fmt: skip


def part(groups=("a",), evaluation="clean", **more):
    select = {"value": {"groups": list(groups), "evaluation": evaluation, "value": "accuracy"}}
    return {"label": "one", "rule": {"name": "within", "low": 0}, "select": select} | more


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("Table 2", ["Table 2"]),
        ("Tables 1 and 2", ["Table 1", "Table 2"]),
        ("Figures 1, 4 and 5", ["Figure 1", "Figure 4", "Figure 5"]),
        ("Figures 7 to 9", ["Figure 7", "Figure 8", "Figure 9"]),
        ("Figure S8, section A.7", ["Figure S8"]),
        ("Figure 2 (top), section 4.1, Table S1", ["Figure 2", "Table S1"]),
        ("section 3.3, argument 2", []),
        ("Theorem 2", []),
    ],
)
def test_numbers_in_a_place(place, expected):
    assert claim_links.numbers(place) == expected


def names(claim, *declared):
    return [found["name"] for found in claim_links.artifacts(claim, declared)]


def test_what_the_place_names_comes_first():
    one, two = content("Table 1", "table1", kind="table"), content("Figure 2", "figure2")
    assert names({"place": "Figure 2", "parts": [part()]}, one, two) == ["figure2"]
    (found,) = claim_links.artifacts({"place": "Table 1", "parts": [part()]}, [one, two])
    assert found == {"kind": "table", "name": "table1", "number": "Table 1", "title": "Title of table1"}


def test_else_what_shows_the_same_results():
    one = content("Table 1", "table1", groups=("a", "b"), kind="table")
    two = content("Figure 2", "figure2", evaluations=("pgd",))
    claim = {"place": "section 4", "parts": [part(("a", "b")), part(evaluation="pgd")]}
    assert names(claim, two, one) == ["table1", "figure2"]
    assert names({"place": "Table 9", "parts": [part()]}, one, two) == ["table1"]
    assert names({"place": "Lemma 1", "parts": [part(evaluation="exact")]}, one, two) == []


def test_evidence_of_a_claim():
    groups = {name: {"runs": [{"run": f"{name}_s{seed}"} for seed in range(2)]} for name in "ab"}
    parts = [part(), part(label="two"), part(("b",), label="three", not_testable="no data"),
             part(label="four", rule={"name": "within", "high": 1})]  # fmt: skip
    claims = [{"claim": "C1", "parts": parts, "artifacts": [{"name": "table1"}]}]
    found = claim_links.evidence({"claims": claims, "groups": groups})["C1"]
    assert found["artifacts"] == [{"name": "table1"}]
    # Once for every run and measurement, and nothing of what is not testable.
    assert found["results"] == [["a_s0", "clean"], ["a_s1", "clean"]]
    assert found["rules"] == [
        {"name": "within", "parameters": {"low": 0}, "parts": ["one", "two", "three"]},
        {"name": "within", "parameters": {"high": 1}, "parts": ["four"]},
    ]


def test_labels_of_the_report():
    figure = content("Figure 2", "figure2", groups=("a", "b"), evaluations=("eps50_linf",), histories=True)
    figure["groups"]["a"]["objective"] = "gradient_norm"
    figure["groups"]["b"]["runs"].append({"run": "b_s1", "seed": 1})
    assert report_labels.labels(figure) == {
        "number": "Figure 2", "title": "Title of figure2", "data set": "data a, data b",
        "objective": "cross entropy, gradient norm", "measurement": "eps50 linf, training history",
        "seeds": "1 to 2",
    }  # fmt: skip
    nothing = content("Figure 3", "figure3", groups=(), evaluations=())
    assert set(list(report_labels.labels(nothing).values())[2:]) == {"none"}
    many = content("Figure 4", "figure4", groups="abcdef")
    assert report_labels.labels(many)["data set"] == "data a, data b, data c, data d and 2 more"


def test_no_label_becomes_a_switch():
    four = [content(f"Table {n}", f"table{n}", evaluations=("clean" if n < 2 else "pgd",)) for n in range(4)]
    found = [report_labels.labels(one, four) for one in four]
    assert len({labels["measurement"] for labels in found}) == 3
    assert [labels["measurement"].strip("\u200b") for labels in found] == ["clean"] * 2 + ["pgd"] * 2
