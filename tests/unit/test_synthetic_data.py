"""Spheres and Squares: geometry, noise, fixed streams, exact directions."""

import hashlib

import numpy as np
import pytest
import torch

from pagrepro import squares as geometry
from pagrepro.data import spheres, squares
from pagrepro.dataset import to_float
from pagrepro.errors import DataError
from pagrepro.fields import sphere_direction, square_direction
from pagrepro.request import FieldRequest

CPU = torch.device("cpu")
SMALL = {"train": 6, "val": 4, "test": 5}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def request(x, y, classes=2, rows=None):
    rows = torch.arange(len(x)) if rows is None else torch.tensor(rows)
    return FieldRequest(x, torch.as_tensor(y), classes, rows, 0, None, None, CPU)


# --- spheres ------------------------------------------------------------------------------------------


def test_every_example_lies_on_the_sphere_of_its_class():
    parts = spheres.build(spheres.Config(), {}, seed=0)
    assert {name: tuple(part.x.shape) for name, part in parts.items()} == {
        "train": (1000, 500), "val": (200, 500), "test": (1000, 500)
    }  # fmt: skip
    for part in parts.values():
        assert part.x.dtype == torch.float32
        radius = torch.tensor([1.0, 1.3])[part.y]
        torch.testing.assert_close(part.x.norm(dim=1), radius, rtol=1e-5, atol=0)


def test_directions_are_uniform_and_labels_fair():
    n, count = 5, 20000
    x, y = spheres.draw(spheres.Config(dimension=n), count, generator())
    u = x / x.norm(dim=1, keepdim=True)
    # Five standard errors. A coordinate of a uniform direction has mean 0 and variance 1/n; its square has
    # variance 2 (n - 1) / (n^2 (n + 2)).
    assert u.mean(0).abs().max() < 5 * (1 / n / count) ** 0.5
    assert (u.square().mean(0) - 1 / n).abs().max() < 5 * (2 * (n - 1) / n**2 / (n + 2) / count) ** 0.5
    assert abs(float(y.float().mean()) - 0.5) < 5 * 0.5 / count**0.5


def test_parts_are_fixed_and_have_streams_of_their_own():
    def build(seed=0, **options):
        return spheres.build(spheres.Config(dimension=8, **options), {}, seed)

    parts, other = build(), build(seed=5, train=3)
    assert torch.equal(parts["test"].x, other["test"].x)
    assert torch.equal(parts["val"].y, other["val"].y)
    assert len(other["train"].y) == 3
    assert not torch.equal(parts["train"].x, parts["test"].x)
    # Labels do not depend on the dimension: index files serve all of them.
    assert torch.equal(parts["test"].y, spheres.build(spheres.Config(), {}, 0)["test"].y)


def test_fresh_examples_follow_their_generator():
    config = spheres.Config(dimension=8, radii=(2, 0.5))
    x, y = spheres.draw(config, 50, generator(1))
    again, same = spheres.draw(config, 50, generator(1))
    assert torch.equal(x, again)
    assert torch.equal(y, same)
    assert not torch.equal(x, spheres.draw(config, 50, generator(2))[0])
    torch.testing.assert_close(x.norm(dim=1), torch.tensor([2.0, 0.5])[y])
    assert y.dtype == torch.int64


def test_sphere_directions_end_on_the_other_sphere():
    x, y = spheres.draw(spheres.Config(dimension=7), 40, generator())
    field = sphere_direction.compute(sphere_direction.Config(), request(x, y))
    # Fresh and moved examples, at rows that no split has.
    moved = (x + 0.01 * torch.randn(x.shape, generator=generator(1))).double()
    read = sphere_direction.read(sphere_direction.Config(), field, torch.full((40,), 10**6), moved)
    assert read.shape == (40, 2, 7)
    assert read.dtype == torch.float64
    rows = torch.arange(40)
    assert bool((read[rows, y] == 0).all())
    other = read[rows, 1 - y]
    target = torch.tensor([1.0, 1.3], dtype=torch.float64)[1 - y]
    torch.testing.assert_close((moved + other).norm(dim=1), target, rtol=1e-6, atol=0)
    # The nearest point of a sphere lies on the ray through x.
    cosine = (other * moved).sum(1) / other.norm(dim=1) / moved.norm(dim=1)
    torch.testing.assert_close(cosine, 1.0 - 2.0 * y.double())


def test_sphere_direction_is_finite_at_the_centre():
    field = {"radii": torch.tensor([1.0, 1.3])}
    read = sphere_direction.read(sphere_direction.Config(), field, torch.tensor([0]), torch.zeros(1, 3))
    assert bool((read == 0).all())


@pytest.mark.parametrize(
    ("options", "shape", "classes", "message"),
    [
        ({"radii": (1, 2)}, (8, 4), 2, r"radii \[1.0, 2.0\], but row \d"),
        ({}, (8, 4), 3, "of 3 classes"),
        ({}, (8, 1, 2, 2), 2, r"examples of shape \(1, 2, 2\)"),
    ],
)
def test_sphere_direction_has_to_fit_the_data(options, shape, classes, message):
    x, y = spheres.draw(spheres.Config(dimension=4), 8, generator())
    with pytest.raises(DataError, match=message):
        sphere_direction.compute(sphere_direction.Config(**options), request(x.view(shape), y, classes))


