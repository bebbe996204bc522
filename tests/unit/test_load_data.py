"""Declared data sets: prepared, loaded, checked; the real ones where they are at hand."""

import hashlib
import json
import os
import re
import runpy
import struct
import sys
from pathlib import Path

import chest_files
import numpy as np
import pytest
import torch
from official_files import (
    DECLARED,
    REPOSITORY,
    declared,
    idx,
    mnist_folder,
)

from pagrepro import load_data, plugins, splits
from pagrepro.data import chest_xray, mnist
from pagrepro.dataset import Dataset, Part, to_float
from pagrepro.download import DownloadError, fetch, file_hash
from pagrepro.errors import DataError
from pagrepro.layout import Layout


@pytest.fixture
def mnist_files(tmp_path):
    return mnist_folder(tmp_path)


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "results", tmp_path / "resources")


@pytest.fixture
def prepared(mnist_files, layout):
    files = {
        r: {"source": f"mnist_{r}", "filename": p.name, "hash": file_hash(p)} for r, p in mnist_files.items()
    }
    spec = {**declared("mnist", files), "parts": {"train": 7, "test": 3}}
    load_data.prepare(spec, mnist_files, layout.dataset("mnist"))
    return spec


def test_prepared_data_come_back_as_they_were(prepared, mnist_files, layout):
    dataset = load_data.load_dataset(prepared, layout)
    parts = mnist.build(mnist.Config(), mnist_files, 0)
    for name, part in parts.items():
        assert torch.equal(dataset.parts[name].x, part.x)
        assert torch.equal(dataset.parts[name].y, part.y)
    assert (dataset.classes, dataset.shape, dataset.low, dataset.high) == (10, (1, 28, 28), 0.0, 1.0)
    assert [p.name for p in layout.dataset("mnist").parent.iterdir()] == ["mnist.safetensors"]


def test_prepared_file_of_another_declaration_is_refused(prepared, layout):
    files = {**prepared["files"], "train_images": {**prepared["files"]["train_images"], "hash": "sha256:0"}}
    with pytest.raises(DataError, match="made from another declaration"):
        load_data.load_dataset({**prepared, "files": files}, layout)


def test_changed_file_is_not_prepared(prepared, mnist_files, layout):
    mnist_files["test_labels"].write_bytes(idx(np.zeros(3)))
    with pytest.raises(Exception, match=r"test-labels.gz is not the declared file\n  expected: sha256:"):
        load_data.prepare(prepared, mnist_files, layout.dataset("mnist"))


def test_missing_data_say_which_file_goes_where(prepared, mnist_files, layout):
    layout.dataset("mnist").unlink()
    with pytest.raises(DataError) as caught:
        load_data.load_dataset(prepared, layout)
    mnist_files["train_labels"].unlink()
    with pytest.raises(DataError) as again:
        load_data.prepare(prepared, mnist_files, layout.dataset("mnist"))
    for error in (caught, again):
        assert prepared["files"]["train_labels"]["hash"] in str(error.value)
        assert "mnist_train_labels" in str(error.value)
    assert "resources/sources/mnist_train_labels/train-labels.gz" in str(caught.value)


def test_roles_are_checked(prepared, mnist_files, layout):
    mnist_files["extra"] = mnist_files.pop("test_images")
    with pytest.raises(DataError, match=r"missing: \['test_images'\], unknown: \['extra'\]"):
        load_data.prepare(prepared, mnist_files, layout.dataset("mnist"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [1, 16, 16]}, r"part train: shape: declared \[1, 16, 16\], found \[1, 8, 8\]"),
        ({"parts": {"train": 1397, "test": 500}}, "part test: examples: declared 500, found 400"),
        ({"parts": {"train": 1397, "test": 400, "val": 1}}, "part val: missing"),
        ({"parts": {"train": 1397}}, "part test: examples: declared None"),
        ({"classes": 9}, "part train: labels 0..9, declared 9 classes"),
    ],
)
def test_data_that_are_not_as_declared(layout, change, message):
    with pytest.raises(DataError, match=message):
        load_data.load_dataset({**declared("digits"), **change}, layout)


