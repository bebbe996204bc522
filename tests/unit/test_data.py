"""Data plugins on files in the official layouts, made here."""

import gzip
import hashlib
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from official_files import (
    RNG,
    cifar_archive,
    idx,
    mnist_folder,
    python2_pickle,
    stl_archive,
)
from pydantic import ValidationError

from pagrepro import splits
from pagrepro.data import cifar10, digits, mnist, stl10, toy_line
from pagrepro.errors import DataError

# --- toy line -------------------------------------------------------------------------------------


def test_toy_line_is_the_papers():
    parts = toy_line.build(toy_line.Config(), {}, seed=3)
    centres = [[-50, -10, 30], [-30, 10, 50]]
    for name, per_mode in (("train", 1000), ("test", 100)):
        x, y = parts[name].x, parts[name].y
        assert x.shape == (6 * per_mode, 2)
        assert x.dtype == torch.float32
        assert torch.equal(x[:, 1], 2 * x[:, 0])
        for c in (0, 1):
            modes = x[y == c, 0].double().view(3, per_mode)
            # Five standard errors of a mean and of a standard deviation of `per_mode` draws from N(c, 1).
            assert torch.allclose(
                modes.mean(1), torch.tensor(centres[c]).double(), atol=5 / math.sqrt(per_mode)
            )
            assert torch.allclose(modes.std(1), torch.ones(3).double(), atol=5 / math.sqrt(2 * per_mode))


def test_toy_line_follows_its_seed():
    def build(seed, **options):
        return toy_line.build(toy_line.Config(**options), {}, seed)

    assert torch.equal(build(0)["test"].x, build(0)["test"].x)
    assert not torch.equal(build(0)["test"].x, build(1)["test"].x)
    assert torch.equal(build(0, per_mode_train=10)["test"].x, build(0)["test"].x)
    assert not torch.equal(build(0, per_mode_train=100)["train"].x, build(0)["test"].x)


# --- digits ---------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    original = load_digits()
    test = splits.stratified(original.target, 400, 0)
    part = digits.build(digits.Config(), {}, seed=0)["test"]
    assert part.y.tolist() == original.target[test].tolist()
    assert part.x.dtype == torch.uint8
    assert np.array_equal(part.x[:, 0].numpy(), np.round(original.images[test] * 255 / 16))


def test_digits_test_rows_never_change():
    y = digits.build(digits.Config(), {}, seed=5)["test"].y
    x = digits.build(digits.Config(), {}, seed=6)["test"].x
    assert hashlib.sha256(y.numpy().tobytes() + x.numpy().tobytes()).hexdigest()[:16] == "da3b36541ba9a53e"
    counts = y.bincount()
    assert counts.min() >= 39
    assert counts.max() <= 41


def test_few_digits_are_part_of_the_training_images():
    few = digits.build(digits.Config(train_per_class=30), {}, 0)
    full = digits.build(digits.Config(), {}, 0)
    assert few["train"].y.bincount().tolist() == [30] * 10
    assert torch.equal(few["test"].x, full["test"].x)
    known = {bytes(row.numpy()) for row in full["train"].x.flatten(1)}
    assert all(bytes(row.numpy()) in known for row in few["train"].x.flatten(1))


def test_digits_of_some_classes_are_rows_of_the_whole_set():
    full = digits.build(digits.Config(), {}, 0)
    pair = digits.build(digits.Config(classes=(5, 3)), {}, 0)
    for name, part in pair.items():
        rows = (full[name].y == 3) | (full[name].y == 5)
        assert torch.equal(part.x, full[name].x[rows])
        assert torch.equal(part.y, (full[name].y[rows] == 3).long())
    few = digits.build(digits.Config(classes=(5, 3), train_per_class=4), {}, 0)["train"]
    assert few.y.tolist() == [1] * 4 + [0] * 4
    known = {bytes(row.numpy()) for row in pair["train"].x}
    assert all(bytes(row.numpy()) in known for row in few.x)


@pytest.mark.parametrize("classes", [(3,), (3, 10), (-1, 3), ()])
@pytest.mark.parametrize("config", [digits.Config, mnist.Config])
def test_classes_are_at_least_two_digits(config, classes):
    with pytest.raises(ValidationError, match="classes"):
        config(classes=classes)


