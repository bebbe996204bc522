"""Finished work, kept by its key, so that a pack that runs again computes only what changed. Torch-free.

Snakemake deletes all outputs of a job before it runs. What a member of a pack made is therefore also kept, by
hard link, under `results/<tier>/kept/`; one generation per name.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pagrepro.layout import Layout
from pagrepro.spec import spec_hash

RECORD = "kept.json"


def key_for(spec: Any, revisions: Any) -> str:
    """Identity of a piece of work: the same spec under the same code revisions."""
    return spec_hash({"spec": spec, "revisions": revisions})


def kept_folder(layout: Layout, *names: str) -> Path:
    """Where finished work of a name is kept: `kept_folder(layout, "models", run)`."""
    return layout.results.joinpath("kept", *names)


def run_weights(spec: dict[str, Any]) -> list[str]:
    """Which weights a run of this spec writes: "final", "ema", "best", "epoch:<n>", in this order."""
    fit = spec.get("fit") or {}
    which = ["final"]
    if fit.get("ema"):
        which.append("ema")
    if fit.get("select") or any(entry.get("select") for entry in spec.get("monitor") or ()):
        which.append("best")
    return which + [f"epoch:{epoch}" for epoch in sorted(set(fit.get("keep_epochs") or ()))]


def run_outputs(layout: Layout, run: str, spec: dict[str, Any]) -> list[Path]:
    """Every file that a run writes, `run.json` last (written last, it vouches for the others)."""
    weights = [layout.weights(run, which) for which in run_weights(spec)]
    return [*weights, layout.history(run), layout.run_json(run)]


def keep(folder: Path, key: str, outputs: Sequence[Path]) -> None:
    """Keep these finished files under a key, in place of what was kept before in `folder`.

    Linked where the file system can, else copied. File names must differ. A file system without room is
    no reason to fail: then nothing is kept.
    """
    target = folder / key
    try:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        files = {}
        for path in outputs:
            _link(path, target / path.name)
            files[path.name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
        temporary = target / f".{RECORD}.tmp"
        temporary.write_text(json.dumps(files, indent=2))
        os.replace(temporary, target / RECORD)
    except OSError as error:
        print(f"{folder}: finished work could not be kept ({error})", flush=True)
        shutil.rmtree(target, ignore_errors=True)
        return
    for other in folder.iterdir():
        if other.name != key:
            shutil.rmtree(other, ignore_errors=True)


def restore(folder: Path, key: str, outputs: Sequence[Path]) -> bool:
    """Put kept files back to where `outputs` says, in that order; False (and nothing changed) unless all of
    them are kept under this key, with the size and content they had."""
    source = folder / key
    try:
        files = json.loads((source / RECORD).read_text())
    except (OSError, ValueError):
        return False
    for path in outputs:
        if path.name not in files or not _same(source / path.name, files[path.name]):
            if files:
                print(f"{source}: not used, {path.name} is missing or changed", flush=True)
            return False
    for path in outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        _link(source / path.name, temporary)
        # Newer than the inputs, or a workflow would make it again. Renaming one link over another of the
        # same file does nothing, so an old output goes first.
        os.utime(temporary)
        path.unlink(missing_ok=True)
        os.replace(temporary, path)
    return True


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        shutil.copyfile(source, target)


def _same(path: Path, expected: dict[str, Any]) -> bool:
    try:
        return path.stat().st_size == expected["size"] and _sha256(path) == expected["sha256"]
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
