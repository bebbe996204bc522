"""Third-party weights become a run: the same files as a fit writes, with an empty history."""

import time
from pathlib import Path
from typing import Any

import torch

from pagrepro import plugins
from pagrepro.download import check_hash
from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.load import build_network
from pagrepro.outcome import run_record, write_run
from pagrepro.provenance import now, provenance

REVISION = 1


def convert(
    spec: dict[str, Any], name: str, layout: Layout, revisions: dict[str, int], device: torch.device
) -> dict[str, Any]:
    """Convert the file of an `external` run with its adapter and write the run. Returns its `run.json`.

    Raises DataError when the file is missing, has no declared hash, is not the declared file, or does not
    fit the declared network.
    """
    started, clock = now(), time.monotonic()
    task, source = spec["task"], spec["inputs"]["file"]
    path = _verified(layout.source(source["source"], source["filename"]), source)
    adapter = plugins.load("sources", task["adapter"]["name"])
    config = adapter.Config(**{key: value for key, value in task["adapter"].items() if key != "name"})
    network = build_network(task, tuple(spec["dataset"]["shape"]), spec["dataset"]["classes"])
    try:
        network.load_state_dict(adapter.convert(config, path))
    except RuntimeError as error:
        wanted = task.get("model", task.get("network"))
        raise DataError(f"{path} does not fit the network {wanted}: {error}") from None
    record = run_record(
        name,
        spec,
        revisions,
        status="complete",
        steps=0,
        metrics={},
        monitor={},
        best=None,
        diverged=None,
        notes=[f"converted from {source['source']}, not fitted here"],
        provenance=provenance(device, time.monotonic() - clock, started),
    )
    return write_run(layout, name, {"final": network.state_dict()}, [], record)


def _verified(path: Path, source: dict[str, Any]) -> Path:
    if not source.get("hash"):
        raise DataError(
            f"source {source['source']}: no hash is declared, so its file is not used;"
            " put the sha256 of a copy you trust into config/datasets.yaml"
        )
    if not path.exists():
        raise DataError(
            f"{path} is not there; it is the file of source {source['source']} ({source['hash']})"
        )
    check_hash(path, source["hash"])
    return path
