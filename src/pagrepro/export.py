"""A finished tier as one archive: its files, the configuration behind them, checksums and metadata.
Torch-free.

The archive is a ZIP file that is an RO-Crate (`crate.py`), with the sha256 of every file in
`manifest-sha256.txt`, as `sha256sum -c` reads it. The same files give the same bytes, whenever and wherever
they are exported (with one version of zlib). Files are streamed: none is held in memory.
"""

import hashlib
import io
import json
import os
import secrets
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pagrepro import crate, leftovers, pack, sidecars
from pagrepro.configuration import Configuration
from pagrepro.errors import UserError
from pagrepro.expansion import Expansion
from pagrepro.layout import Layout
from pagrepro.targets import Files

MISSING = "missing.txt"

# What can be left out, and what it is.
PARTS = {
    "models": "weights of runs (their run.json and history stay)",
    "fields": "tensors of fields (their field.json stays)",
    "arrays": "per-example arrays of results",
    "report": "report.zip and the HTML pages with their pictures",
    "logs": "logs of jobs",
    "timings": "benchmark files of jobs",
    "state": "resume state of fits that are not finished",
}

# Work kept a second time, for packs that run again; pictures of what was unfinished.
NEVER = ("kept", "preview")

# Files of the repository that say what was asked for and with what, under the same names in the archive.
SOURCES = ("CITATION.cff", "LICENSE", "pyproject.toml", "requirements.lock")

# The earliest time that a ZIP file can hold: contents decide the bytes, not the clock.
EPOCH = (1980, 1, 1, 0, 0, 0)
PACKED = (".png", ".pdf", ".npz", ".zip", ".safetensors")
CHUNK = 1 << 20


@dataclass
class Contents:
    """What goes into an archive: name in it -> file; missing: what the tier declares and is not there (or is
    of another specification), one line each; unasked: files of runs, fields and results that the
    configuration does not ask for, which are not exported."""

    files: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)


def part_of(name: str) -> str | None:
    """The part of PARTS that a file belongs to, by its name in the results; None for what always goes
    along."""
    path = Path(name)
    top = path.parts[0]
    if top in ("logs", "timings", "state"):
        return top
    if top in ("models", "fields"):
        return top if path.suffix == ".safetensors" else None
    if top == "evaluations":
        return "arrays" if path.suffix == ".npz" else None
    return "report" if name == "report.zip" or path.suffix == ".html" or top == "page" else None


def contents(
    expansion: Expansion, loaded: Configuration, layout: Layout, root: Path, without: set[str]
) -> Contents:
    """What an archive of a tier would hold. root: of the repository; without: names of PARTS to leave out."""
    found = Contents(missing=unfinished(expansion, loaded, layout))
    asked = leftovers.wanted(expansion)
    for path in _walk(layout.results):
        name = path.relative_to(layout.results).as_posix()
        top, *rest = Path(name).parts
        if top in NEVER or part_of(name) in without:
            continue
        owner = (
            rest[0]
            if top in ("models", "fields")
            else f"{rest[0]}/{path.stem}"
            if top == "evaluations"
            else ""
        )
        if owner and asked.why_not(top, owner):
            found.unasked.append(name)
        else:
            found.files[name] = path
    for path in (*(root / source for source in SOURCES), *_walk(root / "config")):
        if path.is_file():
            found.files[path.relative_to(root).as_posix()] = path
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, hidden ones (of writers under way, of systems) left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not path.is_symlink() and not hidden:
            yield path


def unfinished(expansion: Expansion, loaded: Configuration, layout: Layout) -> list[str]:
    """What a tier declares and a folder of results lacks, or has from another specification."""
    files = Files(expansion, layout)
    declared = [path for job in pack.jobs(expansion, loaded) for path in files.outputs(job)]
    declared += [*files.all_artifacts(), str(layout.claims()), str(layout.results / "report.zip")]
    lines = [f"missing: {path}" for path in dict.fromkeys(declared) if not Path(path).is_file()]
    for member in (*expansion.runs.values(), *expansion.fields.values(), *expansion.evaluations.values()):
        path = sidecars.path_of(member, layout)
        if path.is_file() and sidecars.read(path).get("spec_hash") != member.hash:
            lines.append(f"of another specification: {path}")
    for path in files.all_artifacts():
        about = Path(path).with_suffix(".json")
        if mark := sidecars.read(about).get("incomplete"):
            lines.append(f"a preview ({mark}): {path}")
    return lines


def facts(found: Contents, loaded: Configuration, without: set[str]) -> crate.Facts:
    """What the sidecars among the contents say of how they came about."""
    papers = {
        key: (paper.sections.get("title") or key, paper.sections.get("citation") or "")
        for key, paper in loaded.papers.items()
    }
    known = crate.Facts(loaded.settings.tier, papers, without=sorted(without))
    for name, path in found.files.items():
        if name.startswith(("models/", "fields/", "evaluations/")) and name.endswith(".json"):
            known.note(sidecars.read(path).get("provenance") or {})
    return known


def write(target: Path, found: Contents, about: crate.Facts) -> int:
    """Write an archive, whole or not at all; returns its size in bytes. Raises UserError for a name taken."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    sums, sizes = {}, {}
    try:
        with zipfile.ZipFile(temporary, "w", allowZip64=True) as archive:
            for name in sorted(found.files):
                with open(found.files[name], "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    sums[name], sizes[name] = _add(archive, name, file, size)
            if found.missing:
                text = "\n".join(found.missing).encode() + b"\n"
                sums[MISSING], sizes[MISSING] = _add_bytes(archive, MISSING, text), len(text)
            metadata = crate.metadata(sizes, about, len(found.missing))
            text = json.dumps(metadata, indent=1, sort_keys=True).encode() + b"\n"
            sums[crate.METADATA] = _add_bytes(archive, crate.METADATA, text)
            lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
            _add_bytes(archive, crate.MANIFEST, lines.encode())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target.stat().st_size


def refuse_unfinished(found: Contents, most: int = 20) -> None:
    """Raise UserError when something is missing."""
    if found.missing:
        more = f"\n  ... {len(found.missing) - most} more" if len(found.missing) > most else ""
        shown = "\n  ".join(found.missing[:most])
        raise UserError(
            f"the tier is not finished: {len(found.missing)} of its files are not there or not its"
            f" own\n  {shown}{more}"
            "\n  run it to its end, or export what there is, marked as incomplete, with --partial"
        )


def _add(archive: zipfile.ZipFile, name: str, file: IO[bytes], size: int) -> tuple[str, int]:
    """(sha256, bytes) of what was streamed into the archive."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_STORED if name.endswith(PACKED) else zipfile.ZIP_DEFLATED
    info.external_attr, info.create_system, info.file_size = 0o644 << 16, 3, size
    digest, written = hashlib.sha256(), 0
    with archive.open(info, "w") as entry:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            written += entry.write(chunk)
    return digest.hexdigest(), written


def _add_bytes(archive: zipfile.ZipFile, name: str, content: bytes) -> str:
    return _add(archive, name, io.BytesIO(content), len(content))[0]
