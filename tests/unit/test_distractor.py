"""Digits with a distractor: what the images are, that masks go with their rows, and who sees them."""

import re
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from official_files import DECLARED, declared, mnist_folder
from PIL import Image, ImageDraw, ImageFont
from pydantic import ValidationError
from test_measure import TEST, member, write_run

from pagrepro import load_data, plugins, splits
from pagrepro.data import _distractor, digits, digits_distractor, mnist, mnist_distractor
from pagrepro.data._classes import keep_classes
from pagrepro.dataset import Dataset, Part
from pagrepro.download import file_hash
from pagrepro.errors import DataError
from pagrepro.evaluations import accuracy
from pagrepro.layout import Layout
from pagrepro.measuring import measure_run
from pagrepro.monitor import prepare_measure
from pagrepro.request import Measurement

CPU = torch.device("cpu")


def blocks(part):
    """(digits, letters), each (N, s, s), cut out by the mask."""
    side = part.x.shape[-1]
    on, off = part.mask.bool(), ~part.mask.bool()
    return part.x[on].view(-1, side, side), part.x[off].view(-1, side, side)


def masked_part(n=6):
    x = torch.arange(n * 8).view(n, 1, 4, 2).to(torch.uint8)
    return Part(x, torch.arange(n) % 3, (x % 2).to(torch.uint8))


# --- images ---------------------------------------------------------------------------------------


@pytest.fixture
def mnist_files(tmp_path):
    return mnist_folder(tmp_path)


@pytest.fixture(scope="module")
def small():
    return digits_distractor.build(digits_distractor.Config(), {}, 0)


def test_signal_is_the_digit_and_distractor_the_same_letter_everywhere(small, mnist_files):
    """Both data sets, against the data set of digits alone: nothing of a digit is lost or changed."""
    plain = digits.build(digits.Config(), {}, 0), mnist.build(mnist.Config(), mnist_files, 0)
    made = small, mnist_distractor.build(mnist_distractor.Config(), mnist_files, 0)
    for side, alone, parts in zip((8, 28), plain, made):
        letter = _distractor.draw_letter("A", _distractor.default_font(), side)
        for name, part in parts.items():
            assert part.x.shape == part.mask.shape == (len(part.y), 1, 2 * side, side)
            assert part.x.dtype == part.mask.dtype == torch.uint8
            signal, distractor = blocks(part)
            assert torch.equal(signal, alone[name].x[:, 0])
            assert torch.equal(part.y, alone[name].y)
            assert torch.equal(distractor, letter.expand(len(part.y), -1, -1))


def test_mask_is_one_block_above_or_below_in_equal_shares(small):
    for part in small.values():
        top = part.mask[:, 0, :8].flatten(1)
        assert torch.equal(top.amin(1), top.amax(1))
        assert torch.equal(part.mask[:, 0, 8:], 1 - part.mask[:, 0, :8])
        n = len(part.y)
        # Five standard deviations of a share of n fair draws.
        assert abs(top[:, 0].double().mean() - 0.5) < 2.5 / n**0.5
        # Independent of the label: neither place holds one class only.
        for c in range(10):
            assert 0 < top[part.y == c, 0].sum() < (part.y == c).sum()


def test_places_follow_their_own_seed_and_not_the_runs(small):
    again = digits_distractor.build(digits_distractor.Config(), {}, 7)
    other = digits_distractor.build(digits_distractor.Config(placement_seed=1), {}, 0)
    for name, part in small.items():
        assert torch.equal(part.x, again[name].x)
        assert not torch.equal(part.mask, other[name].mask)
        assert torch.equal(blocks(part)[0], blocks(other[name])[0])
    assert not torch.equal(small["train"].mask[:400], small["test"].mask)


def test_letter_is_an_a():
    """Not blank, not cut off, symmetric, with a crossbar: rows of an A from the top on get wider."""
    letter = _distractor.draw_letter("A", _distractor.default_font(), 28).double()
    assert 0.08 < (letter > 127).double().mean() < 0.35
    assert float(letter[0].max() + letter[-1].max() + letter[:, 0].max() + letter[:, -1].max()) == 0
    inked = [(row > 127).nonzero().flatten() for row in letter]
    widths = [int(row.max() - row.min()) + 1 for row in inked if len(row)]
    assert widths[0] < 8 < widths[-1] < 20
    assert all(above <= below for above, below in pairwise(widths))
    assert any(len(row) == int(row.max() - row.min()) + 1 > 9 for row in inked if len(row)), "a crossbar"
    assert len(inked[15]) < int(inked[15].max() - inked[15].min()) + 1 or len(inked[12]) < 8, "two legs"


