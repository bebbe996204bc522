"""Draw the index files of config/splits/ again. They are in the repository; this is where they come from.

Rows are drawn in proportion to the classes, from the labels of the official parts. The labels of STL-10 are
inside an archive of 2.6 GB, and ImageNet's are its user's, so their rows are drawn uniformly: classes are not
represented exactly equally.

`<set>_val_<n>` are the validation rows of Bigolin Lanfredi et al. (2020), official code: training rows are
shuffled by NumPy's old generator with seed 0, and the first tenth is taken. Written in ascending order.
"""

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np

from pagrepro import script, splits
from pagrepro.errors import DataError

# file stem -> (part, number of rows); "figures" are one image per class, in class order; "examples" some of
# each class; "val" the validation rows of a training part, ("val", n) some of these; a range or list:
# these.
DIGITS = {
    "digits_test_200": ("test", 200),
    "digits_test_100": ("test", 100),
    "digits_figures": ("test", "figures"),
    "digits_examples": ("test", "examples"),
    "digits_val_139": ("train", "val"),
}
DIGITS_3_5 = {
    "digits_3_5_examples": ("test", "examples"),
    "digits_3_5_val_28": ("train", "val"),
}
SYNTHETIC = {
    "spheres": {
        "spheres_test_500": ("test", 500),
        "spheres_test_200": ("test", 200),
        "spheres_test_50": ("test", 50),
        "spheres_examples": ("test", "examples"),
    },
    "squares": {"squares_examples": ("test", "examples")},
    "squares16": {
        "squares16_val_50": ("val", 50),
        "squares16_test_100": ("test", 100),
        "squares16_test_50": ("test", 50),
        "squares16_examples": ("test", "examples"),
    },
}
PHOTOS = {"photo_patches_test_100": ("test", 100)}
MNIST = {
    "mnist_train_10000": ("train", 10000),
    "mnist_test_1000": ("test", 1000),
    "mnist_figures": ("test", "figures"),
    "mnist_examples": ("test", "examples"),
    "mnist_val_6000": ("train", "val"),
    "mnist_val_1000": ("train", ("val", 1000)),
}
MNIST_3_5 = {
    "mnist_3_5_test_500": ("test", 500),
    "mnist_3_5_test_200": ("test", 200),
    "mnist_3_5_examples": ("test", "examples"),
    "mnist_3_5_val_1155": ("train", "val"),
    "mnist_3_5_val_200": ("train", ("val", 200)),
}
CIFAR = {
    "cifar10_train_10000": ("train", 10000),
    "cifar10_train_5000": ("train", 5000),
    "cifar10_test_2000": ("test", 2000),
    "cifar10_test_1000": ("test", 1000),
    "cifar10_figures": ("test", "figures"),
    "cifar10_examples": ("test", "examples"),
    "cifar10_val_5000": ("train", "val"),
    "cifar10_val_1000": ("train", ("val", 1000)),
    # Srinivas et al. (2023), official code: the first test images; those of Figure 1, then the first.
    "cifar10_first_2000": ("test", range(2000)),
    "cifar10_first_1000": ("test", range(1000)),
    "cifar10_first_25": ("test", range(25)),
    "cifar10_figure1": ("test", [7908, 2649, 6748, 821, *range(12)]),
}
STL = {"stl10_test_1000": 1000, "stl10_figures": 20}
STL_TEST = 8000
# The two differ in the order of their rows. file stem -> part that the seed is of.
IMAGENET = {"imagenet_val": "imagenet/val", "imagenet64_val": "imagenet64/val"}
IMAGENET_VAL = 50000
# Lists of Rodriguez-Munoz et al. (2024), whose own is not published: nested, each the beginning of the next.
NATURAL = (10000, 5000, 3200, 1000)


def digits_labels() -> dict[str, np.ndarray]:
    from pagrepro.data import digits

    parts = digits.build(digits.Config(), {}, seed=0)
    return {name: part.y.numpy() for name, part in parts.items()}


def synthetic_labels() -> dict[str, dict[str, np.ndarray]]:
    """Of the parts that config/datasets.yaml declares."""
    from pagrepro.data import spheres, squares

    drawn = spheres.build(spheres.Config(), {}, seed=0)["test"].y.numpy()
    sizes = {"squares": {"test": 1000}, "squares16": {"val": 100, "test": 200}}
    return {"spheres": {"test": drawn}} | {
        name: {part: squares.draw_labels(part, size)[0] for part, size in parts.items()}
        for name, parts in sizes.items()
    }


