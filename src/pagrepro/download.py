"""Files from outside: found offline or fetched from mirrors, and known by their hash alone. Torch-free."""

import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pagrepro.errors import UserError

CHUNK = 1 << 20


class DownloadError(UserError):
    """A file from outside cannot be had; the message says how to provide it or do without."""


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """`<algorithm>:<hex digest>` of a file ("sha256" or "md5")."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def check_hash(path: Path, expected: str, in_place: bool = False) -> None:
    """Raise DownloadError with both hashes unless the file (or the list of a folder used in place) has the
    expected one."""
    algorithm = expected.partition(":")[0]
    found = _list_hash(path, algorithm) if in_place else file_hash(path, algorithm)
    if found != expected:
        size = path.stat().st_size
        raise DownloadError(
            f"{path} is not the declared file\n  expected: {expected}\n  found:    {found} ({size} bytes)"
        )


def fetch(
    name: str,
    source: dict[str, Any],
    target: Path,
    offline_dir: Path | None = None,
    path: Path | None = None,
    timeout_s: float = 60,
) -> Path:
    """Put the file of one source at `target` and return it. The first of these with the right hash is taken:
    what is at `target` already, the user's own `path`, the file inside `offline_dir`, the mirrors in order.

    source: an entry of `sources:` in config/datasets.yaml (`urls`, `filename`, `hash`, `needs`, `offline`,
    `how`). `path` may be a directory; it is packed into a tar with nothing in it that depends on the
    machine. A file at `target` with another hash is removed. Raises DownloadError when every way failed, and
    for a source without a hash: an unknown file is never used.
    """
    tried: list[str] = []
    if target.is_file():
        problem = _compare(target, source)
        if problem is None:
            return target
        tried.append(f"{target}\n      {problem}")
        if source.get("hash"):
            target.unlink()
    target.parent.mkdir(parents=True, exist_ok=True)
    # The temporary folder is on the same file system, so that os.replace is atomic.
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=target.parent) as folder:
        temporary = Path(folder) / "file"
        for origin in _origins(source, offline_dir, path):
            problem = _try(origin, temporary, source, timeout_s)
            if problem is None:
                os.replace(temporary, target)
                return target
            temporary.unlink(missing_ok=True)
            tried.append(f"{origin}\n      {problem}")
    raise DownloadError(_advice(name, source, target, offline_dir, tried))


def _origins(source: dict[str, Any], offline_dir: Path | None, path: Path | None) -> list[Path | str]:
    offline = offline_dir / source["offline"] if offline_dir and source.get("offline") else None
    local = [p for p in (path, offline) if p is not None]
    # Without a known hash a download could not be told from an error page: only local files are looked at.
    return [*local, *(source.get("urls", ()) if source.get("hash") else ())]


def _try(origin: Path | str, temporary: Path, source: dict[str, Any], timeout_s: float) -> str | None:
    """Copy or download to `temporary`; None when the hash is right, else what is wrong."""
    try:
        if isinstance(origin, str):
            _download(origin, temporary, timeout_s)
        elif source.get("in_place"):
            _list(origin, temporary)
        elif origin.is_dir():
            _pack(origin, temporary)
        else:
            shutil.copyfile(origin, temporary)
    except urllib.error.HTTPError as error:
        return f"the server answers {error.code} {error.reason}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return _compare(temporary, source)


def _compare(path: Path, source: dict[str, Any]) -> str | None:
    """None when the file is the declared one, else both hashes and sizes."""
    expected = source.get("hash")
    algorithm = expected.partition(":")[0] if expected else "sha256"
    found = _list_hash(path, algorithm) if source.get("in_place") else file_hash(path, algorithm)
    if found == expected:
        return None
    size, declared = path.stat().st_size, source.get("size")
    wanted = f"{expected or 'nothing: no hash is declared'}{f' ({declared} bytes)' if declared else ''}"
    return f"expected {wanted}\n      found    {found} ({size} bytes)"


def _download(url: str, target: Path, timeout_s: float) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "pagrepro"})
    with urllib.request.urlopen(request, timeout=timeout_s) as response, target.open("wb") as file:
        shutil.copyfileobj(response, file, CHUNK)


def _pack(folder: Path, target: Path) -> None:
    """Tar of all files of a folder; sorted, without times, owners or modes: same files, same hash."""
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = tarfile.TarInfo(file.relative_to(folder).as_posix())
            entry.size = file.stat().st_size
            with file.open("rb") as content:
                archive.addfile(entry, content)


def _list(folder: Path, target: Path) -> None:
    """The folder's path, then `<file> <bytes>` of every file in it, sorted: what stands for a folder that is
    too large to be copied."""
    if not folder.is_dir():
        raise ValueError("not a folder, which is what this source is")
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    lines = [f"{p.relative_to(folder).as_posix()} {p.stat().st_size}" for p in files]
    target.write_text("\n".join([str(folder.resolve()), *lines]), encoding="utf-8")


def _list_hash(path: Path, algorithm: str) -> str:
    """Hash of a list without the place of its folder: names and sizes are what it is known by."""
    content = path.read_bytes().partition(b"\n")[2]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def _advice(
    name: str, source: dict[str, Any], target: Path, offline_dir: Path | None, tried: list[str]
) -> str:
    """Which file, its hash, what was tried, where to put it, and how to run without it."""
    offline = f"{offline_dir or '<offline_dir>'}/{source.get('offline') or source['filename']}"
    lines = [
        f"source {name} ({source['filename']}, {source.get('hash') or 'no hash declared'}) cannot be had"
    ]
    lines += [f"  tried {line}" for line in tried] or [
        "  tried nothing: no mirror, no offline_dir, no path is set"
    ]
    if source.get("how"):
        lines.append(f"  how to get it: {source['how']}")
    if not source.get("hash"):
        lines += [f"  address, not used while no hash is declared: {url}" for url in source.get("urls", ())]
        lines.append(f"  then write its hash under sources.{name}.hash in config/datasets.yaml")
    lines += [
        f"  put the file at {offline} (offline_dir of config/config.yaml) or at {target}",
        f"  or, for a place of your own, write under `paths:` in config/config.yaml: `{name}: /path/to/it`",
        f"  or run without it: add to config/tiers/<tier>.yaml: `unavailable: [{name}]`",
    ]
    return "\n".join(lines)
