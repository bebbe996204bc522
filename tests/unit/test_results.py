"""Reading results: values, arrays, histories, and what a preview leaves out."""

import math

import numpy as np
import pytest
from made_up import context, group, put

from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.results import FRAME_COLUMNS, frame, groups_from_json, read


def test_result_carries_values_labels_and_lazy_arrays(tmp_path):
    put(
        tmp_path,
        "a_s0",
        "clean",
        {"accuracy": 0.5, "loss": None},
        {"correct": np.array([True, False])},
        flags=["odd"],
    )
    (found,) = context(tmp_path, {"a": group("a_s0", labels={"lambda": 0.4})}).results("a", "clean")
    assert found.value("accuracy") == 0.5
    assert math.isnan(found.value("loss"))
    assert found.array("correct").tolist() == [True, False]
    assert (found.seed, found.labels["lambda"], found.flags, found.dataset) == (0, 0.4, ("odd",), "digits")
    assert not found.diverged
    with pytest.raises(DataError, match=r"no value 'acc'; there are: accuracy, loss"):
        found.value("acc")
    with pytest.raises(DataError, match=r"no array 'margin'; there are: correct"):
        found.array("margin")


def test_arrays_are_never_unpickled(tmp_path):
    put(tmp_path, "a_s0", "clean", {"accuracy": 0.5}, {"correct": np.array([{"an": "object"}])})
    (found,) = context(tmp_path, {"a": group("a_s0")}).results("a", "clean")
    with pytest.raises(ValueError, match="allow_pickle"):
        found.array("correct")


def test_missing_result_is_an_error_outside_previews(tmp_path):
    with pytest.raises(DataError, match=r"no result .*a_s0.*'clean' declared for group 'a'"):
        context(tmp_path, {"a": group("a_s0")}).results("a", "clean")


def test_preview_counts_runs(tmp_path):
    put(tmp_path, "a_s0", "clean", {"accuracy": 0.5})
    put(tmp_path, "a_s0", "pgd", {"accuracy": 0.1})
    preview = context(tmp_path, {"a": group("a_s0", "a_s1", "a_s2")}, allow_missing=True)
    assert preview.incomplete is None
    assert [r.run for r in preview.results("a", "clean")] == ["a_s0"]
    preview.results("a", "pgd")
    assert preview.incomplete == "incomplete: 1 of 3 runs"
    assert preview.used == {("a_s0", "clean"): "hash of a_s0", ("a_s0", "pgd"): "hash of a_s0"}


def test_not_testable_group_has_no_results_and_a_reason(tmp_path):
    groups = {"a": group(not_testable="no net"), "b": group("b_s0", missing={"aa": "no library"})}
    found = context(tmp_path, groups)
    assert found.results("a", "clean") == []
    assert found.reason("a", "clean") == "no net"
    assert found.reason("b", "aa") == "no library"
    assert found.reason("b", "clean") is None
    with pytest.raises(DataError, match=r"no group 'c'.*a, b"):
        found.results("c", "clean")


def test_histories(tmp_path):
    path = Layout(tmp_path).history("a_s0")
    path.parent.mkdir(parents=True)
    path.write_text('{"epoch": 1}\n{"epoch": 2}\n')
    ((member, lines),) = context(tmp_path, {"a": group("a_s0")}).histories("a")
    assert (member.seed, lines) == (0, [{"epoch": 1}, {"epoch": 2}])
    with pytest.raises(DataError, match="no history"):
        context(tmp_path, {"b": group("b_s0")}).histories("b")
    preview = context(tmp_path, {"b": group("b_s0")}, allow_missing=True)
    assert preview.histories("b") == []
    assert preview.incomplete == "incomplete: 0 of 1 runs"


def test_frame_of_a_claim(tmp_path):
    put(tmp_path, "a_s0", "clean", {"accuracy": 0.5}, {"correct": np.ones(3, bool)})
    put(tmp_path, "b_s0", "clean", {"accuracy": 0.25}, status="diverged")
    select = {
        "high": {"groups": ["a", "b"], "evaluation": "clean", "value": "accuracy"},
        "low": {"groups": ["b"], "evaluation": "clean", "value": "accuracy"},
    }
    found = frame(context(tmp_path, {"a": group("a_s0"), "b": group("b_s0")}), select)
    assert list(found.columns) == list(FRAME_COLUMNS)
    assert found[["role", "group", "value", "status"]].to_numpy().tolist() == [
        ["high", "a", 0.5, "complete"], ["high", "b", 0.25, "diverged"], ["low", "b", 0.25, "diverged"],
    ]  # fmt: skip
    assert found["arrays"].notna().tolist() == [True, False, False]


def test_damaged_result_says_what_to_do(tmp_path):
    put(tmp_path, "a_s0", "clean", {})
    Layout(tmp_path).result("a_s0", "clean").write_text("{")
    chosen = groups_from_json({"a": group("a_s0")})["a"]
    with pytest.raises(DataError, match="delete it and measure again"):
        read(Layout(tmp_path), chosen, chosen.runs[0], "clean")
