"""Measurements of finished runs: what a resolved evaluation spec asks for, taken and written down.

`measure_run` is for notebooks and scripts; `measure_all` is one job: members that are finished stay finished,
whatever happens to the others, and each run is loaded once. Any other model is measured by `own_measure.py`.
"""

import contextlib
import io
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pagrepro import plugins
from pagrepro.dataset import to_float
from pagrepro.determinism import switches
from pagrepro.errors import UserError
from pagrepro.finished import keep, kept_folder, restore
from pagrepro.inputs import Loader, diverged_inputs, input_hashes
from pagrepro.layout import Layout
from pagrepro.load_data import load_mask, load_split
from pagrepro.provenance import now, provenance
from pagrepro.replay import ReplayRequest, training_batch
from pagrepro.request import Loaded, LoadedRun, Measurement, MeasureRequest
from pagrepro.spec import spec_hash
from pagrepro.storage import write_atomic, write_json

REVISION = 1


def measure_run(
    spec: dict[str, Any], run: str, layout: Layout, device: torch.device | str = "cpu"
) -> Measurement:
    """Take one measurement of one run; nothing is written.

    spec: a resolved evaluation spec `{measure, dataset, split, seed, batch_size, run: {hash, weights},
    inputs}`; run: its name. Raises StateError when the run (or a field) is not there or is another than the
    spec's.
    """
    return _measure(spec, run, Loader(layout, torch.device(device)))


def _measure(spec: dict[str, Any], run: str, loader: Loader, scratch: Path | None = None) -> Measurement:
    given = spec.get("run") or {}
    loaded = loader.run(run, given.get("weights", "final"), given.get("hash"))
    return take(spec, loaded, loader, loader.inputs(spec["inputs"]), scratch)


def take(
    spec: dict[str, Any],
    loaded: LoadedRun,
    loader: Loader,
    inputs: dict[str, Loaded],
    scratch: Path | None = None,
    examples: int | None = None,
    deterministic: bool = True,
) -> Measurement:
    """Take the measurement that a resolved spec asks for, of a loaded model and with these inputs by role.

    examples: only so many of the split, from the first on. deterministic: whether algorithms without a
    deterministic form are refused.
    """
    module = plugins.load("evaluations", spec["measure"]["name"])
    config = module.Config(**{k: v for k, v in spec["measure"].items() if k != "name"})
    dataset = loader.dataset(spec["dataset"])
    x, y, index = (rows[:examples] for rows in load_split(dataset, spec["split"], loader.root))
    mask = load_mask(dataset, spec["split"], index)
    build, more = MeasureRequest, {}
    if getattr(module, "REPLAYS", False):
        batch = training_batch(loaded.spec, loader.layout, loader.device, loader.root)
        build, more = ReplayRequest, {"batch": batch, "run_spec": loaded.spec}
    request = build(
        model=loaded.model,
        x=to_float(x.to(loader.device)),
        y=y.to(loader.device),
        index=index,
        classes=dataset.classes,
        seed=spec["seed"],
        low=dataset.low,
        high=dataset.high,
        device=loader.device,
        batch_size=spec["batch_size"],
        spec=spec,
        inputs=inputs,
        mask=None if mask is None else mask.to(loader.device),
        scratch=scratch,
        **more,
    )
    with switches(deterministic):
        return module.measure(config, request)


# --- results on disk -------------------------------------------------------------------------------


def outputs(spec: dict[str, Any], run: str, evaluation: str, layout: Layout) -> list[Path]:
    """Files of one measurement: the result, and the arrays unless its module says `ARRAYS = False`."""
    has_arrays = plugins.constant("evaluations", spec["measure"]["name"], "ARRAYS", True)
    return [layout.result(run, evaluation), *([layout.arrays(run, evaluation)] if has_arrays else [])]


def write_result(
    member: dict[str, Any], measurement: Measurement, layout: Layout, sidecar: dict[str, Any]
) -> None:
    """Write arrays (.npz) and then the result (JSON), each atomically: a result is never without its arrays.

    member: `{run, evaluation, spec, revisions}`; sidecar: provenance. Status is "diverged" when the run or
    anything that it or the measurement is made from is, else "complete". Values that are not finite are
    written as null.
    """
    run, evaluation, spec = member["run"], member["evaluation"], member["spec"]
    result, *arrays = outputs(spec, run, evaluation, layout)
    diverged = diverged_inputs(spec, layout, run)
    if arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **measurement.arrays)
        write_atomic(arrays[0], buffer.getvalue())
    content = {
        "run": run,
        "evaluation": evaluation,
        "status": "diverged" if diverged else "complete",
        "values": measurement.values,
        "flags": measurement.flags
        + [f"made from {name}, which diverged" for name in diverged if name != run],
        "arrays": sorted(measurement.arrays),
        "spec": spec,
        "spec_hash": spec_hash(spec),
        "revisions": member["revisions"],
        "seed": spec["seed"],
        "provenance": sidecar,
    }
    write_json(result, content)


def measure_all(members: list[dict[str, Any]], layout: Layout, device: torch.device) -> list[str]:
    """Take the measurements of one job, in order; returns one line per member that failed.

    Results are kept by spec, revisions and content of what they were computed from, so that a job
    that runs again (Snakemake deletes the outputs of a failed one) puts them back without computing.
    """
    loader, failed = Loader(layout, device), []
    for member in members:
        label = f"{member['run']}/{member['evaluation']}"
        try:
            _one(member, loader)
        except UserError as error:
            failed.append(f"{label}: {error}")
        except Exception as error:
            traceback.print_exc()
            failed.append(f"{label}: {type(error).__name__}: {error}")
    return failed


def _one(member: dict[str, Any], loader: Loader) -> None:
    run, name, spec = member["run"], member["evaluation"], member["spec"]
    layout, started, clock = loader.layout, now(), time.monotonic()
    inputs = input_hashes(spec, layout, run)
    key = spec_hash({"spec": spec, "revisions": member["revisions"], "inputs": inputs})
    folder = kept_folder(layout, "evaluations", run, name)
    files = outputs(spec, run, name, layout)[::-1]  # the result last: it says that the arrays are there
    if restore(folder, key, files):
        print(f"{run}/{name}: kept from an earlier job", flush=True)
        return
    scratch = layout.scratch(run, name)
    measurement = _measure(spec, run, loader, scratch / key)
    sidecar = provenance(loader.device, time.monotonic() - clock, started, inputs=inputs)
    write_result(member, measurement, layout, sidecar)
    keep(folder, key, files)
    shutil.rmtree(scratch, ignore_errors=True)
    with contextlib.suppress(OSError):
        scratch.parent.rmdir()
    values = "  ".join(f"{k} {v:.4g}" for k, v in measurement.values.items())
    print(f"{run}/{name}: {values}  ({time.monotonic() - clock:.1f} s)", *measurement.flags, flush=True)
