"""Files from outside as inputs of measurements: found, identified by their hash, fetched beforehand."""

import numpy as np
import torch
from tiny import Tiny

from pagrepro.inputs import Loader, input_hashes
from pagrepro.layout import Layout
from pagrepro.storage import file_hash, write_json
from pagrepro.targets import Files


def given(digest):
    return {"alexnet": {"source": "weights", "filename": "w.pt", "hash": digest}}


def test_a_source_is_given_as_the_path_of_its_file(tmp_path):
    layout = Layout(tmp_path / "results", tmp_path / "resources")
    found = Loader(layout, torch.device("cpu")).inputs(given("sha256:1"))
    assert found == {"alexnet": tmp_path / "resources/sources/weights/w.pt"}


def test_a_source_is_known_by_its_hash(tmp_path):
    layout = Layout(tmp_path / "results", tmp_path / "resources")
    path = layout.source("weights", "w.pt")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    assert input_hashes({"inputs": given("sha256:1")}, layout) == {"alexnet": "sha256:1"}
    assert input_hashes({"inputs": given(None)}, layout) == {"alexnet": f"sha256:{file_hash(path)}"}


def similarity(tiny):
    """A measurement of one group that asks for a file: of scores that are a field, on data with images."""
    tiny.paper["fields"]["near"]["split"] = "test"
    for group in ("aligned",):
        del tiny.paper["runs"][group]
    tiny.paper["evaluations"] = {
        "clean": {"groups": ["*"], "measure": {"name": "accuracy"}},
        "similar": {
            "groups": ["plain"],
            "measure": {"name": "score_similarity"},
            "inputs": {"score": {"field": "line_near_s{seed}"}, "alexnet": {"source": "archive"}},
        },
    }
    tiny.paper["artifacts"], tiny.paper["claims"], tiny.tier["packs"] = {}, {}, []
    return tiny


def test_files_of_measurements_are_downloaded_and_inputs_of_their_jobs(tmp_path):
    tiny = similarity(Tiny())
    tiny.tier["unavailable"] = []
    expansion = tiny.expand(tmp_path)
    del expansion.runs["remote_plain_s0"]
    files = Files(expansion, Layout(tmp_path / "results"))
    spec = expansion.evaluations["line_plain_s0", "similar"].spec
    assert spec["inputs"]["alexnet"] == {
        "source": "archive", "filename": "a.tar.gz", "hash": "sha256:" + "0" * 64,
    }  # fmt: skip
    assert "archive" in files.downloads
    job_inputs = files._input(spec["inputs"]["alexnet"])
    assert job_inputs == ["resources/sources/archive/a.tar.gz"]


def test_a_file_that_cannot_be_had_removes_the_measurement_alone(tmp_path):
    tiny = similarity(Tiny())
    expansion = tiny.expand(tmp_path)
    assert ("line_plain_s0", "similar") not in expansion.evaluations
    assert ("line_plain_s0", "clean") in expansion.evaluations
    assert "archive" in expansion.removed["line_plain_s0/similar"]


def test_a_result_counts_by_what_was_measured_and_not_by_when(tmp_path):
    layout = Layout(tmp_path)
    spec = {"inputs": {"pairs": {"run": "a", "evaluation": "closest"}}}

    def measured(values, classes, seconds):
        write_json(layout.result("a", "closest"), {"values": values, "provenance": {"wall_s": seconds}})
        np.savez(layout.arrays("a", "closest"), classes=np.array(classes))
        return input_hashes(spec, layout)["pairs"]

    first = measured({"share": 0.5}, [1, 2], 3.0)
    assert measured({"share": 0.5}, [1, 2], 4.0) == first
    assert measured({"share": 0.6}, [1, 2], 3.0) != first
    assert measured({"share": 0.5}, [1, 3], 3.0) != first
