"""From a declared data set to tensors in memory.

A data set with files from outside is converted once into one safetensors file (`prepare`), which every job
then reads (`load_dataset`); one without (drawn, or installed with a library) is made in memory by each job.
Both ways end in the same check against the declaration.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pagrepro import plugins, splits
from pagrepro.dataset import Dataset, Part
from pagrepro.download import check_hash
from pagrepro.errors import DataError
from pagrepro.image_files import ImageFiles
from pagrepro.layout import Layout

REVISION = 1


def needs_files(spec: dict[str, Any]) -> bool:
    """Whether the data set is made from files from outside (and so has a prepared file)."""
    return bool(plugins.constant("data", spec["data"]["name"], "SOURCES", ()))


def prepare(spec: dict[str, Any], files: dict[str, Path], target: Path) -> None:
    """Convert the files of a data set (role -> path) into one safetensors file, written atomically.

    Tensors are named `<part>.x` (N, *shape) uint8, `<part>.y` (N,) int64 and, where there are masks,
    `<part>.mask` (N, *shape) uint8; the header holds the declaration, the files' hashes and the plugin's
    revisions as JSON. Raises DataError for a missing or changed file and for data that do not match the
    declaration.
    """
    _check_roles(spec, files)
    for role, path in files.items():
        declared = spec["files"][role]
        if not path.exists():
            raise DataError(_missing(spec["name"], role, path, declared))
        if declared.get("hash"):
            check_hash(path, declared["hash"], declared.get("in_place", False))
    parts = _build(spec, files)
    _check(spec, parts)
    tensors = {}
    for name, part in parts.items():
        tensors[f"{name}.y"] = part.y.contiguous()
        if isinstance(part.x, ImageFiles):
            tensors[f"{name}.files"] = part.x.stored()
        else:
            tensors[f"{name}.x"] = part.x.contiguous()
        if part.mask is not None:
            tensors[f"{name}.mask"] = part.mask.contiguous()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        save_file(tensors, temporary, metadata={"dataset": json.dumps(_identity(spec), sort_keys=True)})
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def load_dataset(spec: dict[str, Any], layout: Layout) -> Dataset:
    """The data set of a resolved spec's `dataset` entry, all parts in memory.

    A data set without files is made on the spot, from `spec["seed"]` (0 where that is null: data that are
    the same for all runs). Raises DataError when the prepared file is missing, was made from another
    declaration, or does not have the declared shape, classes and sizes.
    """
    if needs_files(spec):
        parts = _read(spec, layout.dataset(spec["name"]))
    else:
        parts = _build(spec, {})
    _check(spec, parts)
    return Dataset(spec["name"], parts, spec["classes"], tuple(spec["shape"]), spec["low"], spec["high"])


def load_split(
    dataset: Dataset, spec: dict[str, Any], root: Path = Path("."), decode: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The examples of one split: x (N, *shape) as stored, y (N,) int64, index (N,) int64 rows of the part.

    spec: `{part, indices, without, sha256}`; `indices`: path, relative to `root`, of the file with the rows
    in their order; `without`: of the one with the rows to leave out; neither: all rows. Images that stay in
    their files are decoded, unless `decode` is false: then x is an `ImageFiles`.
    """
    x, y, index = _rows(dataset, spec, root)
    return (x.decoded() if decode and isinstance(x, ImageFiles) else x), y, index


def _rows(dataset: Dataset, spec: dict[str, Any], root: Path) -> tuple[Tensor | ImageFiles, Tensor, Tensor]:
    if spec["part"] not in dataset.parts:
        raise DataError(
            f"data set {dataset.name} has no part {spec['part']!r}; it has {', '.join(dataset.parts)}"
        )
    part = dataset.parts[spec["part"]]
    path = spec.get("indices") or spec.get("without")
    if path is None:
        return part.x, part.y, torch.arange(len(part.y))
    index = torch.tensor(splits.read_indices(root / path, len(part.y), spec.get("sha256")))
    if spec.get("without"):
        keep = torch.ones(len(part.y), dtype=torch.bool)
        keep[index] = False
        index = keep.nonzero().flatten()
        if len(index) == 0:
            raise DataError(f"index file {root / path} lists every row of part {spec['part']}: none is left")
    return part.x[index], part.y[index], index


