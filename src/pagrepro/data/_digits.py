"""The handwritten digits that are installed with scikit-learn: 1,797 images of 8x8 pixels, 10 classes.

The UCI "optical recognition of handwritten digits" test set (Alpaydin & Kaynak, 1998). It has no official
train and test part; 400 rows drawn in proportion to the classes are the test part here, the other 1,397
the training part.
"""

import importlib.util
from pathlib import Path

import numpy as np

from pagrepro.errors import DataError
from pagrepro.splits import stratified

REVISION = 1

TEST_SIZE = 400
# Part of what these data are; it does not follow the seed of a run.
TEST_SEED = 0


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Values (1797, 64) in 0..16 and labels (1797,), both int64, in scikit-learn's order.

    Read from the file that `sklearn.datasets.load_digits` reads: importing scikit-learn for it costs 3 s of
    CPU in every job, reading the file 0.2 s. Raises DataError where it is not installed.
    """
    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0]) / "datasets" / "data" / "digits.csv.gz" if folders else None
    if path is None or not path.is_file():
        raise DataError(f"the digits of scikit-learn are not installed: expected {path or 'package sklearn'}")
    table = np.loadtxt(path, delimiter=",", dtype=np.int64)
    return table[:, :64], table[:, 64].copy()


def part_rows(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of both parts, ascending; labels: those of `read_digits`."""
    test = np.array(stratified(labels, TEST_SIZE, TEST_SEED))
    return {"train": np.setdiff1d(np.arange(len(labels)), test), "test": test}
