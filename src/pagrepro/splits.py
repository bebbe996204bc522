"""Fixed subsets of data sets: how they are drawn, and the text files that record them. Torch-free.

Rows are ordered by a hash of (seed, row) instead of a random number generator, so a draw is the same
on every machine and with every version of every library, and a smaller subset of the same seed is part
of a larger one (`test_1000` of `test_2000`). An index file holds one row number per line.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pagrepro.errors import DataError

REVISION = 1


def shuffled(rows: Iterable[int], seed: int | str) -> list[int]:
    """The rows in an order that depends on nothing but `seed` (a number or a name) and its own number."""
    return sorted(
        (int(row) for row in rows), key=lambda row: hashlib.sha256(f"{seed}/{row}".encode()).digest()
    )


def fraction(name: str, seed: int | str) -> float:
    """A number in [0, 1) that depends on nothing but `seed` and the name: a share drawn by it keeps its
    members when others come or go."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    # 53 bits: a float holds them all, so that no name is rounded up to 1.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def uniform(n: int, size: int, seed: int | str) -> list[int]:
    """`size` of the rows 0..n-1 without replacement, ascending."""
    _check_size(size, n)
    return sorted(shuffled(range(n), seed)[:size])


def stratified(labels: Sequence[int] | np.ndarray, size: int, seed: int | str) -> list[int]:
    """`size` rows, each class represented in proportion (largest remainder), ascending.

    labels: (N,) class indices. Raises ValueError when `size` exceeds N.
    """
    labels = np.asarray(labels)
    _check_size(size, len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = size * counts / len(labels)
    quota = np.floor(exact).astype(int)
    # Stable sort: ties go to the lower class.
    largest = np.argsort(-(exact - quota), kind="stable")[: size - quota.sum()]
    quota[largest] += 1
    chosen = [
        row for c, k in zip(classes, quota) for row in shuffled(np.flatnonzero(labels == c), seed)[: int(k)]
    ]
    return sorted(chosen)


def per_class(labels: Sequence[int] | np.ndarray, count: int, seed: int | str) -> list[int]:
    """`count` rows of every class, ordered by class and inside a class by the draw (not by row).

    Raises ValueError when a class has fewer examples.
    """
    labels = np.asarray(labels)
    chosen: list[int] = []
    for c in np.unique(labels):
        rows = np.flatnonzero(labels == c)
        _check_size(count, len(rows), f" of class {c}")
        chosen += shuffled(rows, seed)[:count]
    return chosen


def _check_size(size: int, available: int, of: str = "") -> None:
    if not 0 < size <= available:
        raise ValueError(f"asked for {size} rows{of}, there are {available}")


# --- index files -----------------------------------------------------------------------------


def write_indices(path: Path, rows: Sequence[int]) -> None:
    """Write one row number per line, in the given order, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("".join(f"{row}\n" for row in rows), encoding="ascii")
    os.replace(temporary, path)


def read_indices(path: Path, size: int | None = None, sha256: str | None = None) -> list[int]:
    """Rows of an index file, in file order.

    `size`: number of rows of the part the file selects from; `sha256`: expected hash of the file.
    Raises DataError for a missing or changed file, for lines that are not row numbers of the part,
    and for repeated rows.
    """
    if not path.is_file():
        raise DataError(f"index file {path} does not exist (it is made by workflow/scripts/make_splits.py)")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise DataError(
            f"index file {path} has changed since the job was planned\n"
            f"  expected: sha256:{sha256}\n  found:    sha256:{found}\n"
            "  plan the job again, or restore the file"
        )
    rows: list[int] = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        if not (line.isascii() and line.isdigit()) or (size is not None and int(line) >= size):
            allowed = "a row number" if size is None else f"a row number from 0 to {size - 1}"
            raise DataError(f"{path}, line {number}: expected {allowed}, found {line!r}")
        rows.append(int(line))
    if not rows:
        raise DataError(f"index file {path} is empty")
    if len(set(rows)) != len(rows):
        repeated = next(row for i, row in enumerate(rows) if row in rows[:i])
        raise DataError(f"index file {path} lists row {repeated} more than once")
    return rows
