"""The adapter of public checkpoints: the right tensors come out, and nothing in the file is executed."""

import collections
import hashlib
import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from pagrepro import plugins
from pagrepro.convert import convert
from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.load import load_run
from pagrepro.models import resnet50
from pagrepro.sources import _inert
from pagrepro.sources import robustness_checkpoint as adapter

WITNESS = []  # what a malicious pickle appends to, if it can


def touch(*arguments):
    WITNESS.append(arguments)
    return dict


class Malicious:
    def __reduce__(self):
        return touch, ("executed",)


class Stateful:
    """Pickled by class, state and arguments: what dill does with modules, loggers and functions."""

    def __init__(self):
        self.inner = {"a": [1, Malicious()]}


@pytest.fixture(scope="module")
def weights():
    """State dict of the network, with batch-norm vectors that are not all zeros or ones."""
    generator = torch.Generator().manual_seed(0)
    state = resnet50.build(resnet50.Config(), (3, 32, 32), 10).state_dict()
    for key, value in state.items():
        if value.is_floating_point() and value.dim() < 2:
            state[key] = torch.rand(value.shape, generator=generator)
    return state


def checkpoint(weights, copy=True, **changes):
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    inside = collections.OrderedDict()
    for key, value in weights.items():
        inside[f"module.model.{key}"] = value
    if copy:
        for key, value in weights.items():
            inside[f"module.attacker.model.{key}"] = value
    inside["module.normalizer.new_mean"] = mean.view(3, 1, 1)
    inside["module.normalizer.new_std"] = std.view(3, 1, 1)
    inside["module.attacker.normalize.new_mean"] = mean.view(3, 1, 1)
    inside["module.attacker.normalize.new_std"] = std.view(3, 1, 1)
    inside.update(changes)
    return {"model": inside, "epoch": 150, "schedule": Stateful(), "optimizer": {"state": Malicious()}}


def save(content, path, zip_form=True):
    torch.save(content, path, _use_new_zipfile_serialization=zip_form)
    return path


@pytest.mark.parametrize("zip_form", [True, False], ids=["zip", "legacy"])
def test_classifier_comes_out_and_nothing_is_executed(weights, tmp_path, zip_form):
    path = save(checkpoint(weights), tmp_path / "file.pt", zip_form)
    WITNESS.clear()
    state = adapter.convert(adapter.Config(), path)
    assert WITNESS == []
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[k], weights[k]) for k in weights)
    model = resnet50.build(resnet50.Config(), (3, 32, 32), 10)
    model.load_state_dict(state)
    # The test's file is malicious indeed: an ordinary load runs it.
    torch.load(path, weights_only=False)
    assert WITNESS


def test_older_key_and_missing_copy(weights, tmp_path):
    content = checkpoint(weights, copy=False)
    content["state_dict"] = content.pop("model")
    state = adapter.convert(adapter.Config(), save(content, tmp_path / "file.pt"))
    assert state.keys() == weights.keys()


def test_a_file_of_torch_1_1_is_read(tmp_path):
    """Legacy framing written by hand: magic number, protocol, system, pickle, storage keys, raw storages."""
    values = torch.arange(6, dtype=torch.float32)

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            if isinstance(thing, torch.storage.TypedStorage):
                return ("storage", torch.FloatStorage, "7", "cuda:0", 6, None)
            return None

    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, file, protocol=2)
    Pickler(file, protocol=2).dump({"model": {"w": values}, "junk": Stateful()})
    pickle.dump(["7"], file, protocol=2)
    file.write(struct.pack("<q", 6) + values.numpy().tobytes())
    path = tmp_path / "old.pt"
    path.write_bytes(file.getvalue())
    WITNESS.clear()
    content = _inert.read_inert(path)
    assert torch.equal(content["model"]["w"], values)
    assert isinstance(content["junk"], _inert.Inert)
    assert WITNESS == []


