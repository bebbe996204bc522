"""What a comparison reads from a results folder. Torch-free."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pagrepro import plugins
from pagrepro.errors import DataError

Json = dict[str, Any]


def sidecar(path: Path) -> Json:
    """Content of `run.json`, `field.json` or a result. Raises DataError for a file that is not whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); run its job again") from error
    if not isinstance(content, dict) or "spec_hash" not in content:
        raise DataError(f"{path}: no spec_hash; it was not written by this package")
    return content


def name_of(path: Path, root: Path) -> str:
    """`evaluations/run/clean.json` -> `run/clean`; `models/run/run.json` -> `run`."""
    parts = path.relative_to(root).with_suffix("").parts[1:]
    return parts[0] if parts[-1] in ("run", "field") else "/".join(parts)


def with_a_clock(content: Json) -> bool:
    """Whether a result is a timing: its plugin asks to be alone on the machine."""
    name = content.get("spec", {}).get("measure", {}).get("name")
    return name in plugins.names("evaluations") and plugins.constant("evaluations", name, "ALONE", False)


def weights(content: Json) -> Json:
    """Checksums of a run's weights; its history has times in it."""
    return {name: sha for name, sha in content.get("outputs", {}).items() if name.endswith(".safetensors")}


def about_artifact(csv: Path) -> Json:
    """Number of an artifact, and what it was made from: {(run/evaluation, spec hash)}."""
    path = csv.with_suffix(".json")
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    sources = {(f"{x['run']}/{x['result']}", x["spec_hash"]) for x in content.get("inputs", ())}
    return {"number": content.get("number"), "sources": sources}


def claims(path: Path) -> dict[str, Json]:
    """`paper claim` -> its line in claims.csv; nothing without the file."""
    if not path.is_file():
        return {}
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return {f"{row['paper']} {row['claim']}": row for row in table.to_dict("records")}


def place(provenance: Json) -> Iterator[tuple[str, str]]:
    """What is known of the code and the machine behind a number."""
    for group, label in (("versions", "version of"), ("device", "device")):
        for key, value in (provenance.get(group) or {}).items():
            yield f"{label} {key}", str(value)
    if git := provenance.get("git"):
        yield "commit", f"{git.get('commit')}{' with changes' if git.get('dirty') else ''}"
    if "host" in provenance:
        yield "host", str(provenance["host"])


def tensors_hash(path: Path) -> str:
    """Hash of the tensors of a safetensors file without its metadata: hashes of files that have times."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(header, sort_keys=True).encode())
    return digest.hexdigest()
