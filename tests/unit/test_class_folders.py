"""Images in class folders, in directories and archives."""

import gzip
import io
import tarfile

import numpy as np
import pytest
from official_files import (
    add,
)
from PIL import Image

from pagrepro.data import image_archive, image_folder
from pagrepro.errors import DataError

IMAGES = {f"{part}/{kind}/{i}.png": (part, kind, i) for part in ("train", "test")
          for kind in ("dog", "cat") for i in range(2)}  # fmt: skip


def png(red, mode="RGB", size=(5, 4)):
    file = io.BytesIO()
    colour = (red, 10, 20, 255)[: {"RGB": 3, "RGBA": 4}.get(mode, 1)]
    Image.new(mode, size, colour if len(colour) > 1 else red).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def contents():
    return {file: png(10 * i) for i, file in enumerate(IMAGES)}


def as_archive(path, contents, top=""):
    with tarfile.open(path, "w:gz") as archive:
        for file, content in contents.items():
            add(archive, top + file, content)
    return path


def as_folder(path, contents):
    for file, content in contents.items():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        (path / file).write_bytes(content)
    return path


def test_folder_and_archives_give_the_same_data(tmp_path, contents):
    folder = as_folder(tmp_path / "images", contents)
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"not an image")
    packed = as_archive(tmp_path / "images.tar.gz", contents, top="./images/")
    ways = [
        image_folder.build(image_folder.Config(), {"images": folder}, 0),
        image_folder.build(image_folder.Config(), {"images": packed}, 0),
        image_archive.build(image_archive.Config(), {"train": packed, "test": packed}, 0),
    ]
    for parts in ways:
        for name, reds in (("train", [20, 30, 0, 10]), ("test", [60, 70, 40, 50])):
            assert parts[name].x.shape == (4, 3, 4, 5)
            assert parts[name].x[:, 0, 0, 0].tolist() == reds
            assert parts[name].y.tolist() == [0, 0, 1, 1]


def test_class_order_and_grey_images(tmp_path, contents):
    contents["train/cat/0.png"] = png(99, "L")
    config = image_folder.Config(class_folders=("dog", "cat"), channels=1)
    parts = image_folder.build(config, {"images": as_folder(tmp_path / "i", contents)}, 0)
    assert parts["train"].x.shape == (4, 1, 4, 5)
    assert parts["train"].y.tolist() == [0, 0, 1, 1]
    assert parts["train"].x[2, 0, 0, 0] == 99


# --- one part, other sizes ------------------------------------------------------------------------


def test_the_folder_of_a_single_part_may_be_missing(tmp_path, contents):
    """`<class>/<file>`, with whatever above; a file outside of class folders is none of the images."""
    one = {file.partition("/")[2]: content for file, content in contents.items() if file.startswith("test/")}
    one["readme.png"] = png(7)
    config = image_folder.Config(parts=("val",))
    for top in ("", "val/", "ILSVRC2012/val/"):
        folder = as_folder(tmp_path / f"images{len(top)}", {top + file: image for file, image in one.items()})
        packed = as_archive(tmp_path / f"{len(top)}.tar.gz", one, top=top)
        if top:
            (folder / top / "readme.png").unlink()
            (folder / "readme.png").write_bytes(png(7))
        for origin in (folder, packed) if not top else (folder,):
            parts = image_folder.build(config, {"images": origin}, 0)
            assert parts.keys() == {"val"}
            assert parts["val"].x[:, 0, 0, 0].tolist() == [60, 70, 40, 50]
            assert parts["val"].y.tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match="has no images in <class>/<file>"):
        image_folder.build(config, {"images": as_folder(tmp_path / "none", {"a.png": png(1)})}, 0)


