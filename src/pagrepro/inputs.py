"""What measurements and fields are computed from: loaded once per process, and identified by content."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pagrepro.dataset import Dataset
from pagrepro.errors import StateError
from pagrepro.layout import Layout
from pagrepro.load import load_field, load_result, load_run
from pagrepro.load_data import load_dataset
from pagrepro.request import Loaded, LoadedRun
from pagrepro.spec import canonical_json, spec_hash
from pagrepro.storage import file_hash, read_json

REVISION = 1


@dataclass
class Loader:
    """Loads runs, fields and data sets of a tier, each once per process."""

    layout: Layout
    device: torch.device
    root: Path = Path(".")
    _datasets: dict[str, Dataset] = field(default_factory=dict)
    _runs: dict[tuple[str, str], LoadedRun] = field(default_factory=dict)

    def dataset(self, spec: dict[str, Any]) -> Dataset:
        """The data set of this specification, loaded once. Raises DataError."""
        key = canonical_json(spec)
        if key not in self._datasets:
            self._datasets[key] = load_dataset(spec, self.layout)
        return self._datasets[key]

    def run(self, name: str, weights: str, expected_hash: str | None) -> LoadedRun:
        """The frozen network of a run, loaded once; raises DataError when its hash is another one."""
        if (name, weights) not in self._runs:
            self._runs[name, weights] = load_run(
                self.layout, name, weights, self.device, expected_hash=expected_hash
            )
        return self._runs[name, weights]

    def inputs(self, given: dict[str, Any]) -> dict[str, Loaded]:
        """Runs, fields, measurements and paths of sources by role, as a resolved spec names them."""
        found: dict[str, Loaded] = {}
        for role, value in given.items():
            if "field" in value:
                found[role] = load_field(
                    self.layout, value["field"], self.device, expected_hash=value["hash"]
                )
            elif "evaluation" in value:
                found[role] = load_result(
                    self.layout, value["run"], value["evaluation"], expected_hash=value["hash"]
                )
            elif "source" in value:
                found[role] = self.layout.source(value["source"], value["filename"])
            else:
                found[role] = self.run(value["run"], value["weights"], value["hash"])
        return found


def input_hashes(spec: dict[str, Any], layout: Layout, run: str | None = None) -> dict[str, Any]:
    """Content hashes of weights, fields and files that a measurement or field is computed from, by role."""
    found: dict[str, Any] = {}
    if run is not None:
        weights = (spec.get("run") or {}).get("weights", "final")
        found["run"] = _hash_of(layout.weights(run, weights))
    for role, given in spec["inputs"].items():
        if "field" in given:
            found[role] = read_json(layout.field_json(given["field"]))["content"]
        elif "evaluation" in given:
            found[role] = _result_hash(layout, given["run"], given["evaluation"])
        elif "source" in given:
            path = layout.source(given["source"], given["filename"])
            found[role] = given["hash"] or _hash_of(path)  # what is downloaded has the declared hash
        else:
            found[role] = _hash_of(layout.weights(given["run"], given["weights"]))
    return found


def diverged_inputs(spec: dict[str, Any], layout: Layout, run: str | None = None) -> list[str]:
    """Runs whose fit diverged among all that stands behind a spec (and the measured run), sorted.

    What is made from them carries their names, so that no reader takes it for more than it is."""
    names = [] if run is None else _diverged(layout.run_json(run), run)
    for given in (spec.get("inputs") or {}).values():
        if "field" in given:
            names += _diverged(layout.field_json(given["field"]))
        elif "run" in given:
            names += _diverged(layout.run_json(given["run"]), given["run"])
    return sorted(set(names))


def _diverged(sidecar: Path, run: str | None = None) -> list[str]:
    record = read_json(sidecar)
    own = [run] if run is not None and record["status"] == "diverged" else []
    return own + list(record.get("diverged_inputs", ()))


def _result_hash(layout: Layout, run: str, evaluation: str) -> str:
    """Of what was measured; when and how fast is also in the files, and does not count."""
    values, arrays = read_json(layout.result(run, evaluation))["values"], layout.arrays(run, evaluation)
    return spec_hash({"values": values, "arrays": _hash_of(arrays) if arrays.is_file() else None})


def _hash_of(path: Path) -> str:
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise StateError(f"{path} is not there; the job that makes it has not finished") from None
    return _cached_hash(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=256)
def _cached_hash(path: Path, modified: int, size: int) -> str:
    return f"sha256:{file_hash(path)}"