def test_letter_is_drawn_as_described():
    """The canvas of the official code, by hand and with Pillow's own choice of layout and filter."""
    font = _distractor.default_font()
    canvas = Image.new("L", (40, 40))
    ImageDraw.Draw(canvas).text((9, 2), "A", 255, ImageFont.truetype(font, 35), stroke_width=1)
    expected = torch.from_numpy(np.array(canvas.resize((28, 28))))
    assert (expected.int() - _distractor.draw_letter("A", font, 28).int()).abs().max() <= 1


def test_small_letter_is_the_large_one_made_smaller():
    font = _distractor.default_font()
    large, small = (_distractor.draw_letter("A", font, side).double() for side in (40, 8))
    assert (large.view(8, 5, 8, 5).mean((1, 3)) - small).abs().max() < 60  # bicubic against the mean
    assert (small > 127).sum() >= 12
    assert (small < 64).sum() >= 24


def test_another_letter_and_another_font(mnist_files, tmp_path):
    letters = {
        letter: blocks(
            mnist_distractor.build(mnist_distractor.Config(letter=letter), mnist_files, 0)["test"]
        )[1]
        for letter in "AH"
    }
    assert not torch.equal(letters["A"], letters["H"])
    serif = _distractor.default_font().with_name("DejaVuSerif.ttf")
    given = mnist_distractor.build(mnist_distractor.Config(), {**mnist_files, "font": serif}, 0)["test"]
    assert not torch.equal(blocks(given)[1], letters["A"])
    (tmp_path / "font.ttf").write_bytes(b"no font")
    with pytest.raises(DataError, match=r"font.ttf cannot be read as a TrueType font"):
        mnist_distractor.build(mnist_distractor.Config(), {**mnist_files, "font": tmp_path / "font.ttf"}, 0)


def test_letters_that_cannot_be_seen_whole_are_refused(monkeypatch):
    font = _distractor.default_font()
    with pytest.raises(DataError, match="it is blank"):
        _distractor.draw_letter(" ", font, 28)
    monkeypatch.setattr(_distractor, "SIZE", 60)
    with pytest.raises(DataError, match="beyond the canvas"):
        _distractor.draw_letter("A", font, 28)
    for options in ({"letter": ""}, {"letter": "AB"}, {"placement_seed": -1}):
        with pytest.raises(ValidationError, match=next(iter(options))):
            digits_distractor.Config(**options)


def test_the_font_is_found_without_importing_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.font_manager", None)
    assert _distractor.default_font().is_file()
    monkeypatch.setattr(_distractor, "DEFAULT_FONT", "none.ttf")
    with pytest.raises(DataError, match=r"expected .*ttf.none.ttf; install matplotlib, or name a TrueType"):
        digits_distractor.build(digits_distractor.Config(), {}, 0)
    monkeypatch.setattr(_distractor.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="expected package matplotlib"):
        _distractor.default_font()


# --- masks ----------------------------------------------------------------------------------------


def test_masks_have_the_shape_of_their_images():
    part = masked_part()
    for mask in (part.mask[:, :, :2], part.mask.bool(), part.mask[:3]):
        with pytest.raises(ValueError, match="a mask of the shape of x, uint8"):
            Part(part.x, part.y, mask)


def test_rows_keep_what_belongs_to_them():
    part = masked_part()
    chosen = part.rows(torch.tensor([4, 1]))
    assert chosen.y.tolist() == [1, 1]
    assert torch.equal(chosen.mask, part.mask[[4, 1]])
    assert Part(part.x, part.y).rows(torch.tensor([0])).mask is None
    kept = keep_classes({"train": part}, (2, 0))["train"]
    assert kept.y.tolist() == [1, 0, 1, 0]
    assert torch.equal(kept.mask, part.mask[[0, 2, 3, 5]])


