"""What can go from the folder of a tier, and how much that frees. Torch-free.

Without a configuration only what no configuration can need is found; with one, also what it does not ask for.
A fit that is under way is known by its lock. Measurements have none, so whatever was touched lately stays.
"""

import contextlib
import filecmp
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pagrepro import pack, sidecars
from pagrepro.expansion import Expansion
from pagrepro.finished import RECORD
from pagrepro.layout import Layout
from pagrepro.lock import RunLock
from pagrepro.removal import Leftover, files

# Names of files that are renamed when they are whole, and of the probes of a lock.
TEMPORARY = (".tmp", ".partial")
PROBE = ".clock."

NOT_ASKED = "the configuration does not ask for it"
ANOTHER = "of another specification or code than the configuration asks for"

# (hash of the specification, code revisions)
Identity = tuple[Any, Any]


@dataclass(frozen=True)
class Wanted:
    """What a configuration asks for: kind ("models", "fields", "evaluations") -> name ("run/evaluation" for
    the last) -> identity. spared: names that it would ask for if their sources could be had."""

    identities: dict[str, dict[str, Identity]]
    spared: frozenset[str] = frozenset()

    def why_not(self, kind: str, name: str, found: Identity | None = None) -> str | None:
        """Why nothing asks for this; None when something does, or would. found: None for any identity."""
        if name in self.spared:
            return None
        if name not in self.identities[kind]:
            return NOT_ASKED
        return ANOTHER if found is not None and found != self.identities[kind][name] else None


def wanted(expansion: Expansion) -> Wanted:
    """What an expanded configuration asks for."""
    runs, fields, evaluations = expansion.runs, expansion.fields, expansion.evaluations
    return Wanted(
        {
            "models": {n: (r.hash, pack.revisions_of("train", r.spec)) for n, r in runs.items()},
            "fields": {n: (f.hash, pack.revisions_of("field", f.spec)) for n, f in fields.items()},
            "evaluations": {
                f"{e.run}/{e.name}": (e.hash, pack.revisions_of("evaluate", e.spec))
                for e in evaluations.values()
            },
        },
        frozenset(expansion.removed),
    )


