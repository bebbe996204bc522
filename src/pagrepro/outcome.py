"""The last act of a fit: its outputs, each whole or not there, `run.json` last."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pagrepro.errors import StateError
from pagrepro.finished import run_outputs, run_weights
from pagrepro.history import history_bytes
from pagrepro.layout import Layout
from pagrepro.spec import spec_hash
from pagrepro.storage import (
    Writer,
    file_hash,
    json_bytes,
    read_json,
    remove_leftovers,
    tensor_bytes,
    write_atomic,
)

REVISION = 1

Weights = Mapping[str, Tensor]


def write_run(
    layout: Layout,
    run: str,
    weights: Mapping[str, Weights],
    history: list[dict[str, Any]],
    record: dict[str, Any],
    write: Writer = write_atomic,
    before_each: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Write a run's files: weights ("final", "ema", "best", "epoch:<n>"), history, and `record` with the
    sha256 of the others as `run.json`. Returns the record as written.

    A crash in between leaves no `run.json`: an old one goes before its weights are replaced. `before_each`
    runs before every change to the folder and may raise (the lock was lost).
    """
    before_each()
    remove_leftovers(layout.run_folder(run))
    layout.run_json(run).unlink(missing_ok=True)
    paths = {name: layout.weights(run, name) for name in weights}
    for stale in set(layout.run_folder(run).glob("*.safetensors")) - set(paths.values()):
        stale.unlink(missing_ok=True)
    hashes = {}
    contents = ((path, lambda n=name: tensor_bytes(weights[n])) for name, path in paths.items())
    for path, content in (*contents, (layout.history(run), lambda: history_bytes(history))):
        before_each()
        data = content()
        write(path, data)
        hashes[path.name] = hashlib.sha256(data).hexdigest()
    record = {**record, "outputs": hashes}
    before_each()
    write(layout.run_json(run), json_bytes(record))
    return record


def choose_weights(
    spec: dict[str, Any],
    final: Weights,
    ema: Weights | None,
    best: Weights | None,
    kept: Mapping[str, Weights],
) -> tuple[dict[str, Weights], list[str]]:
    """Weights for every file that this spec declares, and a note for each that was never reached (the fit
    diverged, or no monitored value was a number): it holds the final ones."""
    found = {"final": final, "ema": ema, "best": best, **{f"epoch:{k}": v for k, v in kept.items()}}
    weights, notes = {}, []
    for which in run_weights(spec):
        reached = found.get(which) is not None
        weights[which] = found[which] if reached else final
        if not reached:
            notes.append(f"{which}: not reached; holds the last finite weights, as model.safetensors does")
    return weights, notes


def run_record(
    run: str, spec: dict[str, Any], revisions: dict[str, int], *, status: str, **facts: Any
) -> dict[str, Any]:
    """Content of `run.json`, but for the hashes of the other outputs. status: "complete" or "diverged"."""
    return {
        "run": run,
        "status": status,
        "spec": spec,
        "spec_hash": spec_hash(spec),
        "revisions": revisions,
        "seed": spec["seed"],
        "inputs": input_hashes(spec),
        **facts,
    }


def finished_record(
    layout: Layout, run: str, spec: dict[str, Any], identity: dict[str, Any]
) -> dict[str, Any] | None:
    """The `run.json` of a run that is already there: made from this spec and code, all files whole."""
    try:
        record = read_json(layout.run_json(run))
        if any(record.get(key) != value for key, value in identity.items()):
            return None
        files: list[Path] = run_outputs(layout, run, spec)[:-1]
        whole = all(file_hash(path) == record["outputs"].get(path.name) for path in files)
    except (StateError, OSError, KeyError, AttributeError):
        return None
    return record if whole else None


def input_hashes(spec: dict[str, Any]) -> dict[str, str | None]:
    """Identity of everything that went in: sources of the data set, the split's index list, other results."""
    found = {f"data:{role}": file["hash"] for role, file in (spec["dataset"].get("files") or {}).items()}
    split = spec.get("split") or {}
    if rows := split.get("indices") or split.get("without"):
        found[f"split:{rows}"] = split.get("sha256")
    for role, wanted in (spec.get("inputs") or {}).items():
        found[f"input:{role}"] = wanted.get("hash")
    return found
