"""Chest X-rays on a tiny made-up collection: selection, pixels, and one message for all that is wrong."""

import io
import tarfile

import chest_files
import numpy as np
import pytest
import torch
from PIL import Image

from pagrepro import download
from pagrepro.data import _chest_manifest, chest_xray
from pagrepro.errors import DataError

CONFIG = chest_xray.Config(size=14)


@pytest.fixture
def rows():
    return chest_files.manifest_rows()


def build(tmp_path, rows, without=(), config=CONFIG):
    return chest_xray.build(config, chest_files.write(tmp_path, rows, without), seed=0)


def row(rows, **changes):
    """A copy of the first row with other values, appended."""
    rows.append({**rows[0], **changes})
    return rows[-1]


def message(tmp_path, rows, **options):
    with pytest.raises(DataError) as caught:
        build(tmp_path, rows, **options)
    return str(caught.value)


# --- selection ---------------------------------------------------------------------------------------


def test_parts_are_those_of_the_manifest(tmp_path, rows):
    parts = build(tmp_path, rows)
    assert list(parts) == ["train", "val", "test", "examples"]
    for name in ("train", "val", "test"):
        assert parts[name].x.shape == (6, 1, 14, 14)
        assert parts[name].x.dtype == torch.uint8
        assert parts[name].y.tolist() == [0, 1] * 3
    examples = parts["examples"]
    assert examples.y.tolist() == [0, 0, 0, 1, 1, 1]
    known = {bytes(image.numpy()) for image in parts["test"].x}
    assert {bytes(image.numpy()) for image in examples.x} <= known


def test_the_ratio_decides_the_label(tmp_path, rows):
    assert build(tmp_path, rows, config=chest_xray.Config(size=7, below_ratio=0.55))["val"].y.sum() == 0
    assert build(tmp_path, rows, config=chest_xray.Config(size=7, below_ratio=0.82))["val"].y.sum() == 6


def select(*changes, max_days=30):
    """Numbers of the rows that are kept, of rows that differ from a good one by `changes`."""
    base = {
        "image_path": "a", "patient_id": "p", "study_id": "s", "view": "PA", "fev1_fvc": 0.5,
        "days_cxr_pft": 0.0, "lung_transplant": False, "split": "train",
    }  # fmt: skip
    rows = [_chest_manifest.Row(number, **{**base, **change}) for number, change in enumerate(changes)]
    return [row.number for row in _chest_manifest.select(rows, max_days)]


def test_only_frontal_images():
    assert select({}, {"study_id": "t", "view": "LATERAL"}, {"study_id": "u", "view": "AP"}) == [0]


def test_nobody_with_a_transplant():
    """Also images of the patient from before."""
    other = {"patient_id": "q", "image_path": "b"}
    assert select({}, {"study_id": "t", "image_path": "c", "lung_transplant": True}, other) == [2]


def test_studies_with_several_frontal_images_are_dropped():
    lateral = {"view": "LATERAL", "image_path": "c"}
    assert select({}, {"image_path": "b"}) == []
    assert select({}, lateral) == [0]
    assert select({}, {"image_path": "b", "study_id": "t"}) == [0, 1]
    # Two patients whose studies have the same name are two studies.
    assert select({}, {"image_path": "b", "patient_id": "q"}) == [0, 1]


def test_the_closest_test_in_less_than_thirty_days():
    def days(*values, **more):
        return select(*({"days_cxr_pft": v} for v in values), **more)

    assert days(29.0) == [0]
    assert days(30.0) == []
    assert days(-30.0) == []
    assert days(12.0, -3.0, 5.0) == [1]
    assert days(4.0, -4.0) == [0]
    assert days(50.0, 40.0, max_days=45) == [1]


