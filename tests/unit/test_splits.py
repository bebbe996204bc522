"""Fixed subsets: draws and index files."""

import hashlib
import os
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagrepro import splits
from pagrepro.errors import DataError

REPOSITORY = Path(__file__).parents[2]


def test_a_draw_is_the_same_everywhere():
    # Pinned: a library update must not change which images a published number stands for.
    assert splits.shuffled(range(8), 0) == [4, 0, 6, 7, 2, 1, 5, 3]
    assert (
        splits.uniform(1000, 5, "name") == splits.uniform(1000, 5, "name") != splits.uniform(1000, 5, "other")
    )


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    share=st.floats(0.05, 1.0),
    seed=st.integers(0, 5),
)
def test_stratified_keeps_proportions(labels, share, seed):
    size = max(1, int(share * len(labels)))
    rows = splits.stratified(labels, size, seed)
    assert rows == sorted(set(rows))
    assert len(rows) == size
    for c in set(labels):
        exact = size * labels.count(c) / len(labels)
        assert abs(sum(labels[row] == c for row in rows) - exact) < 1


def test_a_fraction_belongs_to_a_name():
    found = [splits.fraction(str(name), "seed") for name in range(4000)]
    assert found[:2] == pytest.approx([0.6897616015688828, 0.5540581470091568])
    assert all(0 <= value < 1 for value in found)
    # Five standard errors of the mean and of the share below 0.1.
    assert np.mean(found) == pytest.approx(0.5, abs=5 * (1 / 12 / 4000) ** 0.5)
    assert np.mean(np.array(found) < 0.1) == pytest.approx(0.1, abs=5 * (0.09 / 4000) ** 0.5)
    assert splits.fraction("0", "other") != found[0]


def test_validation_rows_are_the_papers():
    """Section 4, official code: the first tenth of a list shuffled by NumPy's old generator with seed 0."""
    rows = list(range(60000))
    np.random.RandomState(0).shuffle(rows)
    found = splits.read_indices(REPOSITORY / "config/splits/mnist_val_6000.txt")
    assert found == sorted(rows[:6000])
    assert len(splits.read_indices(REPOSITORY / "config/splits/mnist_3_5_val_1155.txt", 11552)) == 1155


def test_smaller_draws_are_part_of_larger_ones():
    labels = np.arange(300) % 3
    assert set(splits.stratified(labels, 30, 7)) < set(splits.stratified(labels, 90, 7))
    assert set(splits.per_class(labels, 1, 7)) < set(splits.stratified(labels, 30, 7))


def test_per_class_is_ordered_by_class():
    labels = [2, 0, 1, 0, 2, 1]
    rows = splits.per_class(labels, 2, seed=3)
    assert [labels[row] for row in rows] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("draw", [splits.stratified, splits.per_class])
def test_too_many_rows_are_refused(draw):
    with pytest.raises(ValueError, match="there are 3"):
        draw([0, 0, 0], 4, 0)


def test_index_file_round_trip(tmp_path):
    path = tmp_path / "rows.txt"
    splits.write_indices(path, [5, 2, 9])
    digest = hashlib.sha256(b"5\n2\n9\n").hexdigest()
    assert splits.read_indices(path, size=10, sha256=digest) == [5, 2, 9]
    assert [p.name for p in tmp_path.iterdir()] == ["rows.txt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n10\n", "line 2: expected a row number from 0 to 9, found '10'"),
        ("1\n-1\n", "line 2"),
        ("1\n\n", "line 2"),
        ("x\n", "line 1"),
        ("3\n4\n3\n", "lists row 3 more than once"),
        ("", "is empty"),
    ],
)
def test_index_file_errors(tmp_path, content, message):
    path = tmp_path / "rows.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        splits.read_indices(path, size=10)


def test_changed_or_missing_index_file_is_refused(tmp_path):
    path = tmp_path / "rows.txt"
    with pytest.raises(DataError, match="does not exist"):
        splits.read_indices(path)
    path.write_text("1\n")
    with pytest.raises(DataError, match=f"sha256:{'0' * 64}\n.*found: +sha256:"):
        splits.read_indices(path, sha256="0" * 64)


def draw_again(monkeypatch, output, *arguments):
    monkeypatch.setattr(sys, "argv", ["make_splits.py", "--output", str(output), *arguments])
    runpy.run_path(str(REPOSITORY / "workflow" / "scripts" / "make_splits.py"), run_name="__main__")
    return {path.name for path in output.iterdir()}


def assert_as_in_the_repository(output, names):
    for name in names:
        assert (output / name).read_bytes() == (REPOSITORY / "config" / "splits" / name).read_bytes(), name


def test_files_of_the_repository_are_what_the_script_draws(monkeypatch, tmp_path):
    names = draw_again(monkeypatch, tmp_path)
    # Labels of the others are in files from outside.
    all_names = {path.name for path in (REPOSITORY / "config" / "splits").iterdir()}
    assert names == {name for name in all_names if not re.match("mnist_|cifar10_", name)}
    assert {"digits_val_139.txt", "spheres_examples.txt", "stl10_figures.txt"} <= names
    assert_as_in_the_repository(tmp_path, names)


@pytest.mark.real_data
def test_all_files_of_the_repository_are_what_the_script_draws(monkeypatch, tmp_path):
    folder = os.environ.get("PAGREPRO_OFFLINE_DIR")
    if not folder:
        pytest.skip("PAGREPRO_OFFLINE_DIR is not set")
    names = draw_again(monkeypatch, tmp_path, "--offline-dir", folder)
    assert names == {path.name for path in (REPOSITORY / "config" / "splits").iterdir()}
    assert_as_in_the_repository(tmp_path, names)
