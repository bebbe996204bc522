"""Resume state of a fit: two generations of one checked file, never resumed by another spec or code.

`state/<run>/<step>.safetensors` holds every tensor; its header the rest, the identity of the run and a
checksum over all of it. The newest that is whole is used; a damaged one is said and removed.
"""

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pagrepro.errors import StateError
from pagrepro.storage import (
    Writer,
    checksum,
    flatten,
    load_tensors,
    read_metadata,
    remove_leftovers,
    save_tensors,
    unflatten,
    write_atomic,
)

# Changing what a state holds makes older ones unreadable: count it up and they are discarded.
FORMAT = 1
GENERATIONS = 2


@dataclass
class StateStore:
    """States of one run. `identity`: spec hash and revisions; `check=False` (tests only) trusts any file."""

    folder: Path
    identity: dict[str, Any]
    write: Writer = write_atomic
    check: bool = True

    def save(self, step: int, tree: Any) -> None:
        """Write a state and drop all but the one before it. Raises OSError when the disk is full; the states
        that were there then still are."""
        tensors, skeleton = flatten(tree)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        header = {"identity": {**self.identity, "format": FORMAT}, "step": step, "skeleton": skeleton}
        header["checksum"] = checksum(tensors, _text(header))
        save_tensors(self.folder / f"{step:012d}.safetensors", tensors, header, self.write)
        for old in self._files()[GENERATIONS:]:
            old.unlink(missing_ok=True)

    def load(self) -> Any | None:
        """The newest whole state of this identity, or None. Says loudly what it had to discard."""
        remove_leftovers(self.folder)
        for path in self._files():
            try:
                tensors = load_tensors(path)
                header = read_metadata(path)
                found = self._verified(header, tensors)
            except StateError as error:
                print(f"WARNING: state discarded: {path}: {error}", flush=True)
                path.unlink(missing_ok=True)
                continue
            if found != {**self.identity, "format": FORMAT} and self.check:
                print(
                    f"WARNING: state discarded: {self.folder} belongs to another spec or code\n"
                    f"  found:  {json.dumps(found)}\n  wanted: {json.dumps(self.identity)}",
                    flush=True,
                )
                self.delete()
                return None
            # Cloned: the file may be removed while the tensors are in use.
            return unflatten({name: t.clone() for name, t in tensors.items()}, header["skeleton"])
        return None

    def _verified(self, header: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(header, dict) or "checksum" not in header:
            raise StateError("it has no checksum")
        told = header.pop("checksum")
        if self.check and checksum(tensors, _text(header)) != told:
            raise StateError("its content does not match its checksum")
        return header["identity"]

    def delete(self) -> None:
        """Remove all states and what the fit kept beside them (not the lock)."""
        with contextlib.suppress(FileNotFoundError):
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif not path.name.startswith("lock."):
                    path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """State files, newest first."""
        return sorted((p for p in self.folder.glob("*.safetensors") if p.stem.isdigit()), reverse=True)


def _text(header: dict[str, Any]) -> str:
    return json.dumps(header, sort_keys=True)
