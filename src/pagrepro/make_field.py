"""Fields: an array per image (and class) of a fixed split, computed shard by shard.

Shard k of n holds the rows [k*N//n, (k+1)*N//n) of the split. A field is a function of its spec: every
shard carries the spec's hash, the revisions and the hashes of its inputs, and `field.json` is written last.
"""

import time
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pagrepro import plugins
from pagrepro.determinism import switches
from pagrepro.errors import UserError
from pagrepro.finished import keep, kept_folder, restore
from pagrepro.inputs import Loader, diverged_inputs, input_hashes
from pagrepro.layout import Layout
from pagrepro.load_data import load_split
from pagrepro.provenance import now, provenance
from pagrepro.request import FieldRequest, Loaded
from pagrepro.spec import spec_hash
from pagrepro.storage import file_hash, read_metadata, save_tensors, write_json

REVISION = 1


def shard_rows(examples: int, shards: int, shard: int) -> Tensor:
    """Rows (n,) int64 of one shard."""
    return torch.arange(shard * examples // shards, (shard + 1) * examples // shards)


def compute_shard(
    spec: dict[str, Any], shard: int, loader: Loader, inputs: dict[str, Loaded] | None = None
) -> dict[str, Tensor]:
    """Tensors of one shard of a resolved field spec `{field, dataset, split, seed, shards, inputs}`.

    inputs: by role, where they are not those of finished work.
    """
    module = plugins.load("fields", spec["field"]["name"])
    config = module.Config(**{k: v for k, v in spec["field"].items() if k != "name"})
    dataset = loader.dataset(spec["dataset"])
    x, y, _ = load_split(dataset, spec["split"], loader.root)
    request = FieldRequest(
        x=x,
        y=y,
        classes=dataset.classes,
        rows=shard_rows(len(x), spec["shards"], shard),
        seed=spec["seed"],
        low=dataset.low,
        high=dataset.high,
        device=loader.device,
        inputs=loader.inputs(spec["inputs"]) if inputs is None else inputs,
    )
    with switches():
        return module.compute(config, request)


def make_field(member: dict[str, Any], loader: Loader) -> None:
    """Write the shards of one field and then its field.json; shards that are there or kept are not computed.

    member: `{name, spec, revisions}` and optionally `shard`, the only one to compute: then field.json is
    written by whoever finds all shards there.
    """
    name, spec, layout = member["name"], member["spec"], loader.layout
    started, clock = now(), time.monotonic()
    inputs = input_hashes(spec, layout)
    identity = {"spec_hash": spec_hash(spec), "revisions": member["revisions"], "inputs": inputs}
    wanted = range(spec["shards"]) if member.get("shard") is None else [member["shard"]]
    for shard in wanted:
        _one_shard(name, spec, shard, identity, loader)
    paths = [layout.field_shard(name, shard) for shard in range(spec["shards"])]
    if not all(_is_there(path, {**identity, "shard": shard}) for shard, path in enumerate(paths)):
        return
    content = {
        "name": name,
        "spec": spec,
        **identity,
        "seed": spec["seed"],
        "shards": [path.name for path in paths],
        "content": [f"sha256:{file_hash(path)}" for path in paths],
        "diverged_inputs": diverged_inputs(spec, layout),
        "provenance": provenance(loader.device, time.monotonic() - clock, started),
    }
    write_json(layout.field_json(name), content)
    print(f"{name}: {len(paths)} shard(s), {time.monotonic() - clock:.1f} s", flush=True)


def _one_shard(name: str, spec: dict[str, Any], shard: int, identity: dict[str, Any], loader: Loader) -> None:
    path = loader.layout.field_shard(name, shard)
    metadata = {**identity, "shard": shard}
    # Snakemake deletes declared outputs before a job starts; the kept link survives that.
    folder, key = kept_folder(loader.layout, "fields", name, f"{shard:03d}"), spec_hash(metadata)
    if _is_there(path, metadata) or restore(folder, key, [path]):
        print(f"{name}: shard {shard} of {spec['shards']} kept from an earlier job", flush=True)
        return
    save_tensors(path, compute_shard(spec, shard, loader), metadata)
    keep(folder, key, [path])


def _is_there(path: Path, metadata: dict[str, Any]) -> bool:
    return path.is_file() and read_metadata(path) == metadata


def make_all(members: list[dict[str, Any]], layout: Layout, device: torch.device) -> list[str]:
    """Make the fields of one job, in order; returns one line per field that failed."""
    loader, failed = Loader(layout, device), []
    for member in members:
        try:
            make_field(member, loader)
        except UserError as error:
            failed.append(f"{member['name']}: {error}")
        except Exception as error:
            traceback.print_exc()
            failed.append(f"{member['name']}: {type(error).__name__}: {error}")
    return failed
