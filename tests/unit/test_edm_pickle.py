"""The reader of public EDM networks: the same outputs as the network written, and nothing is executed."""

import hashlib
import os
import pickle
import sys

import edm_files
import pytest
import torch
from torch import nn

from pagrepro import plugins
from pagrepro.convert import convert
from pagrepro.denoiser import build_denoiser
from pagrepro.denoiser_options import Adm, Ddpmpp
from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.load import load_run
from pagrepro.sources import edm_pickle as adapter

DDPMPP = {
    "name": "ddpmpp", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4], "augment_dim": 9,
}  # fmt: skip
ADM = {"name": "adm", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [4], "head": 4}
CASES = {"ddpmpp": (Ddpmpp(**DDPMPP), 0), "ddpmpp, labels": (Ddpmpp(**DDPMPP), 3), "adm": (Adm(**ADM), 3)}


def denoiser(options, classes, seed=0):
    """With weights that are nowhere zero, so that every part has an effect."""
    torch.manual_seed(seed)
    made = build_denoiser(options, (3, 8, 8), classes)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.1)
    return made.eval().requires_grad_(False)


def outputs(model):
    x = torch.randn((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    y = torch.tensor([2, 0]) if model.classes else None
    return model.denoise(x, torch.tensor([0.3, 1.1]), y)


@pytest.mark.parametrize("case", CASES)
def test_network_comes_out_as_it_went_in(tmp_path, case):
    written, loaded = denoiser(*CASES[case]), denoiser(*CASES[case], seed=1)
    weights = adapter.convert(adapter.Config(), edm_files.write(tmp_path / "file.pkl", written.network))
    assert weights.keys() == written.state_dict().keys()
    assert not torch.equal(outputs(loaded), outputs(written))
    loaded.load_state_dict(weights)
    assert torch.equal(outputs(loaded), outputs(written))


def test_the_source_code_in_the_file_is_what_an_ordinary_load_would_look_for(tmp_path):
    """Without the modules that it names, pickle cannot load the file; the reader can."""
    path = edm_files.write(tmp_path / "file.pkl", denoiser(*CASES["adm"]).network)
    assert edm_files.SOURCE.encode() in path.read_bytes()
    with pytest.raises(ModuleNotFoundError, match="torch_utils"):
        pickle.loads(path.read_bytes())
    assert isinstance(adapter.read_inert(path)["loss_fn"], adapter.Inert)
    assert "torch_utils" not in sys.modules


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_other_names_are_refused_and_nothing_is_executed(tmp_path):
    marker, network = tmp_path / "executed", nn.Linear(2, 2)
    path = edm_files.write(tmp_path / "file.pkl", network, augment_pipe=Command(marker))
    with pytest.raises(DataError, match=r"file\.pkl.*asks for (posix|nt)\.system"):
        adapter.convert(adapter.Config(), path)
    inside = edm_files.Persistent("Net", {"_modules": {"model": Command(marker)}})
    path = edm_files.write(tmp_path / "inside.pkl", network, ema=inside)
    with pytest.raises(DataError, match=r"inside\.pkl.*\.system"):
        adapter.convert(adapter.Config(), path)
    assert not marker.exists()
    # The test's file is malicious indeed: an ordinary load runs it.
    with edm_files.persistence(), pytest.raises(AssertionError, match="own loader was called"):
        pickle.loads(path.with_name("file.pkl").read_bytes())
    pickle.loads(pickle.dumps(Command(marker)))
    assert marker.exists()


@pytest.mark.parametrize(
    "name",
    [("builtins", "eval"), ("torch", "load"), ("torch._utils", "_rebuild_tensor_v2.__globals__"),
     ("pickle", "loads"), ("torch.serialization", "load"), ("numpy.core.multiarray", "_reconstruct"),
     ("torch_utils.persistence", "exec")],
)  # fmt: skip
def test_names_are_refused_one_by_one(tmp_path, name):
    path = tmp_path / "file.pkl"
    texts = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in name)
    path.write_bytes(b"\x80\x04" + texts + b"\x93.")  # STACK_GLOBAL
    with pytest.raises(DataError, match=f"asks for {name[0]}.{name[1]}"):
        adapter.read_inert(path)


def test_storages_are_read_by_the_restricted_loader(tmp_path):
    """A storage that is itself a malicious file of torch."""
    marker, path = tmp_path / "executed", tmp_path / "file.pkl"
    torch.save(Command(marker), tmp_path / "inner.pt", _use_new_zipfile_serialization=False)
    inner = (tmp_path / "inner.pt").read_bytes()
    stream = b"ctorch.storage\n_load_from_bytes\n(B" + len(inner).to_bytes(4, "little") + inner + b"tR."
    path.write_bytes(stream)
    with pytest.raises(DataError, match="system"):
        adapter.read_inert(path)
    assert not marker.exists()
    pickle.loads(stream)  # the test's file is malicious indeed
    assert marker.exists()


def test_attributes_set_by_a_file_do_not_last(tmp_path):
    path = tmp_path / "file.pkl"
    path.write_bytes(b"ctorch._utils\n_rebuild_tensor_v2\n}S'__defaults__'\nK\x01\x85sb.")
    before = torch._utils._rebuild_tensor_v2.__defaults__
    adapter.read_inert(path)
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before
    assert adapter._allowed()["torch._utils", "_rebuild_tensor_v2"].__defaults__ is None


def test_other_content_is_refused(tmp_path):
    convolution = denoiser(*CASES["adm"]).network
    down = next(m for m in convolution.modules() if hasattr(m, "resample_filter"))
    down.resample_filter = torch.tensor([[[[0.1, 0.4], [0.4, 0.1]]]])
    persistent = edm_files.Persistent
    cases = {
        "no network under 'ema'": {"ema": [1]},
        "ema is not a module": {"ema": persistent("Net", None)},
        "has no weights": {"ema": persistent("Net", {})},
        "is no dictionary by name": {"ema": persistent("Net", {"_buffers": [1]})},
        "w is int, not a tensor": {"ema": persistent("Net", {"_buffers": {"w": 1}})},
        "model. is not a module": {"ema": persistent("Net", {"_modules": {"model": 3}})},
        "w torch.float32: expected float32 and a name": {"ema": edm_files.tree(nn.Linear(2, 2))},
        "float64": {"ema": edm_files.tree(nn.ModuleDict({"model": nn.Linear(2, 2).double()}))},
        "only four times 0.25": {},
    }
    for message, content in cases.items():
        path = edm_files.write(tmp_path / "file.pkl", convolution, **content)
        expected = message.replace("w torch", "weight torch")
        with pytest.raises(DataError, match=expected):
            adapter.convert(adapter.Config(), path)


def test_a_module_that_holds_itself_is_refused(tmp_path):
    endless = nn.ModuleDict.__new__(nn.ModuleDict)
    endless.__dict__ = {"_modules": {"model": endless}}
    path = edm_files.write(tmp_path / "file.pkl", nn.Linear(2, 2), ema=endless)
    with pytest.raises(DataError, match="without end"):
        adapter.convert(adapter.Config(), path)


def test_unreadable_files_name_themselves(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        adapter.read_inert(tmp_path / "absent.pkl")
    page = tmp_path / "page.pkl"
    page.write_text("<html>quota exceeded</html>")
    with pytest.raises(DataError, match=r"page\.pkl.*cannot be read"):
        adapter.read_inert(page)
    whole = edm_files.write(tmp_path / "whole.pkl", nn.Linear(30, 30))
    page.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(DataError, match=r"page\.pkl.*cannot be read"):
        adapter.read_inert(page)


# --- as a run ----------------------------------------------------------------------------------------


def converted(layout, network, task):
    path = layout.source("s", "f.pkl")
    path.parent.mkdir(parents=True, exist_ok=True)
    edm_files.write(path, network)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    task = {"name": "external_denoiser", "adapter": {"name": "edm_pickle"}, **task}
    spec = {
        "task": plugins.resolve("tasks", task),
        "dataset": {"name": "d", "shape": [3, 8, 8], "classes": 3, "files": {}},
        "split": {}, "fit": None, "monitor": [], "seed": 0,
        "inputs": {"file": {"source": "s", "filename": "f.pkl", "hash": digest}},
    }  # fmt: skip
    return convert(spec, "e", layout, {}, torch.device("cpu"))


def test_a_converted_network_is_a_run(tmp_path):
    layout, written = Layout(tmp_path, tmp_path), denoiser(*CASES["ddpmpp, labels"])
    record = converted(layout, written.network, {"network": DDPMPP, "conditional": True})
    assert record["status"] == "complete"
    assert torch.equal(outputs(load_run(layout, "e").model), outputs(written))


def test_a_network_of_another_form_is_refused(tmp_path):
    layout, written = Layout(tmp_path, tmp_path), denoiser(*CASES["ddpmpp, labels"])
    with pytest.raises(DataError, match=r"(?s)does not fit the network.*ddpmpp.*map_label"):
        converted(layout, written.network, {"network": DDPMPP})
    with pytest.raises(DataError, match=r"(?s)does not fit the network.*size mismatch"):
        converted(layout, written.network, {"network": {**DDPMPP, "width": 12}, "conditional": True})
