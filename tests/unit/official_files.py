"""Small files in the official layouts of the data sets, and declarations as expansion makes them."""

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import yaml

from pagrepro import plugins

REPOSITORY = Path(__file__).parents[2]
DECLARED = yaml.safe_load((REPOSITORY / "config" / "datasets.yaml").read_text())
RNG = np.random.default_rng(0)


def declared(name, files=None, seed=None):
    """The `dataset` entry of a resolved spec, as expansion makes it from config/datasets.yaml."""
    entry = DECLARED["datasets"][name]
    keys = ("classes", "shape", "low", "high", "parts")
    data = plugins.resolve("data", entry["data"])
    return {"name": name, "data": data, "seed": seed, "files": files or {}, **{k: entry[k] for k in keys}}


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def idx(values):
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(header + values.astype(np.uint8).tobytes())


def mnist_folder(tmp_path):
    files = {}
    for part, n in (("train", 7), ("test", 3)):
        for kind, values in (("images", RNG.integers(0, 256, (n, 28, 28))), ("labels", np.arange(n) % 10)):
            files[f"{part}_{kind}"] = tmp_path / f"{part}-{kind}.gz"
            files[f"{part}_{kind}"].write_bytes(idx(values))
    return files


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its `str`, as in the official batches."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value):
        content = value if isinstance(value, bytes) else value.encode("latin1")
        self.write(b"T" + struct.pack("<I", len(content)) + content)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_string


def python2_pickle(value, numpy_module=b"numpy.core.multiarray"):
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    module = np.empty(0).__reduce__()[0].__module__.encode()
    return file.getvalue().replace(b"c" + module + b"\n", b"c" + numpy_module + b"\n")


def cifar_archive(path, change=lambda name, batch: batch, leave_out=()):
    batches = {}
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "cifar-10-batches-py/readme.html", b"hello")
        for i, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
            data = RNG.integers(0, 256, (4, 3072)).astype(np.uint8)
            labels = [(i + j) % 10 for j in range(4)]
            batch = {"batch_label": f"batch {i}", "labels": labels, "data": data, "filenames": ["a.png"] * 4}
            batches[name] = batch
            content = change(name, batch)
            if name not in leave_out:
                content = content if isinstance(content, bytes) else python2_pickle(content)
                add(archive, f"cifar-10-batches-py/{name}", content)
    return batches


def stl_archive(path, images, labels):
    """images: (N, 3, row, column), written column by column as in the official files."""
    with tarfile.open(path, "w:gz") as archive:
        for part in ("test", "train"):
            add(
                archive, f"stl10_binary/{part}_X.bin", images.transpose(0, 1, 3, 2).astype(np.uint8).tobytes()
            )
            add(archive, f"stl10_binary/{part}_y.bin", np.array(labels, np.uint8).tobytes())
        add(archive, "stl10_binary/unlabeled_X.bin", b"\0" * 100)