@pytest.mark.parametrize("size", [16, 32])
def test_digits_are_enlarged(size):
    small = digits.build(digits.Config(), {}, 0)["test"].x
    k = size // 8
    nearest = digits.build(digits.Config(size=size, upsampling="nearest"), {}, 0)["test"].x
    assert torch.equal(nearest, small.repeat_interleave(k, 2).repeat_interleave(k, 3))
    smooth = digits.build(digits.Config(size=size), {}, 0)["test"].x
    assert smooth.shape == nearest.shape
    assert smooth.dtype == torch.uint8
    # Bilinear interpolation is linear in the image and symmetric: means agree but for edges and rounding.
    assert abs(smooth.float().mean() - small.float().mean()) < 2
    assert not torch.equal(smooth, nearest)


# --- MNIST ----------------------------------------------------------------------------------------


@pytest.fixture
def mnist_files(tmp_path):
    return mnist_folder(tmp_path)


def test_mnist_reads_idx(mnist_files):
    images = RNG.integers(0, 256, (7, 28, 28))
    mnist_files["train_images"].write_bytes(idx(images))
    part = mnist.build(mnist.Config(), mnist_files, 0)["train"]
    assert np.array_equal(part.x[:, 0].numpy(), images)
    assert part.x.shape == (7, 1, 28, 28)
    assert part.y.tolist() == list(range(7))


def test_mnist_keeps_some_classes_in_the_order_of_the_file(mnist_files):
    images = RNG.integers(0, 256, (7, 28, 28))
    mnist_files["train_images"].write_bytes(idx(images))
    mnist_files["train_labels"].write_bytes(idx(np.array([5, 3, 9, 3, 0, 5, 5])))
    mnist_files["test_labels"].write_bytes(idx(np.array([3, 5, 7])))
    parts = mnist.build(mnist.Config(classes=(3, 5)), mnist_files, 0)
    assert np.array_equal(parts["train"].x[:, 0].numpy(), images[[0, 1, 3, 5, 6]])
    assert parts["train"].y.tolist() == [1, 0, 0, 1, 1]
    assert parts["test"].y.tolist() == [0, 1]
    assert mnist.build(mnist.Config(), mnist_files, 0)["train"].y.tolist() == [5, 3, 9, 3, 0, 5, 5]


@pytest.mark.parametrize(
    ("classes", "message"), [((3, 3), r"differ, found \[3, 3\]"), ((0, 9), r"part test has no class \[9\]")]
)
def test_classes_have_to_be_there_once(mnist_files, classes, message):
    mnist_files["train_labels"].write_bytes(idx(np.array([0, 3, 9, 3, 0, 5, 5])))
    with pytest.raises(DataError, match=message):
        mnist.build(mnist.Config(classes=classes), mnist_files, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip", "cannot be read"),
        (idx(np.zeros((7, 28, 28)))[:40], "cannot be read"),
        (gzip.compress(b"\0\0\x09\1\0\0\0\0"), "not an idx file"),
        (gzip.compress(b"\0\0\x08\3\0\0"), "header is cut off"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 9, 1])), "header says"),
        (idx(np.zeros((6, 28, 28))), "do not belong together"),
    ],
)
def test_mnist_names_the_damaged_file(mnist_files, content, message):
    mnist_files["train_images"].write_bytes(content)
    with pytest.raises(DataError, match=rf"train-images.gz.*{message}"):
        mnist.build(mnist.Config(), mnist_files, 0)


# --- CIFAR-10 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_cifar10_reads_the_official_batches(tmp_path, module):
    path = tmp_path / "cifar.tar.gz"
    batches = cifar_archive(path, lambda name, batch: python2_pickle(batch, module))
    parts = cifar10.build(cifar10.Config(), {"archive": path}, 0)
    assert parts["train"].x.shape == (20, 3, 32, 32)
    second = batches["data_batch_2"]
    assert parts["train"].y[4:8].tolist() == second["labels"]
    # Row by row inside a channel: value 1024 * c + 32 * row + column.
    assert parts["train"].x[5, 2, 7, 30] == second["data"][1, 2 * 1024 + 7 * 32 + 30]
    assert np.array_equal(parts["test"].x.flatten(1).numpy(), batches["test_batch"]["data"])


