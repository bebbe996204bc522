import pytest

from pagrepro.template import TemplateError, combinations, fill, overlay


def test_whole_values_keep_their_type_and_text_is_filled_in():
    scope = {"a": {"b": [1, 2], "c": 0.5}, "seed": 3}
    assert fill({"x": "$a.b", "y": "s{seed}_{a.c}", "z": [{"w": "$seed"}], 1: "kept"}, scope) == {
        "x": [1, 2], "y": "s3_0.5", "z": [{"w": 3}], 1: "kept",
    }  # fmt: skip


def test_a_path_may_hold_another_reference():
    scope = {"weights": {"mean": 0.4, "near": 0.5}, "method": "near"}
    assert fill("$weights.{method}", scope) == 0.5


def test_an_unknown_reference_says_what_there_is():
    with pytest.raises(TemplateError, match=r"no 'b' in 'a.b'; there is: c"):
        fill("$a.b", {"a": {"c": 1}})


def test_grids_multiply_and_later_keys_see_earlier_ones():
    scope = {"main": {"key": "m", "seeds": [0, 1]}, "second": {"key": "s", "seeds": [7]}}
    found = list(combinations({"data": ["$main", "$second"], "seed": "$data.seeds"}, scope))
    assert [(f["data"]["key"], f["seed"]) for f in found] == [("m", 0), ("m", 1), ("s", 7)]
    assert list(combinations({}, {})) == [{}]
    assert list(combinations({"seed": []}, {})) == []


def test_a_grid_needs_lists():
    with pytest.raises(TemplateError, match="expected a list of values, found 3"):
        list(combinations({"seed": "$n"}, {"n": 3}))


def test_overlay_changes_known_keys_only_and_replaces_plugins_whole():
    base = {"fit": {"epochs": 100, "batch": 64}, "model": {"name": "a", "width": 64}}
    over = {"fit": {"epochs": 2}, "model": {"name": "b"}}
    assert overlay(base, over) == {"fit": {"epochs": 2, "batch": 64}, "model": {"name": "b"}}
    assert base["fit"]["epochs"] == 100
    with pytest.raises(TemplateError, match=r"fit\.epoch: unknown setting; there are: epochs, batch"):
        overlay(base, {"fit": {"epoch": 2}})


def test_what_a_grid_names_may_refer_to_grid_keys_that_come_later():
    scope = {
        "main": {"field": "near_s{seed}", "inputs": "$shared", "seeds": [0, 1]},
        "shared": {"t": "$data.field"},
    }
    grid = {"data": ["$main"], "seed": "$data.seeds"}
    found = [fill("$data.inputs", {**scope, **values}) for values in combinations(grid, scope)]
    assert found == [{"t": "near_s0"}, {"t": "near_s1"}]


def test_text_may_hold_settings_that_are_templates_themselves():
    scope = {"data": {"key": "m", "field": "{data.key}_s{seed}"}, "seed": 3}
    assert fill("{data.field}_test", scope) == "m_s3_test"