@dataclass
class Found:
    """What can go, and the runs that are being fitted and were left alone."""

    leftovers: list[Leftover] = field(default_factory=list)
    in_use: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Search:
    """One look at a tier. idle_s: what was touched less long ago stays, but for states, which have locks.
    copies: also kept files of which the same content is in place, where the file system has no hard links."""

    layout: Layout
    wanted: Wanted | None = None
    idle_s: float = 3600.0
    copies: bool = False

    def find(self) -> Found:
        """Everything that can go; changes nothing."""
        found = Found()
        names = _names(self.layout.results / "state") | _names(self.layout.results / "models")
        found.in_use = [n for n in sorted(names) if RunLock(self.layout.state(n)).taken()]
        # A run that is being fitted keeps its files, whatever the configuration says.
        places = (self.layout.state, self.layout.run_folder)
        busy = [place(name) for place in places for name in found.in_use]
        for part in (self._states, self._scratch, self._unwanted, self._kept):
            found.leftovers += [item for item in part() if not _inside(item.path, busy)]
        found.leftovers += self._temporary([*busy, *(item.path for item in found.leftovers)])
        return found

    def _states(self) -> Iterator[Leftover]:
        for name in sorted(_names(self.layout.results / "state") - {"evaluations"}):
            folder = self.layout.state(name)
            if why := self._why_state(name, folder):
                yield Leftover("resume state", why, folder, folder)

    def _why_state(self, name: str, folder: Path) -> str | None:
        states = [path for path in sorted(folder.glob("*.safetensors")) if path.stem.isdigit()]
        if not states:
            return "holds no state, only what a process that is gone left"
        identities = [_identity((_header(path) or {}).get("identity")) for path in states]
        if identities[-1] is not None and identities[-1] == _identity(
            sidecars.read(self.layout.run_json(name))
        ):
            return "the run is finished"
        if self.wanted is None or None in identities:
            return None
        reasons = {self.wanted.why_not("models", name, identity) for identity in identities}
        return None if None in reasons else min(reasons)

    def _scratch(self) -> Iterator[Leftover]:
        """What unfinished measurements have found so far may be worth hours: it stays."""
        for run in sorted(_names(self.layout.results / "state" / "evaluations")):
            top = self.layout.results / "state" / "evaluations" / run
            inner = [top / name for name in sorted(_names(top))]
            if not any(files(top)):
                if self._idle(top):
                    yield Leftover("scratch of measurements", "empty folders", top)
                continue
            for folder in inner:
                touched, result = _touched(folder), self.layout.result(run, folder.name)
                if not self._idle(folder):
                    continue
                if result.is_file() and result.stat().st_mtime >= touched:
                    yield Leftover("scratch of measurements", "the measurement is finished", folder)
                elif self.wanted and (why := self.wanted.why_not("evaluations", f"{run}/{folder.name}")):
                    yield Leftover("scratch of measurements", why, folder)

    def _unwanted(self) -> Iterator[Leftover]:
        """Finished work that is not asked for by name. What is asked for with another specification is
        replaced by its own job."""
        if self.wanted is None:
            return
        results = self.layout.results
        for kind, what in (("models", "run"), ("fields", "field")):
            for name in sorted(_names(results / kind)):
                why, folder = self.wanted.why_not(kind, name), results / kind / name
                if why and self._idle(folder):
                    yield Leftover(what, why, folder, self.layout.state(name) if what == "run" else None)
        for path in sorted((results / "evaluations").glob("*/*")):
            why = self.wanted.why_not("evaluations", f"{path.parent.name}/{path.stem}")
            if why and path.suffix in (".json", ".npz") and self._idle(path):
                yield Leftover("result", why, path)

    def _kept(self) -> Iterator[Leftover]:
        depth = {"models": 1, "fields": 2, "evaluations": 2}
        for kind, levels in depth.items():
            for folder in sorted((self.layout.results / "kept" / kind).glob("/".join("*" * levels))):
                entries = sorted(filter(Path.is_dir, folder.iterdir()), key=_touched, reverse=True)
                whole = [entry for entry in entries if (entry / RECORD).is_file()]
                for entry in entries:
                    why = self._why_kept(kind, folder, entry, entry in whole[:1])
                    if why and self._idle(entry):
                        yield Leftover("kept work", why, entry)

    def _why_kept(self, kind: str, folder: Path, entry: Path, newest: bool) -> str | None:
        if not newest:
            return "not whole, or older than what is kept beside it"
        name, place = folder.name, self.layout.results / kind / folder.name
        if kind == "models":
            content = sidecars.read(entry / "run.json")
        elif kind == "fields":
            name, place = folder.parent.name, self.layout.results / kind / folder.parent.name
            content = _header(entry / f"{folder.name}.safetensors")
        else:
            name, place = f"{folder.parent.name}/{name}", self.layout.results / kind / folder.parent.name
            content = sidecars.read(entry / f"{folder.name}.json")
        identity = _identity(content)
        if self.wanted and identity and (why := self.wanted.why_not(kind, name, identity)):
            return why
        return "copies of files that are there" if self.copies and _doubled(entry, place) else None

    def _temporary(self, others: list[Path]) -> Iterator[Leftover]:
        for path in files(self.layout.results):
            if not path.name.startswith(".") or _inside(path, others):
                continue
            if (path.suffix in TEMPORARY or path.name.startswith(PROBE)) and self._idle(path):
                yield Leftover("temporary file", "its writer was interrupted", path)

    def _idle(self, path: Path) -> bool:
        return time.time() - _touched(path) >= self.idle_s


# --- reading -----------------------------------------------------------------------------------------


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()} if folder.is_dir() else set()


def _touched(path: Path) -> float:
    """When anything in it was last changed; now, if it is being removed under our eyes."""
    times = []
    for inner in (path, *files(path)):
        with contextlib.suppress(FileNotFoundError):
            times.append(inner.lstat().st_mtime)
    return max(times, default=time.time())


def _inside(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _header(path: Path) -> dict[str, Any] | None:
    """The metadata of a safetensors file, which this package writes as one JSON value."""
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads(next(iter((file.metadata() or {"": "{}"}).values())))
    except (OSError, ValueError, SafetensorError):
        return None


def _identity(content: dict[str, Any] | None) -> Identity | None:
    return (content["spec_hash"], content.get("revisions")) if content and "spec_hash" in content else None


def _doubled(entry: Path, place: Path) -> bool:
    """Whether all kept files are in place with the same content, and none by hard link."""
    pairs = [(entry / name, place / name) for name in sidecars.read(entry / RECORD)]
    there = all(a.is_file() and b.is_file() and not a.samefile(b) for a, b in pairs)
    return bool(pairs) and there and all(filecmp.cmp(a, b, shallow=False) for a, b in pairs)
