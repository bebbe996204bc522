"""Removing leftovers of a tier: what it frees, and how nothing is taken away from a fit. Torch-free."""

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pagrepro.errors import StateError, UserError
from pagrepro.lock import RunLock


@dataclass(frozen=True)
class Leftover:
    """Something that can go. lock: the state folder whose lock is held while it is removed."""

    what: str
    why: str
    path: Path
    lock: Path | None = None


@dataclass(frozen=True)
class Row:
    """Leftovers of one kind. freed: bytes; a file with several names counts where its last name goes."""

    what: str
    why: str
    count: int
    freed: int


def check_results(results: Path) -> None:
    """Raises UserError unless this is the folder of a tier: what is deleted here must be ours."""
    if not any((results / name).is_dir() for name in ("models", "evaluations", "fields", "state")):
        raise UserError(f"{results}: no folder of results (it has no models, evaluations, fields or state)")


def rows(leftovers: Iterable[Leftover]) -> list[Row]:
    """Leftovers counted by what they are and why they can go, with the bytes that are really freed."""
    links: Counter[tuple[int, int]] = Counter()
    count: Counter[tuple[str, str]] = Counter()
    freed: Counter[tuple[str, str]] = Counter()
    for item in leftovers:
        count[item.what, item.why] += 1
        for path in files(item.path):
            try:
                about = path.lstat()
            except FileNotFoundError:  # gone since it was found
                continue
            links[about.st_dev, about.st_ino] += 1
            if links[about.st_dev, about.st_ino] == about.st_nlink:
                freed[item.what, item.why] += about.st_size
    return [Row(*key, count[key], freed[key]) for key in count]


def remove(leftovers: Iterable[Leftover], results: Path) -> list[str]:
    """Delete them; returns what could not be deleted, and why. A run that somebody owns by now stays."""
    left = []
    for item in leftovers:
        try:
            with _owned(item.lock):
                _delete(item.path)
        except (StateError, OSError) as error:
            left.append(f"{item.path}: {error}")
        parent = item.path.parent
        while len(parent.relative_to(results).parts) > 1:
            with contextlib.suppress(OSError):  # not empty, or gone
                parent.rmdir()
            parent = parent.parent
    return left


@contextlib.contextmanager
def _owned(folder: Path | None) -> Iterator[None]:
    """Hold the lock of a state folder, so that no fit can begin meanwhile; the empty folder goes with it."""
    if folder is None:
        yield
        return
    lock = RunLock(folder, job="clean_state", wait_s=0.0)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _delete(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    for inner in path.iterdir():
        if inner.is_dir() and not inner.is_symlink():
            shutil.rmtree(inner)
        elif not inner.name.startswith("lock."):
            inner.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # a lock of ours is in it
        path.rmdir()


def files(path: Path) -> Iterator[Path]:
    """The file itself, or all files in a folder."""
    if not path.is_dir():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in sorted(names))
