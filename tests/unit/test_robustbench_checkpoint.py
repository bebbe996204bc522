"""Published state dicts of any naming: renamed as told, compared by name, and no code in them is executed."""

import collections
import hashlib

import pytest
import torch
from torch import nn

from pagrepro import plugins
from pagrepro.convert import convert
from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.load import load_run
from pagrepro.problems import OptionError
from pagrepro.sources import robustbench_checkpoint as adapter

CPU = torch.device("cpu")
MODEL = {"name": "cifar_resnet18", "width": 2}
SHAPE, CLASSES = (3, 8, 8), 10
NAMES = {"prefixes": ["module.", "model."], "ignored": ["mu"], "renamed": [["fc.", "linear."]]}


def network():
    torch.manual_seed(0)
    model = plugins.instantiate("models", plugins.resolve("models", MODEL), SHAPE, CLASSES)
    for value in model.state_dict().values():
        if value.is_floating_point() and value.dim() == 1:
            value.uniform_(0.5, 1.5)
    return model.eval()


def published(state):
    """Other names, a wrapper's prefix, and a normalisation that is stored with the weights."""
    named = {f"module.model.{key.replace('linear.', 'fc.')}": value for key, value in state.items()}
    return collections.OrderedDict(named | {"module.mu": torch.zeros(3)})


def save(content, folder, **options):
    path = folder / "weights.pt"
    torch.save(content, path, **options)
    return path


def read(content, folder, **options):
    return adapter.convert(adapter.Config(**options), save(content, folder))


@pytest.mark.parametrize("under", ["state_dict", "model", None])
@pytest.mark.parametrize("zip_form", [True, False], ids=["zip", "legacy"])
def test_weights_get_the_names_of_the_network(tmp_path, under, zip_form):
    wanted = network().state_dict()
    content = published(wanted)
    content = content if under is None else {under: content, "epoch": 3, "best": {"acc": 0.5}}
    path = save(content, tmp_path, _use_new_zipfile_serialization=zip_form)
    found = adapter.convert(adapter.Config(**NAMES), path)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_parameters_come_out_as_plain_tensors(tmp_path):
    found = read({"w": nn.Parameter(torch.ones(2))}, tmp_path)
    assert type(found["w"]) is torch.Tensor
    assert not found["w"].requires_grad


def test_options_are_applied_in_their_order(tmp_path):
    content = {"a.b.x": torch.tensor(0), "b.y": torch.tensor(1), "z": torch.tensor(2), "a.n": torch.tensor(3)}
    found = read(content, tmp_path, prefixes=["a.", "b."], ignored=["n"],
                 renamed=[["x", "first"], ["", "net."]])  # fmt: skip
    assert found == {"first": 0, "net.y": 1, "net.z": 2}
    assert read({"ema": content, "model": content}, tmp_path, entry="ema").keys() == content.keys()


def test_options_that_fit_nothing_and_names_that_collide_are_errors(tmp_path):
    content = {"a.x": torch.zeros(1), "x": torch.ones(1), "y": torch.ones(1)}
    for options, message in (
        (
            {"prefixes": ["module."]},
            r"prefixes: no key left that begins with 'module\.'.*begin like a\.x, x, y",
        ),
        ({"prefixes": ["a."]}, "prefixes: two keys become 'x'"),
        ({"renamed": [["y", "x"]]}, "renamed: two keys become 'x'"),
        ({"renamed": [["q", "x"]]}, "renamed: no key left that begins with 'q'"),
        ({"renamed": [["", "n."], ["y", "x"]]}, "renamed: no key left that begins with 'y'"),
        ({"ignored": ["mu"]}, "ignored: no key 'mu'"),
        ({"entry": "ema"}, "entry: no 'ema' in the file"),
    ):
        with pytest.raises(DataError, match=message):
            read(content, tmp_path, **options)
    with pytest.raises(DataError, match="under state_dict and model; name one"):
        read({"state_dict": content, "model": content}, tmp_path)
    with pytest.raises(OptionError, match="renamed"):
        plugins.resolve("sources", {"name": "robustbench_checkpoint", "renamed": [["x"]]})


def test_other_files_are_refused_and_nothing_in_them_is_executed(tmp_path):
    witness = tmp_path / "executed"

    class Malicious:
        def __reduce__(self):
            return open, (str(witness), "w")

    for content, message in (
        ({"state_dict": {"w": Malicious()}}, "cannot be read as a file of weights"),
        ({"state_dict": {"w": 3}}, "not a dictionary of tensors"),
        ({"state_dict": {1: torch.zeros(1)}}, "not a dictionary of tensors"),
        ([torch.zeros(1)], "not a dictionary of tensors"),
    ):
        with pytest.raises(DataError, match=message):
            read(content, tmp_path)
    assert not witness.exists()
    with pytest.raises(DataError, match="no such file"):
        adapter.convert(adapter.Config(), tmp_path / "absent.pt")


# --- as a run --------------------------------------------------------------------------------------------


def converted(content, folder, **names):
    """The run of task `external` that is made from a file with this content."""
    layout = Layout(folder / "results", folder / "resources")
    path = layout.source("s", "weights.pt")
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    task = {"name": "external", "adapter": {"name": "robustbench_checkpoint", **names}, "model": MODEL}
    spec = {
        "task": plugins.resolve("tasks", task),
        "dataset": {"name": "d", "shape": list(SHAPE), "classes": CLASSES}, "seed": 0, "fit": None,
        "inputs": {"file": {"source": "s", "filename": "weights.pt", "hash": digest}},
    }  # fmt: skip
    convert(spec, "r", layout, {}, CPU)
    return load_run(layout, "r").model


def test_converted_run_has_the_logits_of_the_published_network(tmp_path):
    model = network()
    x = torch.rand(3, *SHAPE)
    run = converted({"state_dict": published(model.state_dict())}, tmp_path, **NAMES)
    assert torch.equal(run(x), model(x))


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    state = published(network().state_dict())
    del state["module.model.conv1.weight"]
    state["module.model.fc.bias"] = torch.zeros(7)
    with pytest.raises(DataError, match=r"(?s)conv1\.weight.*linear\.bias.*\[7\]"):
        converted({"state_dict": state}, tmp_path, **NAMES)
