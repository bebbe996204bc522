"""ImageNet at 64x64, the official downsampled archives (Chrabaszcz, Loshchilov, Hutter 2017), 1000 classes.

The data set that Karras et al. (2022) and others fit their denoisers to. Srinivas et al. (2023) make theirs
from the full images in another way (resize to 256, centre crop 224, resize to 64), so pixels differ.

The archives come from image-net.org, which asks for an account: `Imagenet64_train_part1.zip`, `_part2.zip`
and `Imagenet64_val.zip`, or the same with `_npz`. Inside are `train_data_batch_1` to `_10` and `val_data`,
pickles or .npz files of `data` (N, 12288) uint8 and `labels` 1..1000. These numbers are not those of the
sorted class folders; `map_clsloc.txt` of the authors' scripts says which folder (wnid) a number stands for.
No code of a file is ever run (`_archive.py`).
"""

import io
from pathlib import Path
from zipfile import ZipInfo

import numpy as np
import torch

from pagrepro.data._archive import FOREIGN, damaged, read_zip_member, unpickle, zip_members
from pagrepro.dataset import Part
from pagrepro.errors import DataError
from pagrepro.options import Strict

REVISION = 1

SOURCES = ("train_1", "train_2", "val", "classes")

SIDE = 64
VALUES = 3 * SIDE * SIDE
BATCHES = {
    "train": (("train_1", "train_2"), tuple(f"train_data_batch_{i}" for i in range(1, 11))),
    "val": (("val",), ("val_data",)),
}


class Config(Strict):
    """No options: the images are used as they are."""


def build(config: Config, files: dict[str, Path], seed: int) -> dict[str, Part]:
    """Both official parts; x: (N, 3, 64, 64) uint8, y: (N,) int64, the position of the class's wnid among the
    sorted ones, 0..999; rows in the order of the batches.

    `seed` is not used. Needs 20 GB of memory for the training part. Raises DataError when an archive is
    damaged, a batch is missing or holds anything unexpected, and when labels are not numbers of the table of
    classes.
    """
    classes = read_classes(files["classes"])
    parts = {}
    for name, (roles, batches) in BATCHES.items():
        images, labels = [], []
        for path, member in _find([files[role] for role in roles], batches):
            for values, found in zip((images, labels), _batch(path, member)):
                values.append(found)
        y = np.concatenate(labels)
        if y.min() < 1 or y.max() >= len(classes):
            raise DataError(
                f"{files[roles[0]]}: labels {y.min()}..{y.max()},"
                f" {files['classes']} has 1..{len(classes) - 1}"
            )
        x = torch.from_numpy(_joined(images)).view(-1, 3, SIDE, SIDE)
        parts[name] = Part(x, torch.from_numpy(classes[y]))
    return parts


def read_classes(path: Path) -> np.ndarray:
    """Position among the sorted wnids, (1 + classes,) int64, by the number that the archives use (from 1).

    path: lines `<wnid> <number> <name>`. Raises DataError unless the numbers are 1, 2, ..., each of a wnid of
    its own.
    """
    with damaged(path):
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines or not all(len(line) >= 2 and line[1].isdigit() for line in lines):
        raise DataError(f"{path}: expected lines `<wnid> <number> <name>`")
    wnids = {int(line[1]): line[0] for line in lines}
    if sorted(wnids) != list(range(1, len(lines) + 1)) or len(set(wnids.values())) != len(lines):
        raise DataError(f"{path}: expected the numbers 1..{len(lines)}, each with a wnid of its own")
    position = {wnid: place for place, wnid in enumerate(sorted(wnids.values()))}
    return np.array([-1, *(position[wnids[number]] for number in sorted(wnids))], dtype=np.int64)


def _find(archives: list[Path], batches: tuple[str, ...]) -> list[tuple[Path, ZipInfo]]:
    """(archive, member) of every batch, in their order; a batch is a pickle or an .npz file."""
    there = {
        name.removesuffix(".npz"): (path, member)
        for path in archives
        for name, member in zip_members(path).items()
    }
    missing = [batch for batch in batches if batch not in there]
    if missing:
        raise DataError(f"{', '.join(map(str, archives))}: no member {', '.join(missing)}")
    return [there[batch] for batch in batches]


def _batch(path: Path, member: ZipInfo) -> tuple[np.ndarray, np.ndarray]:
    """data (N, 12288) uint8 and labels (N,) int64 of one batch."""
    where = f"{path}: {member.filename}"
    content = read_zip_member(path, member)
    found = _arrays(content, where) if member.filename.endswith(".npz") else unpickle(content, where)
    found = found if isinstance(found, dict) else {}
    data, labels = (found.get(key, found.get(key.encode())) for key in ("data", "labels"))
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (VALUES,):
        raise DataError(f"{where}: expected `data` (N, {VALUES}) of bytes")
    labels = np.array(labels)
    if labels.shape != (len(data),) or labels.dtype.kind not in "iu":
        raise DataError(f"{where}: expected `labels`, {len(data)} whole numbers")
    return data, labels.astype(np.int64)


def _arrays(content: bytes, where: str) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("data", "labels") if name in arrays}
    except (ValueError, *FOREIGN) as error:
        raise DataError(f"{where} cannot be read: {error}") from error


def _joined(batches: list[np.ndarray]) -> np.ndarray:
    """The batches as one array. The list is emptied on the way: of 16 GB, only one batch is there twice."""
    x = np.empty((sum(map(len, batches)), VALUES), np.uint8)
    start = 0
    while batches:
        batch = batches.pop(0)
        x[start : start + len(batch)] = batch
        start += len(batch)
    return x