def test_prepared_masks_come_back(tmp_path, mnist_files):
    layout = Layout(tmp_path / "results", tmp_path / "resources")
    files = {
        r: {"source": f"mnist_{r}", "filename": p.name, "hash": file_hash(p)} for r, p in mnist_files.items()
    }
    spec = {**declared("mnist_distractor", files), "parts": {"train": 7, "test": 3}}
    load_data.prepare(spec, mnist_files, layout.dataset("mnist_distractor"))
    found = load_data.load_dataset(spec, layout).parts
    expected = mnist_distractor.build(mnist_distractor.Config(), mnist_files, 0)
    for name, part in expected.items():
        assert torch.equal(found[name].mask, part.mask)
        assert torch.equal(found[name].x, part.x)
    plain = {**declared("mnist", files), "parts": {"train": 7, "test": 3}}
    load_data.prepare(plain, mnist_files, layout.dataset("mnist"))
    assert load_data.load_dataset(plain, layout).parts["train"].mask is None


def test_masks_of_a_split_are_those_of_its_rows(tmp_path):
    part = masked_part()
    dataset = Dataset("d", {"test": part, "plain": Part(part.x, part.y)}, 3, (1, 4, 2))
    splits.write_indices(tmp_path / "rows.txt", [5, 0])
    spec = {"part": "test", "indices": "rows.txt", "sha256": None}
    x, _, index = load_data.load_split(dataset, spec, tmp_path)
    mask = load_data.load_mask(dataset, spec, index)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, (x % 2).bool())
    assert load_data.load_mask(dataset, {"part": "plain"}, index) is None


DIGITS = {**declared("digits_distractor"), "seed": None}


@pytest.fixture
def seen(monkeypatch):
    """Requests that the measurement `accuracy` is given."""
    requests = []

    def look(config, request):
        requests.append(request)
        return Measurement({"accuracy": 0.0})

    monkeypatch.setattr(accuracy, "measure", look)
    return requests


def test_measurements_and_monitors_are_given_masks(tmp_path, small, seen):
    layout = Layout(tmp_path / "results", tmp_path / "resources")
    splits.write_indices(tmp_path / "rows.txt", [5, 0, 9])
    split = {"name": "test", "part": "test", "indices": str(tmp_path / "rows.txt"), "sha256": None}
    run = write_run(layout)
    spec = {**member(run)["spec"], "dataset": DIGITS, "split": split}
    measure_run(spec, "run", layout)
    entry = {"name": "clean", "measure": {"name": "accuracy"}, "split": split}
    prepare_measure(entry, {"dataset": DIGITS, "seed": 0}, layout, CPU, Path("/"))(torch.nn.Identity())
    assert len(seen) == 2
    for request in seen:
        assert torch.equal(request.mask, small["test"].mask[[5, 0, 9]].bool())
        assert request.index.tolist() == [5, 0, 9]
    measure_run(member(run)["spec"], "run", layout)
    assert member(run)["spec"]["split"] == TEST
    assert seen[2].mask is None


def test_measurements_that_need_a_mask_say_so(tmp_path):
    layout = Layout(tmp_path / "results", tmp_path / "resources")
    run = write_run(layout)
    for name in ("distractor_noise", "signal_share"):
        spec = member(run, name=name)["spec"]
        with pytest.raises(DataError, match=f"{name} needs to know .*; toy_line do not say"):
            measure_run(spec, "run", layout)


def test_labels_of_tables_name_the_font_that_is_used():
    font = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _distractor.DEFAULT_FONT.removesuffix(".ttf"))
    assert font == "Deja Vu Sans Mono"
    for name, entry in DECLARED["datasets"].items():
        if entry["data"]["name"].endswith("_distractor"):
            used = "FreeMono" if "font" in entry["sources"] else "DejaVu Sans Mono"
            assert used in entry["label"], name


def test_both_data_sets_have_the_same_options():
    options = [plugins.resolve("data", {"name": f"{name}_distractor"}) for name in ("mnist", "digits")]
    assert [{k: v for k, v in o.items() if k != "name"} for o in options] == [
        {"letter": "A", "placement_seed": 0}
    ] * 2