def test_patients_are_divided_by_their_name_alone(tmp_path, rows):
    names = [f"patient {i}" for i in range(2000)]
    parts = [_chest_manifest.split_of(name) for name in names]
    for part, share in (("train", 0.70), ("val", 0.12), ("test", 0.18)):
        # Five standard errors.
        assert abs(parts.count(part) / 2000 - share) < 5 * (share * (1 - share) / 2000) ** 0.5
    # Pinned: who is in which part does not change.
    assert parts[6:14] == ["train", "test", "train", "val", "train", "train", "train", "test"]
    for place, r in enumerate(rows):
        r["patient_id"] = names[6 + place // 2]
    found = build(tmp_path, rows, without=("split",))
    expected = [_chest_manifest.split_of(r["patient_id"]) for r in rows]
    assert {p: len(found[p].y) for p in chest_files.PARTS} == {
        p: expected.count(p) for p in chest_files.PARTS
    }


def test_a_part_without_rows_is_told(tmp_path, rows):
    assert "none of its 12 rows is left for part val" in message(tmp_path, rows[:6] + rows[12:])


# --- pixels ------------------------------------------------------------------------------------------


def test_a_tar_gives_the_same_as_its_folder(tmp_path, rows):
    files = chest_files.write(tmp_path, rows)
    download._pack(files["images"], tmp_path / "packed.tar")
    with tarfile.open(tmp_path / "dotted.tar.gz", "w:gz") as archive:
        archive.add(files["images"], ".")
    expected = chest_xray.build(CONFIG, files, 0)
    for name in ("packed.tar", "dotted.tar.gz"):
        found = chest_xray.build(CONFIG, {**files, "images": tmp_path / name}, 0)
        assert all(torch.equal(found[part].x, expected[part].x) for part in expected)


def test_sixteen_bits_are_read_as_their_higher_byte():
    values = chest_files.pixels(3)
    high = chest_xray.prepare_image(chest_files.png(values, 16), 14)
    assert np.array_equal(high, chest_xray.prepare_image(chest_files.png(values, 8), 14))
    assert np.array_equal(high, chest_xray.prepare_image(chest_files.png(values | 255, 16), 14))


def encoded(values, mode="L"):
    file = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).convert(mode).save(file, "PNG")
    return file.getvalue()


def test_colour_files_of_grey_images_are_grey():
    values = chest_files.pixels(1) >> 8
    assert np.array_equal(
        chest_xray.prepare_image(encoded(values), 14), chest_xray.prepare_image(encoded(values, "RGB"), 14)
    )


def test_brightness_and_contrast_of_the_file_do_not_count():
    """Min-max and equalisation: any stretching of the levels gives the same image."""
    values = (
        np.random.default_rng(0).permuted(np.arange(256)[None].repeat(16, 0), axis=1).reshape(64, 64) // 4
    )
    found = chest_xray.prepare_image(encoded(values), 56)
    assert np.array_equal(found, chest_xray.prepare_image(encoded(3 * values + 20), 56))


def test_the_middle_is_cut_out_twice():
    """A wide image: its middle square, of which the middle 7/8 remain."""
    values = np.zeros((64, 160), np.uint8)
    values[:, 48:112] = np.arange(64)[:, None] + np.arange(64)
    values[:, :48] = 200
    found = chest_xray.prepare_image(encoded(values), 56)
    square = values[:, 48:112] / 126
    expected = np.round(255 * chest_xray.equalise(square)[4:60, 4:60])
    assert found.shape == (56, 56)
    assert np.array_equal(found, expected)


def test_equalised_values_are_shares_of_pixels():
    values = np.random.default_rng(1).beta(2, 5, (100, 100))
    values = (values - values.min()) / (values.max() - values.min())
    found = chest_xray.equalise(values)
    order = np.argsort(values, axis=None)
    assert bool((np.diff(found.ravel()[order]) >= 0).all())
    rank = np.empty(10000)
    rank[order] = (np.arange(10000) + 1) / 10000
    # A share is known at the centres of bins and counts the whole bin: off by one and a half bins at most.
    largest = np.histogram(values, 256)[0].max() / 10000
    assert np.abs(found.ravel() - rank).max() <= 1.5 * largest
    assert found.max() == 1
    # 256 levels, each at the centre of its bin, come out as shares exactly.
    even = (np.arange(256) + 0.5) / 256
    np.testing.assert_allclose(chest_xray.equalise(even), (np.arange(256) + 1) / 256)