def test_values_outside_the_declared_range(layout):
    spec = {**declared("toy_line", seed=0), "low": -1.0, "high": 1.0}
    with pytest.raises(DataError, match=r"declared -1.0\.\.1.0"):
        load_data.load_dataset(spec, layout)


def test_split_selects_rows_in_file_order(tmp_path):
    part = Part(torch.arange(10.0)[:, None], torch.arange(10) % 2)
    dataset = Dataset("d", {"test": part}, 2, (1,), None, None)
    splits.write_indices(tmp_path / "rows.txt", [7, 0, 3])
    spec = {"part": "test", "indices": "rows.txt", "sha256": None}
    x, y, index = load_data.load_split(dataset, spec, tmp_path)
    assert index.tolist() == [7, 0, 3]
    assert x[:, 0].tolist() == [7, 0, 3]
    assert y.tolist() == [1, 0, 1]
    x, y, index = load_data.load_split(dataset, {"part": "test", "indices": None, "sha256": None})
    assert index.tolist() == list(range(10))
    with pytest.raises(DataError, match="no part 'train'; it has test"):
        load_data.load_split(dataset, {"part": "train", "indices": None})
    with pytest.raises(DataError, match="has changed"):
        load_data.load_split(dataset, {**spec, "sha256": "0"}, tmp_path)


def test_split_without_some_rows(tmp_path):
    part = Part(torch.arange(6.0)[:, None], torch.arange(6) % 2)
    dataset = Dataset("d", {"train": part}, 2, (1,), None, None)
    splits.write_indices(tmp_path / "val.txt", [4, 1])
    digest = file_hash(tmp_path / "val.txt").partition(":")[2]
    spec = {"part": "train", "indices": None, "without": "val.txt", "sha256": digest}
    x, y, index = load_data.load_split(dataset, spec, tmp_path)
    assert index.tolist() == [0, 2, 3, 5]
    assert x[:, 0].tolist() == [0, 2, 3, 5]
    assert y.tolist() == [0, 0, 1, 1]
    splits.write_indices(tmp_path / "val.txt", list(range(6)))
    with pytest.raises(DataError, match="has changed"):
        load_data.load_split(dataset, spec, tmp_path)
    with pytest.raises(DataError, match="lists every row of part train"):
        load_data.load_split(dataset, {**spec, "sha256": None}, tmp_path)


def test_script_prepares_one_file(prepared, mnist_files, layout, tmp_path, monkeypatch, capsys):
    target = tmp_path / "again" / "mnist.safetensors"

    def run(files):
        files = json.dumps({role: str(path) for role, path in files.items()})
        arguments = ["--dataset", json.dumps(prepared), "--files", files, "--output", str(target)]
        monkeypatch.setattr(sys, "argv", ["prepare_data.py", *arguments])
        runpy.run_path(str(REPOSITORY / "workflow" / "scripts" / "prepare_data.py"), run_name="__main__")

    run(mnist_files)
    assert target.read_bytes() == layout.dataset("mnist").read_bytes()
    with pytest.raises(SystemExit, match="1"):
        run({**mnist_files, "test_images": tmp_path / "none"})
    assert capsys.readouterr().err.startswith("error: data set mnist, role test_images")


# --- config/datasets.yaml -------------------------------------------------------------------------


WITHOUT_FILES = [
    "toy_line",
    "digits",
    "digits_3_5",
    "digits_few",
    "digits_distractor",
    "spheres",
    "spheres_100",
    "squares32",
    "squares16",
    "photo_patches",
]


@pytest.mark.parametrize("name", WITHOUT_FILES)
def test_declared_data_without_files_are_as_declared(name, layout):
    dataset = load_data.load_dataset(declared(name, seed=0), layout)
    for split in DECLARED["datasets"][name]["splits"].values():
        x, _, index = load_data.load_split(dataset, split, REPOSITORY)
        assert len(x) == len(index) > 0
        if dataset.low is not None:
            assert to_float(x).max() <= dataset.high