def photo_labels() -> dict[str, np.ndarray]:
    """Of the patches that config/datasets.yaml declares."""
    from pagrepro.data import photo_patches

    parts = photo_patches.build(photo_patches.Config(), {}, seed=0)
    return {name: part.y.numpy() for name, part in parts.items()}


def only(labels: dict[str, np.ndarray], classes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Labels of the data set with these classes alone, as plugins with the option `classes` make it."""
    kept = {name: y[np.isin(y, classes)] for name, y in labels.items()}
    return {name: np.array([classes.index(label) for label in y]) for name, y in kept.items()}


def mnist_labels(folder: Path) -> dict[str, np.ndarray]:
    from pagrepro.data._archive import read_idx

    names = {"train": "train-labels-idx1-ubyte.gz", "test": "t10k-labels-idx1-ubyte.gz"}
    return {part: read_idx(existing(folder / "mnist" / name)) for part, name in names.items()}


def cifar_labels(folder: Path) -> dict[str, np.ndarray]:
    """From the order files, which list the labels of the original positions."""
    labels = {}
    for part in ("train", "test"):
        with gzip.open(existing(folder / "cifar10" / f"cifar10-order-{part}.csv.gz"), "rt") as file:
            labels[part] = np.array([int(row["label"]) for row in csv.DictReader(file)])
    return labels


def existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path} does not exist; --offline-dir is the offline_dir of config/datasets.yaml")
    return path


def validation_rows(size: int) -> list[int]:
    """A tenth of the rows 0..size-1, rounded down."""
    rows = list(range(size))
    np.random.RandomState(0).shuffle(rows)
    return sorted(rows[: size // 10])


# file stem -> (part, which of its rows)
Wanted = dict[str, tuple[str, int | str | tuple[str, int] | range | list[int]]]


def draw(output: Path, dataset: str, wanted: Wanted, labels: dict[str, np.ndarray]) -> None:
    for stem, (part, size) in wanted.items():
        y = labels[part]
        # One seed for all subsets of a part, so that the smaller is part of the larger.
        seed = f"{dataset}/{part}"
        if isinstance(size, range | list):
            rows = list(size)
        elif size == "val":
            rows = validation_rows(len(y))
        elif isinstance(size, tuple):
            among = np.array(validation_rows(len(y)))
            rows = among[splits.stratified(y[among], size[1], seed)].tolist()
        elif size == "figures":
            rows = splits.per_class(y, 1, seed)
        elif size == "examples":
            # As many as the paper's figures show: 5 of each of two classes, 2 of each of ten.
            rows = splits.per_class(y, 5 if len(np.unique(y)) == 2 else 2, seed)
        else:
            rows = splits.stratified(y, size, seed)
        splits.write_indices(output / f"{stem}.txt", rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("config/splits"))
    parser.add_argument(
        "--offline-dir", type=Path, help="folder with mnist/ and cifar10/; without it, only digits and STL"
    )
    return parser.parse_args()


if __name__ == "__main__":
    args = parse()
    with script.main():
        digits = digits_labels()
        draw(args.output, "digits", DIGITS, digits)
        draw(args.output, "digits_3_5", DIGITS_3_5, only(digits, (3, 5)))
        for name, labels in synthetic_labels().items():
            draw(args.output, name, SYNTHETIC[name], labels)
        draw(args.output, "photo_patches", PHOTOS, photo_labels())
        for stem, size in STL.items():
            splits.write_indices(args.output / f"{stem}.txt", splits.uniform(STL_TEST, size, "stl10/test"))
        for stem, seed in IMAGENET.items():
            for size in (1000, 100):
                rows = splits.uniform(IMAGENET_VAL, size, seed)
                splits.write_indices(args.output / f"{stem}_{size}.txt", rows)
        shuffled = np.random.default_rng(0).permutation(IMAGENET_VAL).tolist()
        for size in NATURAL:
            splits.write_indices(args.output / f"imagenet_natural_{size}.txt", shuffled[:size])
        if args.offline_dir:
            mnist = mnist_labels(args.offline_dir)
            draw(args.output, "mnist", MNIST, mnist)
            draw(args.output, "mnist_3_5", MNIST_3_5, only(mnist, (3, 5)))
            draw(args.output, "cifar10", CIFAR, cifar_labels(args.offline_dir))
