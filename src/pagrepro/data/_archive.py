"""Reading foreign files: members of archives, idx files, pickles of plain data; errors name the file."""

import contextlib
import csv
import gzip
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from pagrepro.dataset import Part
from pagrepro.errors import DataError

REVISION = 1

# What Python raises for a truncated or foreign file.
FOREIGN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, csv.Error, EOFError, OSError, UnicodeDecodeError,
)  # fmt: skip


@contextlib.contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn what Python raises for a truncated or foreign file into a DataError naming it."""
    try:
        yield
    except FOREIGN as error:
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def read_members(path: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """Contents of the wanted members, by file name without folders.

    The archive is read as a stream and no further than the last wanted member. Raises DataError for a
    damaged archive and for members that are not there.
    """
    missing, found = set(wanted), {}
    with damaged(path), tarfile.open(path, "r|*") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if name in missing and member.isfile():
                found[name] = archive.extractfile(member).read()
                missing.discard(name)
                if not missing:
                    break
    if missing:
        raise DataError(f"{path} has no member {', '.join(sorted(missing))}")
    return found


def files_in(origin: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """(relative path, function that reads it) of every file of a folder or archive.

    An archive is read as a stream: read a member before asking for the next one.
    """
    if origin.is_dir():
        for path in origin.rglob("*"):
            if path.is_file():
                yield path.relative_to(origin).as_posix(), path.read_bytes
        return
    with tarfile.open(origin, "r|*") as archive:
        for member in archive:
            if member.isfile():
                yield member.name, lambda m=member: archive.extractfile(m).read()


def zip_members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Members of a zip archive by file name without folders. Raises DataError for a damaged archive."""
    with damaged(path), zipfile.ZipFile(path) as archive:
        return {PurePosixPath(m.filename).name: m for m in archive.infolist() if not m.is_dir()}


def read_zip_member(path: Path, member: zipfile.ZipInfo) -> bytes:
    """Content of one member. Raises DataError where it is damaged."""
    with damaged(path), zipfile.ZipFile(path) as archive:
        return archive.read(member)


# --- idx, the format of MNIST -----------------------------------------------------------------------


def read_idx(path: Path) -> np.ndarray:
    """A gzip file in idx format with unsigned bytes -> uint8 array of the shape in its header."""
    with damaged(path), gzip.open(path) as file:
        content = file.read()
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{path} is not an idx file of bytes: it starts with {content[:4].hex()}")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: the header is cut off")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    values = np.frombuffer(content, np.uint8, offset=start)
    if values.size != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path}: header says {shape}, found {values.size} values")
    return values.reshape(shape).copy()


def labelled_images(images: Path, labels: Path) -> Part:
    """Two idx files -> x: (N, 1, H, W) uint8, y: (N,) int64. Raises DataError when they do not belong
    together."""
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3 or y.ndim != 1 or len(x) != len(y):
        raise DataError(f"{images} and {labels} do not belong together: {x.shape} images, {y.shape} labels")
    return Part(torch.from_numpy(x[:, None]), torch.from_numpy(y.astype(np.int64)))


# --- pickles of plain data --------------------------------------------------------------------------

# The function numpy names in pickles of arrays; its module was renamed in numpy 2.
_RECONSTRUCT = np.empty(0).__reduce__()[0]


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in a pickle that Python 2 can read: text, and this call."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}, which data do not need")
    return text.encode("latin1")


_ALLOWED = {
    ("_codecs", "encode"): _latin1,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data do not need")
        return _ALLOWED[module, name]


def unpickle(content: bytes, where: str) -> Any:
    """Read a pickle of plain data; what is `str` in Python 2 comes back as bytes.

    It can make dictionaries, lists, numbers, strings and numpy arrays, and calls nothing else. Raises
    DataError, with `where` in its message, for everything that is not plain data.
    """
    try:
        return _DataUnpickler(io.BytesIO(content), encoding="bytes").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
    ) as error:
        raise DataError(f"{where} is refused: {error or type(error).__name__}") from error