@pytest.mark.parametrize("name", list(DECLARED["datasets"]))
def test_declarations_fit_their_plugin_and_index_files(name):
    entry = DECLARED["datasets"][name]
    roles = plugins.constant("data", entry["data"]["name"], "SOURCES")
    assert (
        {r for r in roles if not r.endswith("?")}
        <= entry["sources"].keys()
        <= {r.removesuffix("?") for r in roles}
    )
    assert set(entry["sources"].values()) <= DECLARED["sources"].keys()
    # A thousand names would be no help to anybody.
    assert len(entry["class_names"]) == (entry["classes"] if entry["classes"] < 1000 else 0)
    counts = {
        "figures": 20 if name.startswith("stl10") else entry["classes"],
        "examples": 10 if entry["classes"] == 2 else 20,
        "figure1": 16,
    }
    for key, split in entry["splits"].items():
        for path in (split[how] for how in ("indices", "without") if how in split):
            rows = splits.read_indices(REPOSITORY / path, entry["parts"][split["part"]])
            count = counts.get(key, 0)
            assert len(rows) == (count or int(re.search(r"_(\d+)(\.txt)?$", path)[1]))
            assert key not in ("train", "val", "paper_train", "paper_val") or "_val_" in path


WITH_OWN_VALIDATION = [name for name, entry in DECLARED["datasets"].items() if "paper_val" in entry["splits"]]


@pytest.mark.parametrize("name", WITH_OWN_VALIDATION)
def test_training_and_validation_rows_are_apart(name):
    entry = DECLARED["datasets"][name]
    assert {"train", "paper_train", "paper_val", "test"} <= entry["splits"].keys()
    assert "examples" in entry["splits"] or entry["classes"] != 2
    pairs = [("paper_train", "paper_val")] + ([("train", "val")] if "val" in entry["splits"] else [])
    for train, val in ((entry["splits"][a], entry["splits"][b]) for a, b in pairs):
        if train["part"] == val["part"]:
            assert train["without"] == val["indices"]
            share = len(splits.read_indices(REPOSITORY / val["indices"])) / entry["parts"]["train"]
            assert share == pytest.approx(0.1, abs=0.002)
        else:
            assert train == {"part": "train"}
            assert val == {"part": "val"}


def test_data_of_unknown_size_are_accepted(layout):
    spec = {**declared("digits"), "parts": {}}
    assert len(load_data.load_dataset(spec, layout).parts["train"].y) == 1397
    with pytest.raises(DataError, match="declared 9 classes"):
        load_data.load_dataset({**spec, "classes": 9}, layout)


def test_chest_xrays_are_prepared_from_a_manifest_and_a_folder(tmp_path, layout):
    given = chest_files.write(tmp_path, chest_files.manifest_rows())
    roles, files, paths = DECLARED["datasets"]["chest_xray"]["sources"], {}, {}
    for role, origin in given.items():
        source = DECLARED["sources"][roles[role]]
        target = tmp_path / "sources" / source["filename"]
        # The first run prints the hash that belongs into the declaration.
        with pytest.raises(DownloadError) as told:
            fetch(roles[role], source, target, path=origin)
        known = {**source, "hash": re.search(r"sha256:[0-9a-f]{64}", str(told.value))[0]}
        paths[role] = fetch(roles[role], known, target, path=origin)
        files[role] = {"source": roles[role], "filename": source["filename"], "hash": known["hash"]}
    spec = {**declared("chest_xray", files), "shape": [1, 14, 14]}
    spec["data"] = {**spec["data"], "size": 14}
    load_data.prepare(spec, paths, layout.dataset("chest_xray"))
    dataset = load_data.load_dataset(spec, layout)
    expected = chest_xray.build(chest_xray.Config(size=14), given, 0)
    assert dataset.parts.keys() == expected.keys()
    assert all(torch.equal(dataset.parts[name].x, part.x) for name, part in expected.items())
    for split in DECLARED["datasets"]["chest_xray"]["splits"].values():
        assert len(load_data.load_split(dataset, split)[1]) == 6