# --- messages ----------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_told_at_once(tmp_path, rows):
    rows[0]["fev1_fvc"] = "71"
    rows[1]["days_cxr_pft"] = "soon"
    rows[2]["lung_transplant"] = "maybe"
    rows[3]["split"] = "training"
    rows[4]["view"] = ""
    rows[5]["image_path"] = "../secret.png"
    rows[7]["split"] = "test"
    rows[8]["fev1_fvc"] = "nan"
    row(rows, patient_id="new", image_path=rows[9]["image_path"], study_id="another", fev1_fvc="0.6")
    files = chest_files.write(tmp_path, rows)
    (files["images"] / rows[10]["image_path"]).write_bytes(b"no image")
    (files["images"] / rows[11]["image_path"]).unlink()
    plain = encoded(np.full((9, 9), 7))
    (files["images"] / rows[12]["image_path"]).write_bytes(plain)
    with pytest.raises(DataError) as caught:
        chest_xray.build(CONFIG, files, 0)
    found = str(caught.value)
    assert found.startswith(f"{files['manifest']} cannot be used: 12 values are not as they should be")
    lines = found.splitlines()[1:]
    assert [line.partition(":")[0].strip() for line in lines] == [
        "row 2, fev1_fvc", "row 3, days_cxr_pft", "row 4, lung_transplant", "row 5, split", "row 6, view",
        "row 7, image_path", "row 9, split", "row 10, fev1_fvc", "row 12, image_path", "row 13, image_path",
        "row 14, image_path", "row 20, image_path",
    ]  # fmt: skip
    assert "found '71', expected a number from 0 to 1" in lines[0]
    assert "found 'training', expected train, val, test" in lines[3]
    assert "found '../secret.png', expected a path inside the folder" in lines[5]
    assert "found 'test', expected val, where patient val0 is in row 8" in lines[6]
    assert "expected an image that can be read" in lines[8]
    assert f"expected a file in {files['images']}" in lines[9]
    assert "expected an image with more than one grey level" in lines[10]
    assert "it is in row 11 too" in lines[11]


def test_the_first_twenty_are_shown_and_all_are_counted(tmp_path, rows):
    for i in range(30):
        row(rows, patient_id=f"p{i}", study_id=f"s{i}", fev1_fvc="2")
    found = message(tmp_path, rows)
    assert "30 values are not as they should be" in found
    assert found.count("\n  row ") == 20
    assert found.endswith("  and 10 more")


def test_images_of_rows_that_are_not_used_are_not_needed(tmp_path, rows):
    lateral = row(rows, view="LATERAL", image_path="images/lateral.png")
    files = chest_files.write(tmp_path, rows)
    (files["images"] / lateral["image_path"]).unlink()
    assert len(chest_xray.build(CONFIG, files, 0)["train"].y) == 6


def test_missing_columns_are_named(tmp_path, rows):
    found = message(tmp_path, rows, without=("view", "fev1_fvc"))
    assert "manifest.csv has no column view, fev1_fvc\n" in found
    assert "expected: image_path, patient_id" in found
    assert "split (optional)" in found


def test_files_that_are_no_tables_or_archives_are_named(tmp_path, rows):
    files = chest_files.write(tmp_path, rows)
    (tmp_path / "images.tar").write_bytes(b"none")
    with pytest.raises(DataError, match=r"images.tar cannot be read"):
        chest_xray.build(CONFIG, {**files, "images": tmp_path / "images.tar"}, 0)
    with pytest.raises(DataError, match=r"nowhere cannot be read"):
        chest_xray.build(CONFIG, {**files, "images": tmp_path / "nowhere"}, 0)
    files["manifest"].write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"manifest.csv cannot be read"):
        chest_xray.build(CONFIG, files, 0)


def test_values_too_many_in_a_row_and_a_byte_order_mark(tmp_path, rows):
    files = chest_files.write(tmp_path, rows)
    text = files["manifest"].read_text()
    files["manifest"].write_text("\ufeff" + text)
    assert len(chest_xray.build(CONFIG, files, 0)["train"].y) == 6
    files["manifest"].write_text(text.replace("0,val\n", "0,val,extra\n", 1))
    with pytest.raises(DataError, match=r"row 8, -: found 'extra'"):
        chest_xray.build(CONFIG, files, 0)
