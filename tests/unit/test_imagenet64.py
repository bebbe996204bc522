"""Downsampled ImageNet on tiny archives of the official layout, made here."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from official_files import python2_pickle

from pagrepro.data import _archive, imagenet64
from pagrepro.errors import DataError

# Numbers of the archives -> wnid; neither in alphabetical order.
WNIDS = {1: "n02119789", 2: "n02100735", 3: "n01440764", 4: "n09999999"}
PLACE = {1: 2, 2: 1, 3: 0, 4: 3}
BATCHES = [f"train_data_batch_{i}" for i in range(1, 11)] + ["val_data"]


def batches():
    """name -> batch of two images; labels are lists, as in the pickles."""
    rng = np.random.default_rng(0)
    found = {}
    for i, name in enumerate(BATCHES):
        data = rng.integers(0, 256, (2, 3 * 64 * 64), np.uint8)
        found[name] = {"data": data, "labels": [1 + i % 4, 1 + (i + 1) % 4]}
        if name != "val_data":
            found[name]["mean"] = rng.random(3 * 64 * 64)
    return found


def as_npz(batch):
    file = io.BytesIO()
    np.savez(file, **batch)
    return file.getvalue()


def as_pickle(protocol):
    return lambda batch: pickle.dumps(batch, protocol=protocol)


FORMS = {
    "python 2": (python2_pickle, ""),
    **{f"protocol {p}": (as_pickle(p), "") for p in (2, 3, 4)},
    "npz": (as_npz, ".npz"),
    "python 2, numpy 2": (lambda batch: python2_pickle(batch, b"numpy._core.multiarray"), ""),
}


def write(folder, form="protocol 3", change=None, leave_out=(), classes=None):
    """The four files by role; `change`: (name, batch) -> batch or the bytes of the member."""
    dump, suffix = FORMS[form]
    inside = {"train_1": BATCHES[:5], "train_2": BATCHES[5:10], "val": BATCHES[10:]}
    made, files = batches(), {}
    for role, names in inside.items():
        files[role] = folder / f"Imagenet64_{role}.zip"
        with zipfile.ZipFile(files[role], "w") as archive:
            archive.writestr(f"Imagenet64_{role}/", b"")
            for name in names:
                if name not in leave_out:
                    batch = change(name, made[name]) if change else made[name]
                    content = batch if isinstance(batch, bytes) else dump(batch)
                    archive.writestr(f"Imagenet64_{role}/{name}{suffix}", content)
    files["classes"] = folder / "map_clsloc.txt"
    lines = [f"{wnid} {number} some_name" for number, wnid in WNIDS.items()]
    files["classes"].write_text("\n".join(lines if classes is None else classes) + "\n")
    return files


def build(files):
    return imagenet64.build(imagenet64.Config(), files, 0)


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_of_the_archives_give_the_images_in_order(tmp_path, form):
    parts, made = build(write(tmp_path, form)), batches()
    data = np.concatenate([made[name]["data"] for name in BATCHES[:10]])
    assert parts["train"].x.shape == (20, 3, 64, 64)
    assert np.array_equal(parts["train"].x.flatten(1).numpy(), data)
    # Row by row inside a channel: value 4096 * c + 64 * row + column.
    assert parts["train"].x[3, 2, 7, 50] == made["train_data_batch_2"]["data"][1, 2 * 4096 + 7 * 64 + 50]
    labels = [label for name in BATCHES[:10] for label in made[name]["labels"]]
    assert parts["train"].y.tolist() == [PLACE[label] for label in labels]
    assert np.array_equal(parts["val"].x.flatten(1).numpy(), made["val_data"]["data"])
    assert parts["val"].y.tolist() == [PLACE[label] for label in made["val_data"]["labels"]]


def test_batches_may_be_in_either_archive(tmp_path):
    files = write(tmp_path)
    swapped = {**files, "train_1": files["train_2"], "train_2": files["train_1"]}
    assert np.array_equal(build(files)["train"].x.numpy(), build(swapped)["train"].x.numpy())


def test_joining_empties_the_list():
    rows = [np.full((n, imagenet64.VALUES), n, np.uint8) for n in (2, 1, 3)]
    given = list(rows)
    joined = imagenet64._joined(given)
    assert given == []
    assert np.array_equal(joined, np.concatenate(rows))


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("form", ["protocol 2", "protocol 4", "npz"])
def test_no_code_of_a_file_is_run(tmp_path, form):
    touched = tmp_path / "touched"

    def poison(name, batch):
        return {**batch, "data": np.array([Payload(touched)], object)} if name == BATCHES[1] else batch

    with pytest.raises(
        DataError, match=rf"train_1.zip: .*{BATCHES[1]}.*(is refused: it asks for|cannot be read)"
    ):
        build(write(tmp_path, form, poison))
    assert not touched.exists()


def test_bytes_may_be_spelt_as_text_in_one_encoding_only():
    content = pickle.dumps(b"\xff\x00", protocol=2)
    assert b"_codecs" in content
    assert _archive.unpickle(content, "here") == b"\xff\x00"
    with pytest.raises(DataError, match="here is refused: it asks for the encoding 'rot13'"):
        _archive.unpickle(content.replace(b"\x06\x00\x00\x00latin1", b"\x05\x00\x00\x00rot13"), "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: {**batch, "data": batch["data"][:, :3072]}, r"expected `data` \(N, 12288\) of bytes"),
        (lambda batch: {**batch, "data": batch["data"].astype(np.int64)}, r"expected `data`"),
        (lambda batch: {"labels": batch["labels"]}, r"expected `data`"),
        (lambda batch: [1, 2], r"expected `data`"),
        (lambda batch: {**batch, "labels": [1]}, r"expected `labels`, 2 whole numbers"),
        (lambda batch: {**batch, "labels": [1.0, 2.0]}, r"expected `labels`"),
        (lambda batch: {"data": batch["data"]}, r"expected `labels`"),
        (lambda batch: pickle.dumps(batch)[:-500], "is refused"),
    ],
)
def test_the_batch_that_is_wrong_is_named(tmp_path, change, message):
    def one(name, batch):
        return change(batch) if name == "train_data_batch_7" else batch

    with pytest.raises(DataError, match=f"train_2.zip: .*train_data_batch_7.*{message}"):
        build(write(tmp_path, change=one))


def test_a_damaged_npz_file_is_named(tmp_path):
    files = write(tmp_path, "npz", lambda name, batch: as_npz(batch)[:-300] if name == "val_data" else batch)
    with pytest.raises(DataError, match=r"val.zip: .*val_data.npz cannot be read"):
        build(files)


@pytest.mark.parametrize("label", [0, 5])
def test_labels_are_numbers_of_the_table(tmp_path, label):
    files = write(tmp_path, change=lambda name, batch: {**batch, "labels": [1, label]})
    with pytest.raises(DataError, match=rf"labels .*{label}.*map_clsloc.txt has 1\.\.4"):
        build(files)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "expected lines"),
        (["n1 one"], "expected lines"),
        (["n1"], "expected lines"),
        (["n1 1 a", "n2 3 b"], r"expected the numbers 1..2"),
        (["n1 1 a", "n1 2 b"], r"expected the numbers 1..2, each with a wnid of its own"),
        (["n1 1 a", "n2 1 b"], r"expected the numbers 1..2"),
    ],
)
def test_tables_of_classes_that_do_not_fit(tmp_path, classes, message):
    with pytest.raises(DataError, match=f"map_clsloc.txt: {message}"):
        build(write(tmp_path, classes=classes))


def test_missing_batches_and_damaged_archives_are_named(tmp_path):
    with pytest.raises(DataError, match="no member train_data_batch_3, train_data_batch_9"):
        build(write(tmp_path, leave_out=["train_data_batch_3", "train_data_batch_9"]))
    files = write(tmp_path)
    content = files["val"].read_bytes()
    files["val"].write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"Imagenet64_val.zip cannot be read: BadZipFile"):
        build(files)
    broken = bytearray(content)
    broken[len(content) // 2] ^= 255
    files["val"].write_bytes(broken)
    with pytest.raises(DataError, match=r"Imagenet64_val.zip cannot be read: BadZipFile.*CRC"):
        build(files)