class Payload:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cifar10_runs_no_code_of_the_file(tmp_path, protocol):
    touched = tmp_path / "touched"
    path = tmp_path / "cifar.tar.gz"
    cifar_archive(path, lambda name, batch: pickle.dumps({b"data": Payload(touched)}, protocol=protocol))
    with pytest.raises(DataError, match=r"cifar.tar.gz: data_batch_1 is refused: it asks for"):
        cifar10.build(cifar10.Config(), {"archive": path}, 0)
    assert not touched.exists()


@pytest.mark.parametrize(
    "call", [b"cbuiltins\neval\n", b"cos\nsystem\n", b"cnumpy\nload\n", b"cnumpy\nndarray.tofile\n"]
)
def test_unpickler_allows_data_only(call):
    with pytest.raises(DataError, match="which data do not need"):
        cifar10.unpickle(call + b"(S'1'\ntR.", "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda name, batch: {**batch, "labels": batch["labels"][:3]}, "expected `labels`"),
        (lambda name, batch: {**batch, "data": batch["data"][:, :100]}, "expected `data`"),
        (lambda name, batch: [1, 2], "expected `data`"),
        (lambda name, batch: python2_pickle(batch)[:200], "is refused"),
    ],
)
def test_cifar10_names_the_damaged_batch(tmp_path, change, message):
    path = tmp_path / "cifar.tar.gz"
    cifar_archive(path, change)
    with pytest.raises(DataError, match=f"cifar.tar.gz: data_batch_1.*{message}"):
        cifar10.build(cifar10.Config(), {"archive": path}, 0)


def test_cifar10_names_missing_members_and_damaged_archives(tmp_path):
    path = tmp_path / "cifar.tar.gz"
    cifar_archive(path, leave_out=["data_batch_3"])
    with pytest.raises(DataError, match="no member data_batch_3"):
        cifar10.build(cifar10.Config(), {"archive": path}, 0)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"cifar.tar.gz cannot be read"):
        cifar10.build(cifar10.Config(), {"archive": path}, 0)


# --- STL-10 ---------------------------------------------------------------------------------------


def test_stl10_turns_columns_into_rows_and_labels_from_zero(tmp_path):
    images = RNG.integers(0, 256, (2, 3, 96, 96))
    stl_archive(tmp_path / "stl.tar.gz", images, [1, 10])
    part = stl10.build(stl10.Config(), {"archive": tmp_path / "stl.tar.gz"}, 0)["train"]
    assert np.array_equal(part.x.numpy(), images)
    assert part.y.tolist() == [0, 9]


def test_stl10_resizes(tmp_path):
    images = RNG.integers(0, 256, (2, 3, 96, 96))
    stl_archive(tmp_path / "stl.tar.gz", images, [1, 2])

    def build(**options):
        return stl10.build(stl10.Config(**options), {"archive": tmp_path / "stl.tar.gz"}, 0)["test"].x

    means = images.reshape(2, 3, 48, 2, 48, 2).mean((3, 5))
    assert np.abs(build(resize=48).numpy() - means).max() <= 0.5
    antialiased = build(resize=48, resampling="antialias")
    assert antialiased.shape == (2, 3, 48, 48)
    assert antialiased.dtype == torch.uint8
    assert build(resize=96).shape == (2, 3, 96, 96)


@pytest.mark.parametrize(
    ("labels", "message"), [([0, 1], "not 1..10"), ([1, 11], "not 1..10"), ([1], "for 1 labels")]
)
def test_stl10_refuses_other_content(tmp_path, labels, message):
    stl_archive(tmp_path / "stl.tar.gz", np.zeros((2, 3, 96, 96)), labels)
    with pytest.raises(DataError, match=f"stl.tar.gz.*{message}"):
        stl10.build(stl10.Config(), {"archive": tmp_path / "stl.tar.gz"}, 0)
