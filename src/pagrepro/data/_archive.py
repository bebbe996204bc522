"""Reading files of folders and members of tar archives, with errors that name the file."""

import contextlib
import csv
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from pagrepro.errors import DataError

REVISION = 1


@contextlib.contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn what Python raises for a truncated or foreign file into a DataError naming it."""
    try:
        yield
    except (tarfile.TarError, zlib.error, csv.Error, EOFError, OSError, UnicodeDecodeError) as error:
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