# --- real data ------------------------------------------------------------------------------------


@pytest.fixture
def real(layout):
    folder = os.environ.get("PAGREPRO_OFFLINE_DIR")
    if not folder:
        pytest.skip("PAGREPRO_OFFLINE_DIR is not set")

    def load(name):
        roles = DECLARED["datasets"][name]["sources"]
        sources = {role: DECLARED["sources"][source] for role, source in roles.items()}
        paths = {role: Path(folder) / source["offline"] for role, source in sources.items()}
        if missing := [str(path) for path in paths.values() if not path.is_file()]:
            pytest.skip(f"PAGREPRO_OFFLINE_DIR has no {missing[0]}")
        files = {role: {"source": roles[role], **source} for role, source in sources.items()}
        load_data.prepare(declared(name, files), paths, layout.dataset(name))
        return load_data.load_dataset(declared(name, files), layout)

    return load


@pytest.mark.real_data
def test_real_mnist(real):
    dataset = real("mnist")
    # Unpacked training images of the official file, without its header of 16 bytes.
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 60000, 28, 28)
    content = header + dataset.parts["train"].x.numpy().tobytes()
    assert hashlib.md5(content).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    assert dataset.parts["test"].y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    figures = DECLARED["datasets"]["mnist"]["splits"]["figures"]
    assert load_data.load_split(dataset, figures, REPOSITORY)[1].tolist() == list(range(10))


@pytest.mark.real_data
def test_real_mnist_3_5(real):
    """Sizes of Bigolin Lanfredi et al. (2020), Table S1. It prints 53.1 % threes for all three parts, which
    is the share in the test part and in all training rows; the drawn validation rows have 52.0 %."""
    dataset = real("mnist_3_5")
    declarations = DECLARED["datasets"]["mnist_3_5"]["splits"]
    labels = {name: load_data.load_split(dataset, s, REPOSITORY)[1] for name, s in declarations.items()}
    threes = {name: (len(y), round(100 * float((y == 0).float().mean()), 1)) for name, y in labels.items()}
    assert threes == {
        "train": (10397, 53.2), "paper_train": (10397, 53.2), "val": (1155, 52.0), "paper_val": (1155, 52.0),
        "val_200": (200, 52.0),
        "test": (1902, 53.1), "test_500": (500, 53.2), "test_200": (200, 53.0), "examples": (10, 50.0),
    }  # fmt: skip
    assert round(100 * float((dataset.parts["train"].y == 0).float().mean()), 1) == 53.1
    assert labels["examples"].tolist() == [0] * 5 + [1] * 5


@pytest.mark.real_data
def test_real_cifar10_jpeg(real):
    dataset = real("cifar10_jpeg")
    for name, digest in (
        ("train", "7c618da940c26da995ad1feaa1bac54c"),
        ("test", "bda03800bb61288f5ba24f2522420517"),
    ):
        pixels = dataset.parts[name].x.permute(0, 2, 3, 1).contiguous()
        assert hashlib.md5(pixels.numpy()).hexdigest() == digest
    known = [3, 8, 8, 0, 6, 6, 1, 6, 3, 1, 0, 9, 5, 7, 9, 8, 5, 7, 8, 6]
    assert dataset.parts["test"].y[:20].tolist() == known
    declarations = DECLARED["datasets"]["cifar10_jpeg"]["splits"]
    counts = {n: load_data.load_split(dataset, s, REPOSITORY)[1].bincount() for n, s in declarations.items()}
    # The paper's validation rows are drawn without regard to the classes, and some of them in proportion.
    some = counts.pop("val_1000")
    assert (some - 1000 * counts["paper_val"] / 5000).abs().max() < 1
    for name, count in counts.items():
        # The first rows are what they are.
        drawn = not name.startswith(("paper_", "first_", "figure1"))
        assert len(set(count.tolist())) == 1 or not drawn, f"{name} is not balanced"