@pytest.mark.parametrize("size", [(20, 13), (13, 20), (9, 9), (31, 10)])
@pytest.mark.parametrize("form", [(12, 9), (12, None), (None, 9)])
def test_images_are_resized_and_cropped_as_torchvision_does(tmp_path, size, form):
    from torchvision import transforms

    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    resize, crop = form
    steps = [transforms.Resize(resize)] if resize else []
    steps += [transforms.CenterCrop(crop)] if crop else []
    expected = np.asarray(transforms.Compose(steps)(Image.fromarray(pixels))).transpose(2, 0, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    folder = as_folder(tmp_path / "i", {f"{c}/1.png": file.getvalue() for c in ("a", "b")})
    config = image_folder.Config(parts=("val",), resize=resize, crop=crop)
    part = image_folder.build(config, {"images": folder}, 0)["val"]
    assert np.array_equal(part.x[0].numpy(), expected)


def test_images_too_small_for_the_crop_are_named(tmp_path, contents):
    config = image_folder.Config(crop=5)
    with pytest.raises(DataError, match=r"train/cat/0.png: 5x4 pixels, too few for a crop of 5"):
        image_folder.build(config, {"images": as_folder(tmp_path / "i", contents)}, 0)


ORDER = [
    (0, 1, "train/dog/1.png"),
    (1, 0, "train/cat/0.png"),
    (2, 1, "train/dog/0.png"),
    (3, 0, "train/cat/1.png"),
]


def write_order(path, rows):
    text = "index,label,file\n" + "".join(f"{i},{label},{file}\n" for i, label, file in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["order.csv", "order.csv.gz"])
def test_rows_follow_the_order_file(tmp_path, contents, name):
    archive = as_archive(tmp_path / "a.tar.gz", contents)
    files = {"train": archive, "test": archive, "train_order": write_order(tmp_path / name, ORDER)}
    parts = image_archive.build(image_archive.Config(), files, 0)
    assert parts["train"].x[:, 0, 0, 0].tolist() == [10, 20, 0, 30]
    assert parts["train"].y.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ORDER[:3], "1 images of .* are not listed"),
        ([*ORDER, (4, 1, "train/dog/1.png")], "some twice"),
        ([(0, 0, "train/dog/1.png"), *ORDER[1:]], "row 0: label 0 for train/dog/1.png, which is class 1"),
        ([(1, 1, "train/dog/1.png"), *ORDER[1:]], "row 0: expected index 0, found '1'"),
        ([*ORDER[:3], (3, 0, "train/cat/7.png")], "row 3: train/cat/7.png is not in"),
    ],
)
def test_order_files_that_do_not_fit(tmp_path, contents, rows, message):
    archive = as_archive(tmp_path / "a.tar.gz", contents)
    files = {"train": archive, "test": archive, "train_order": write_order(tmp_path / "order.csv", rows)}
    with pytest.raises(DataError, match=message):
        image_archive.build(image_archive.Config(), files, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train/cat/1.png": png(1, size=(6, 4))},
            r"train/cat/1.png has .* \(4, 6\), others \(4, 5\)",
        ),
        ({f: png(1, size=(6, 4)) for f in IMAGES if f.startswith("test")}, r"test/cat/0.png has .*\(4, 6\)"),
        ({"train/cat/1.png": b"text"}, "train/cat/1.png cannot be read as an image: cannot identify"),
        ({"train/cat/1.png": png(1)[:-30]}, "train/cat/1.png cannot be read as an image"),
        ({"train/cat/1.png": png(1, "I;16")}, "train/cat/1.png has pixels of form I;16"),
        ({"test/owl/1.png": png(1)}, "test/owl/1.png is of a class that is not one of cat, dog"),
        ({f: None for f in IMAGES if "/cat/" in f}, r"images: one class only \(dog\)"),
        ({f: None for f in IMAGES if f.startswith("test")}, "images has no images in test/<class>/<file>"),
    ],
)
def test_class_folders_that_do_not_fit(tmp_path, contents, change, message):
    contents = {file: content for file, content in {**contents, **change}.items() if content is not None}
    folder = as_folder(tmp_path / "images", contents)
    with pytest.raises(DataError, match=message):
        image_folder.build(image_folder.Config(), {"images": folder}, 0)


def test_missing_and_damaged_archives(tmp_path, contents):
    path = as_archive(tmp_path / "a.tar.gz", contents)
    path.write_bytes(path.read_bytes()[:60])
    for file, message in ((path, "cannot be read"), (tmp_path / "none", "does not exist")):
        with pytest.raises(DataError, match=message):
            image_folder.build(image_folder.Config(), {"images": file}, 0)


def test_same_file_twice_in_an_archive(tmp_path, contents):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for top in ("a/", "b/"):
            for file, content in contents.items():
                add(archive, top + file, content)
    with pytest.raises(DataError, match=r"train/dog/0\.png more than once"):
        image_folder.build(image_folder.Config(), {"images": path}, 0)