def load_mask(dataset: Dataset, spec: dict[str, Any], index: Tensor) -> Tensor | None:
    """Where the signal is in the examples of a split, (N, *shape) bool, or None for data without masks.

    spec, index: the split as `load_split` takes it, and the rows that it returned.
    """
    mask = dataset.parts[spec["part"]].mask
    return None if mask is None else mask[index].bool()


def _check_roles(spec: dict[str, Any], files: dict[str, Path]) -> None:
    """The plugin's SOURCES name its roles; "?" marks those that may be left out."""
    wanted = plugins.constant("data", spec["data"]["name"], "SOURCES", ())
    missing = [role for role in wanted if not role.endswith("?") and role not in files]
    unknown = files.keys() - {role.removesuffix("?") for role in wanted}
    if missing or unknown:
        raise DataError(
            f"datasets.{spec['name']}.sources in config/datasets.yaml must name {', '.join(wanted)}\n"
            f"  missing: {missing}, unknown: {sorted(unknown)}"
        )


def _build(spec: dict[str, Any], files: dict[str, Path]) -> dict[str, Part]:
    return plugins.instantiate("data", spec["data"], files, spec.get("seed") or 0)


def _identity(spec: dict[str, Any]) -> dict[str, Any]:
    """What a prepared file is a function of."""
    hashes = {role: file.get("hash") for role, file in (spec.get("files") or {}).items()}
    revisions = plugins.revisions(f"data.{spec['data']['name']}", "load_data")
    return {"data": spec["data"], "files": hashes, "revisions": revisions}


def _read(spec: dict[str, Any], path: Path) -> dict[str, Part]:
    if not path.is_file():
        files = "\n".join(_missing(spec["name"], role, None, file) for role, file in spec["files"].items())
        raise DataError(f"{path} does not exist: prepare_data.py makes it from\n{files}")
    with safe_open(path, framework="pt") as file:
        found = json.loads((file.metadata() or {}).get("dataset", "null"))
        if found != _identity(spec):
            raise DataError(
                f"{path} was made from another declaration; delete it and run prepare_data.py again\n"
                f"  expected: {_identity(spec)}\n  found:    {found}"
            )
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is not a dict)
    names = sorted({key.rpartition(".")[0] for key in tensors})
    return {n: Part(_images(tensors, n), tensors[f"{n}.y"], tensors.get(f"{n}.mask")) for n in names}


def _images(tensors: dict[str, Tensor], part: str) -> Tensor | ImageFiles:
    files = tensors.get(f"{part}.files")
    return tensors[f"{part}.x"] if files is None else ImageFiles.restored(files)


def _missing(dataset: str, role: str, path: Path | None, declared: dict[str, Any]) -> str:
    where = path or f"resources/sources/{declared['source']}/{declared['filename']}"
    return (
        f"data set {dataset}, role {role}: source {declared['source']} ({declared.get('hash')})\n"
        f"  belongs at {where}; download.py puts it there from a mirror, or from offline_dir if it is there"
    )


def _check(spec: dict[str, Any], parts: dict[str, Part]) -> None:
    """Compare with the declaration in config/datasets.yaml; DataError names every difference."""
    sizes = spec.get("parts") or {}
    problems = [f"part {name}: missing" for name in sizes if name not in parts]
    for name, part in parts.items():
        facts = [("shape", list(spec["shape"]), list(part.x.shape[1:]))]
        if sizes:
            facts.append(("examples", sizes.get(name), len(part.y)))
        problems += [f"part {name}: {k}: declared {a}, found {b}" for k, a, b in facts if a != b]
        low, high = (int(part.y.min()), int(part.y.max())) if len(part.y) else (0, -1)
        if low < 0 or high >= spec["classes"]:
            problems.append(f"part {name}: labels {low}..{high}, declared {spec['classes']} classes")
        if spec["low"] is not None and part.x.is_floating_point():
            lowest, highest = float(part.x.min()), float(part.x.max())
            if lowest < spec["low"] or highest > spec["high"]:
                problems.append(
                    f"part {name}: values {lowest}..{highest}, declared {spec['low']}..{spec['high']}"
                )
    if problems:
        raise DataError(f"data set {spec['name']} is not as declared\n  " + "\n  ".join(problems))
