"""Patches of two photographs: whole, from the photograph that the label says, and no pixel in both parts."""

import importlib.util

import pytest
import torch

from pagrepro.data import photo_patches as data
from pagrepro.errors import DataError


def build(**options):
    return data.build(data.Config(**options), {}, 0)


def test_the_photographs_of_scikit_learn():
    parts = build()
    assert {name: tuple(part.x.shape) for name, part in parts.items()} == {
        "train": (1560, 3, 16, 16),
        "test": (520, 3, 16, 16),
    }
    for part in parts.values():
        assert part.x.dtype == torch.uint8
        assert part.y.bincount().tolist() == [len(part.y) / 2] * 2
    x, y = parts["train"].x.float(), parts["train"].y
    # The flower is dark and green, the temple has a bright sky.
    means = torch.stack([x[y == label].mean((0, 2, 3)) for label in (0, 1)])
    assert means[1].argmax() == 1
    assert (means[0] > means[1] + 40).all()


@pytest.mark.parametrize(("size", "stride"), [(16, 16), (16, 7), (32, 16)])
def test_no_pixel_is_in_both_parts(monkeypatch, size, stride):
    column = (torch.arange(640) // data.BAND).to(torch.uint8)
    monkeypatch.setattr(data, "_photograph", lambda name: column.expand(3, 427, 640))
    parts, bands = build(size=size, stride=stride), {"train": data.TRAIN_BANDS, "test": data.TEST_BANDS}
    for name, part in parts.items():
        assert set(part.x.unique().tolist()) == set(bands[name])
        assert (part.x == part.x[:, :1, :1, :1]).all(), "a patch is inside of one band"
    assert sorted(data.TRAIN_BANDS + data.TEST_BANDS) == list(range(640 // data.BAND))


def test_patches_are_cut_row_by_row(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    pictures = {
        name: torch.randint(256, (3, 427, 640), generator=generator, dtype=torch.uint8) for name in data.NAMES
    }
    monkeypatch.setattr(data, "_photograph", pictures.__getitem__)
    part = build(size=32, stride=20)["test"]
    rows, columns = (427 - 32) // 20 + 1, (80 - 32) // 20 + 1
    assert len(part.x) == 2 * 2 * rows * columns
    # Second photograph, second band (5), third row, second column.
    place = (2 + 1) * rows * columns + 2 * columns + 1
    assert part.y[place] == 1
    assert torch.equal(part.x[place], pictures["flower"][:, 40:72, 420:452])


def test_without_scikit_learn_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="not installed: expected package sklearn"):
        build()