def test_known_ways_out_of_an_unpickler_lead_nowhere(tmp_path):
    """Calls by every opcode that calls, and attributes set on what the allowed names give."""
    marker = tmp_path / "executed"
    command = f"open({str(marker)!r}, 'w')"
    streams = [
        b"cbuiltins\neval\n(S" + repr(command).encode() + b"\ntR.",  # REDUCE
        b"(S" + repr(command).encode() + b"\nibuiltins\neval\n.",  # INST
        b"(cbuiltins\neval\nS" + repr(command).encode() + b"\no.",  # OBJ
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93(S" + repr(command).encode() + b"\ntR.",  # STACK_GLOBAL
        b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.",
        b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    ]
    for stream in streams:
        found = _inert._Unpickler(io.BytesIO(stream)).load()
        assert isinstance(found, _inert.Inert) or found is _inert.Inert
    poisoned = b"ctorch._utils\n_rebuild_tensor_v2\n}S'__defaults__'\nK\x01\x85sb."
    _inert._Unpickler(io.BytesIO(poisoned)).load()
    assert torch._utils._rebuild_tensor_v2.__defaults__ != (1,)
    assert not marker.exists()


def changed(weights, **changes):
    return {**weights, **changes}


def without(weights, key):
    return {k: v for k, v in weights.items() if k != key}


def light(weights):
    """The same names and shapes in a small file: every filter is one number, of stride zero."""
    return {k: v.flatten()[0].clone().expand(v.shape) if v.dim() == 4 else v for k, v in weights.items()}


def test_other_networks_and_damage_are_refused(weights, tmp_path):
    weights = light(weights)
    linear = weights["linear.weight"]
    normaliser = "module.normalizer.new_mean"
    cases = {
        "missing keys.*linear.bias": checkpoint(without(weights, "linear.bias")),
        "unexpected keys.*extra": checkpoint(changed(weights, extra=torch.zeros(1))),
        r"linear.weight is .*\(5, 2048\)": checkpoint(changed(weights, **{"linear.weight": linear[:5]})),
        "float64": checkpoint(changed(weights, **{"linear.weight": linear.double()})),
        "copy of the classifier differs": checkpoint(
            weights, **{"module.attacker.model.linear.weight": linear + 1}
        ),
        "new_mean is": checkpoint(weights, **{normaliser: torch.full((3, 1, 1), 0.5)}),
        "1 unknown keys.*module.other": checkpoint(weights, **{"module.other": torch.zeros(1)}),
        "Inert, not a tensor": checkpoint(weights, **{"module.model.linear.bias": Malicious()}),
        "no dictionary of weights": {"model": Malicious()},
    }
    WITNESS.clear()
    for number, (message, content) in enumerate(cases.items()):
        with pytest.raises(DataError, match=message):
            adapter.convert(adapter.Config(), save(content, tmp_path / f"{number}.pt"))
        (tmp_path / f"{number}.pt").unlink()
    assert WITNESS == []


def test_unreadable_files_name_themselves(tmp_path):
    page = tmp_path / "page.pt"
    page.write_text("<html>quota exceeded</html>")
    with pytest.raises(DataError, match=r"page\.pt.*cannot be read"):
        _inert.read_inert(page)
    with pytest.raises(DataError, match="no such file"):
        _inert.read_inert(Path(tmp_path / "absent.pt"))
    torch.save({"model": {"w": torch.zeros(1000)}}, tmp_path / "whole.pt")
    cut = tmp_path / "cut.pt"
    cut.write_bytes((tmp_path / "whole.pt").read_bytes()[:2000])
    with pytest.raises(DataError, match=r"cut\.pt.*cannot be read"):
        _inert.read_inert(cut)
    script = tmp_path / "script.pt"
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("script/constants.pkl", b"")  # what tells TorchScript from a checkpoint
    with pytest.raises(DataError, match="TorchScript"):
        _inert.read_inert(script)


# --- ImageNet ResNet-18 ----------------------------------------------------------------------------------

IMAGENET = adapter.Config(network="imagenet_resnet18")


@pytest.fixture(scope="module")
def original():
    """torchvision's network, no vector of batch normalisation all zeros or ones."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18(weights=None).eval()
    for key, value in network.state_dict().items():
        if "bn" in key and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return network


def imagenet_checkpoint(weights, **changes):
    """As `checkpoint`, with ImageNet's normalisation; the copy shares its storage, as in a live module."""
    content = checkpoint(weights)
    for key in content["model"]:
        if key.endswith(("new_mean", "new_std")):
            values = [0.485, 0.456, 0.406] if key.endswith("new_mean") else [0.229, 0.224, 0.225]
            content["model"][key] = torch.tensor(values).view(3, 1, 1)
    content["model"].update(changes)
    return content


def test_converted_imagenet_run_has_the_logits_of_the_original(original, tmp_path):
    """By task `external`, from a file in the layout of the public ones: images in [0, 1] go in."""
    layout = Layout(tmp_path / "results", tmp_path / "resources")
    path = layout.source("s", "resnet18_l2_eps3.ckpt")
    path.parent.mkdir(parents=True)
    WITNESS.clear()
    save(imagenet_checkpoint(original.state_dict()), path)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    task = {
        "name": "external", "model": {"name": "resnet18"},
        "adapter": {"name": "robustness_checkpoint", "network": "imagenet_resnet18"},
    }  # fmt: skip
    spec = {
        "task": plugins.resolve("tasks", task), "seed": 0, "fit": None,
        "dataset": {"name": "imagenet", "shape": [3, 224, 224], "classes": 1000},
        "inputs": {"file": {"source": "s", "filename": path.name, "hash": digest}},
    }  # fmt: skip
    convert(spec, "r", layout, {}, torch.device("cpu"))
    assert WITNESS == []
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    found = load_run(layout, "r").model(x)
    torch.testing.assert_close(found, original((x - mean) / std).detach())
    assert found.shape == (2, 1000)


def test_imagenet_weights_of_another_form_are_refused(original, tmp_path):
    std = torch.full((3, 1, 1), 0.25)
    content = imagenet_checkpoint(light(original.state_dict()), **{"module.normalizer.new_std": std})
    path = save(content, tmp_path / "file.pt")
    with pytest.raises(DataError, match=r"new_std is \[0.25, 0.25, 0.25\], the network's is \[0.229"):
        adapter.convert(IMAGENET, path)
    with pytest.raises(DataError, match=r"not this ResNet-50; missing keys.*unexpected keys \['fc\."):
        adapter.convert(adapter.Config(), path)


def test_public_imagenet_models_are_declared():
    """Ten sources, each named as its file; none is used before somebody writes a hash."""
    sources = yaml.safe_load((Path(__file__).parents[2] / "config" / "datasets.yaml").read_text())["sources"]
    budgets = ("0", "0.01", "0.03", "0.05", "0.1", "0.25", "0.5", "1", "3", "5")
    found = {key for key in sources if key.startswith("imagenet_resnet18_l2_eps")}
    assert found == {f"imagenet_resnet18_l2_eps{eps}" for eps in budgets}
    for key in found:
        entry = sources[key]
        assert entry["filename"] == f"{key.removeprefix('imagenet_')}.ckpt"
        assert entry["urls"][0].endswith(f"/robust-imagenet-models/resolve/main/{entry['filename']}")
