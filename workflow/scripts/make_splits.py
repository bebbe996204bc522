"""Draw the index files of config/splits/ again. They are in the repository; this is where they come from.

Rows are drawn in proportion to the classes, from the labels of the official parts. The labels of STL-10 are
inside an archive of 2.6 GB, so its rows are drawn uniformly: classes are not represented exactly equally.
"""

import argparse
import csv
import gzip
from pathlib import Path

import numpy as np

from pagrepro import script, splits
from pagrepro.errors import DataError

# file stem -> (part, number of rows); "figures" are one image per class, in class order.
DIGITS = {
    "digits_test_200": ("test", 200),
    "digits_test_100": ("test", 100),
    "digits_figures": ("test", "figures"),
}
MNIST = {
    "mnist_train_10000": ("train", 10000),
    "mnist_test_1000": ("test", 1000),
    "mnist_figures": ("test", "figures"),
}
CIFAR = {
    "cifar10_train_10000": ("train", 10000),
    "cifar10_train_5000": ("train", 5000),
    "cifar10_test_2000": ("test", 2000),
    "cifar10_test_1000": ("test", 1000),
    "cifar10_figures": ("test", "figures"),
}
STL = {"stl10_test_1000": 1000, "stl10_figures": 20}
STL_TEST = 8000


def digits_labels() -> dict[str, np.ndarray]:
    from pagrepro.data import digits

    parts = digits.build(digits.Config(), {}, seed=0)
    return {name: part.y.numpy() for name, part in parts.items()}


def mnist_labels(folder: Path) -> dict[str, np.ndarray]:
    from pagrepro.data.mnist import read_idx

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


def draw(output: Path, wanted: dict[str, tuple[str, int | str]], labels: dict[str, np.ndarray]) -> None:
    for stem, (part, size) in wanted.items():
        # One seed for all subsets of a part, so that the smaller is part of the larger.
        seed = f"{stem.partition('_')[0]}/{part}"
        if size == "figures":
            rows = splits.per_class(labels[part], 1, seed)
        else:
            rows = splits.stratified(labels[part], size, seed)
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
        draw(args.output, DIGITS, digits_labels())
        for stem, size in STL.items():
            splits.write_indices(args.output / f"{stem}.txt", splits.uniform(STL_TEST, size, "stl10/test"))
        if args.offline_dir:
            draw(args.output, MNIST, mnist_labels(args.offline_dir))
            draw(args.output, CIFAR, cifar_labels(args.offline_dir))