# --- squares ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "halves", "pixels"), [(224, (71, 44), 12420), (32, (10, 6), 256), (16, (5, 3), 64)]
)
def test_clean_squares_are_the_papers(size, halves, pixels):
    assert geometry.half_sides(size) == halves
    clean = geometry.clean_squares(size)
    assert clean.shape == (2, 1, size, size)
    assert clean.unique().tolist() == [-0.5, 0.5]
    assert [int((image > 0).sum()) for image in clean] == [(2 * half) ** 2 for half in halves]
    assert torch.equal(clean, clean.flip(2))
    assert torch.equal(clean, clean.flip(3))
    difference = clean[1] - clean[0]
    assert difference.unique().tolist() == [-1, 0]
    assert int((difference != 0).sum()) == pixels
    # The paper's distances: 111.4 between squares of 224 pixels, 16 between those of 32.
    assert float(difference.norm()) == pytest.approx(pixels**0.5)


def test_labels_are_those_of_the_paper():
    """Published shares of class -1 (large): 49.7, 50.5 and 48.6 %."""
    shares = {}
    for name, count in (("train", 10000), ("val", 200), ("test", 1000)):
        labels, _ = squares.draw_labels(name, count)
        assert labels.dtype == np.int64
        shares[name] = round(100 * float(np.mean(labels == 0)), 1)
    assert shares == {"train": 49.7, "val": 50.5, "test": 48.6}


def one_by_one(seed, count, size, sigma, std, clip):
    """Section 4, image by image, as the official code draws them."""
    from scipy.ndimage import gaussian_filter

    numbers = np.random.RandomState(seed)
    targets = numbers.choice([0.5, 0.8], count)
    images = []
    for t in targets:
        image = np.full((size, size), -0.5)
        half, c = int(size / 2 * 0.8 * t), size // 2
        image[c - half : c + half, c - half : c + half] = 0.5
        noise = gaussian_filter(numbers.normal(size=(size, size)), sigma, mode="nearest")
        noise = noise / np.std(noise) * std
        images.append(image + (noise if clip is None else np.clip(noise, -clip, clip)))
    return np.array(images)[:, None], (targets < 0.7).astype(int)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_noise_is_that_of_the_definition(clip, monkeypatch):
    # Several blocks, the last one smaller: the stream goes on from one to the next.
    monkeypatch.setattr(squares, "BLOCK", 4 * 32**2)
    config = squares.Config(size=32, sigma=1, noise_std=0.25, clip=clip, **SMALL)
    parts = squares.build(config, {}, seed=11)
    for seed, (name, count) in zip((7, 8, 9), SMALL.items(), strict=True):
        x, y = one_by_one(seed, count, 32, 1, 0.25, clip)
        assert parts[name].x.dtype == torch.float32
        np.testing.assert_allclose(parts[name].x.numpy(), x, atol=1e-6)
        assert parts[name].y.tolist() == y.tolist()


def test_clipped_squares_fill_the_range_and_others_leave_it():
    options = {"size": 32, "sigma": 1, "noise_std": 0.25, **SMALL, "train": 200}
    clipped = squares.build(squares.Config(clip=0.5, **options), {}, 0)["train"]
    assert (float(clipped.x.min()), float(clipped.x.max())) == (-1, 1)
    noise = clipped.x - geometry.clean_squares(32)[clipped.y]
    # Clipping at two standard deviations takes the spread from .25 to .239 (a normal variable).
    assert float(noise.std()) == pytest.approx(0.239, abs=0.003)
    free = squares.build(squares.Config(**options), {}, 0)["train"]
    noise = (free.x - geometry.clean_squares(32)[free.y]).flatten(1)
    torch.testing.assert_close(noise.std(1, correction=0), torch.full((200,), 0.25))
    assert noise.mean(1).abs().max() > 0.01  # not removed
    assert free.x.abs().max() > 1


def test_squares_never_change():
    """Pinned: which images a number stands for. Rounded, since the filter may differ in the last bit."""
    config = squares.Config(size=16, sigma=0.5, noise_std=0.25, clip=0.5, **SMALL)
    x = squares.build(config, {}, seed=3)["test"].x
    digest = hashlib.sha256((1000 * x).round().to(torch.int16).numpy().tobytes()).hexdigest()
    assert digest[:16] == "de12f7298f07a350"


def test_square_directions_move_to_the_clean_other_square():
    config = squares.Config(size=16, sigma=0.5, **SMALL)
    part = squares.build(config, {}, 0)["train"]
    own = square_direction.Config()
    field = square_direction.compute(own, request(part.x, part.y, rows=[1, 2, 3, 5]))
    assert field["labels"].tolist() == part.y[[1, 2, 3, 5]].tolist()
    rows = torch.tensor([3, 0, 2])
    x, y = part.x[[5, 1, 3]].double(), part.y[[5, 1, 3]]
    read = square_direction.read(own, field, rows, x)
    assert read.shape == (3, 2, 1, 16, 16)
    assert read.dtype == torch.float64
    clean = geometry.clean_squares(16).double()
    for example in range(3):
        assert bool((read[example, y[example]] == 0).all())
        noise = x[example] - clean[y[example]]
        torch.testing.assert_close(x[example] + read[example, 1 - y[example]] - noise, clean[1 - y[example]])
    # The direction belongs to the row: an attacked image has the same.
    assert torch.equal(read, square_direction.read(own, field, rows, torch.zeros_like(x)))


@pytest.mark.parametrize(
    ("shape", "classes"), [((4, 1, 8, 9), 2), ((4, 3, 8, 8), 2), ((4, 8), 2), ((4, 1, 8, 8), 3)]
)
def test_square_direction_has_to_fit_the_data(shape, classes):
    with pytest.raises(DataError, match="expected examples of shape"):
        square_direction.compute(
            square_direction.Config(), request(to_float(torch.zeros(shape)), [0] * 4, classes)
        )
