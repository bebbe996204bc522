"""Files that are either whole or not there: atomic writes, and tensors as safetensors without pickle.

A reader never sees half a file: content goes to a temporary name in the same folder, is flushed to the
disk and then renamed over the target (POSIX rename is atomic within a file system).
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from pagrepro.errors import StateError

# One metadata key only: the order of several in the header is not fixed, so the file's bytes would not be.
_KEY = "pagrepro"

Writer = Callable[[Path, bytes], None]


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all. Raises OSError (a full disk), leaving the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Delete what writers that were killed left in a folder. Only for a folder with one writer."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; not every file system offers this."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def json_bytes(value: Any) -> bytes:
    """Readable JSON with a final newline; values that are not finite become null (JSON has none)."""
    return (json.dumps(finite_json(value), indent=2, allow_nan=False) + "\n").encode()


def finite_json(value: Any) -> Any:
    """The value with every number that is not finite replaced by null, which JSON can hold."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(k): finite_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_json(v) for v in value]
    return value


def write_json(path: Path, value: Any, write: Writer = write_atomic) -> None:
    """Write a JSON file; numbers that are not finite become null."""
    write(path, json_bytes(value))


def read_json(path: Path) -> Any:
    """Content of a JSON file. Raises StateError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StateError(f"{path} is not there; the job that makes it has not finished") from None
    except ValueError as error:
        raise StateError(f"{path} is damaged ({error}); delete it and run its job again") from None


def file_hash(path: Path, name: str = "sha256") -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


# --- tensors ---------------------------------------------------------------------------------------


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Any = None) -> bytes:
    """Safetensors content of named tensors; `metadata` is any JSON value. Same input, same bytes.

    Tensors that share memory (tied weights) are written out one by one.
    """
    plain = {name: t.detach().to("cpu").contiguous().clone() for name, t in sorted(tensors.items())}
    return serialise(plain, None if metadata is None else {_KEY: json.dumps(metadata)})


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Any = None, write: Writer = write_atomic
) -> None:
    """Write named tensors to a safetensors file, atomically."""
    write(path, tensor_bytes(tensors, metadata))


def load_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Tensors of a safetensors file; on the CPU they are mapped from the file, not copied.

    Raises StateError when the file is missing, truncated or not of this format.
    """
    try:
        return load_file(path, device=str(device))
    except FileNotFoundError:
        raise StateError(f"{path} is not there; the job that makes it has not finished") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise StateError(f"{path} is damaged ({error}); delete it and run its job again") from None


def read_metadata(path: Path) -> Any:
    """The JSON value given to `save_tensors`, or None."""
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except (SafetensorError, OSError) as error:
        raise StateError(f"{path} is damaged ({error}); delete it and run its job again") from None
    return None if text is None else json.loads(text)


def checksum(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """sha256 over names, types, shapes and bytes of tensors, and a text."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().to("cpu").contiguous()
        digest.update(f"{name}|{plain.dtype}|{tuple(plain.shape)}|".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
    return digest.hexdigest()


# --- trees: optimiser states and the like ------------------------------------------------------------


def flatten(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Split nested dicts, lists and tuples into named tensors and a JSON skeleton; `unflatten` undoes it.

    Keys of any JSON type keep their type (optimiser states are keyed by int); floats come back exactly.
    """
    tensors: dict[str, Tensor] = {}

    def take(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors[f"{len(tensors):06d}"] = value
            return {"tensor": f"{len(tensors) - 1:06d}"}
        if isinstance(value, Mapping):
            return {"dict": [[key, take(item)] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            return {type(value).__name__: [take(item) for item in value]}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise TypeError(f"cannot store a {type(value).__name__} without pickle: {value!r}")

    return tensors, take(tree)


def unflatten(tensors: Mapping[str, Tensor], skeleton: Any) -> Any:
    """The tree that `flatten` was given."""
    if not isinstance(skeleton, dict):
        return skeleton
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: unflatten(tensors, item) for key, item in content}
    items: Iterable[Any] = [unflatten(tensors, item) for item in content]
    return tuple(items) if kind == "tuple" else items
