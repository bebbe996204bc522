"""ImageNet weights: read from a file of the real layout, loaded by the classifier without the last layer."""

import collections
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.errors import DataError
from pagrepro.pretrained import load_pretrained
from pagrepro.request import LoadedRun
from pagrepro.sources import torchvision_resnet18 as adapter
from pagrepro.task import LoopState, TaskSetup

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
ADAPTER = {"name": "torchvision_resnet18"}
COUNTER = "num_batches_tracked"


@pytest.fixture(scope="module")
def weights():
    """State dict of torchvision's ResNet-18, no vector all zeros or ones."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    state = resnet18(weights=None).state_dict()
    for key, value in state.items():
        if value.is_floating_point() and value.dim() == 1:
            state[key] = 0.5 + torch.rand(value.shape)
    return state


@pytest.fixture(scope="module")
def file(weights, tmp_path_factory):
    return save(weights, tmp_path_factory.mktemp("weights"))


def save(content, folder, **options):
    path = folder / "resnet18-f37072fd.pth"
    torch.save(content, path, **options)
    return path


def convert(path):
    return adapter.convert(adapter.Config(), path)


def task(inputs, **changes):
    given = {
        "model": {"name": "resnet18", "bn": "frozen", "single_logit": True},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "adam", "lr": 1e-4},
        "adapter": ADAPTER,
    }
    options = plugins.resolve("tasks", {"name": "classifier", **given, **changes})
    torch.manual_seed(5)
    return plugins.instantiate("tasks", options, TaskSetup(SHAPE, 2, 0.0, 1.0, 0, 1, CPU, inputs))


# --- adapter ---------------------------------------------------------------------------------------------


def test_file_becomes_the_state_dict_of_our_network(weights, file):
    state = convert(file)
    assert state.keys() == {f"network.{key}" for key in weights}
    assert all(torch.equal(state[f"network.{key}"], value) for key, value in weights.items())
    network = plugins.instantiate("models", plugins.resolve("models", {"name": "resnet18"}), (3, 8, 8), 1000)
    network.load_state_dict(state)


def test_files_of_parameters_without_counters_are_read_too(weights, tmp_path):
    """The form that torchvision's files have had: parameters and buffers, no counters."""
    old = collections.OrderedDict(
        (key, nn.Parameter(value) if key.endswith(("weight", "bias")) else value)
        for key, value in weights.items()
        if not key.endswith(COUNTER)
    )
    for zip_form in (True, False):
        state = convert(save(old, tmp_path, _use_new_zipfile_serialization=zip_form))
        assert all(torch.equal(state[f"network.{key}"], value) for key, value in old.items())
        counters = [value for key, value in state.items() if key.endswith(COUNTER)]
        assert len(counters) == 20
        assert all(value == 0 and value.dtype == torch.int64 for value in counters)
        assert not any(value.requires_grad for value in state.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "layer3.1.bn2.weight"}, r"missing keys.*layer3\.1"),
        (lambda w: {**w, "layer5.weight": torch.zeros(1)}, r"unexpected keys.*layer5\.weight"),
        (lambda w: {**w, "conv1.weight": torch.zeros(64, 3, 3, 3)}, r"conv1\.weight .*\(64, 3, 7, 7\)"),
        (lambda w: {**w, "bn1.bias": w["bn1.bias"].double()}, r"bn1\.bias is torch\.float64"),
        (lambda w: [1, 2], "not a dictionary of tensors"),
        (lambda w: {**w, "epoch": 3}, "not a dictionary of tensors"),
    ],
    ids=["missing", "extra", "shape", "type", "no dictionary", "no tensors"],
)  # fmt: skip
def test_other_files_are_refused(weights, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        convert(save(change(weights), tmp_path))


def test_code_in_a_file_is_not_executed(weights, tmp_path):
    class Malicious:
        def __reduce__(self):
            return print, ("executed",)

    with pytest.raises(DataError, match="cannot be read"):
        convert(save({**weights, "x": Malicious()}, tmp_path))
    (tmp_path / "damaged.pth").write_bytes(b"not weights")
    with pytest.raises(DataError, match="cannot be read"):
        convert(tmp_path / "damaged.pth")
    with pytest.raises(DataError, match="no such file"):
        convert(tmp_path / "nothing.pth")


# --- classifier ------------------------------------------------------------------------------------------


def test_all_weights_but_the_last_layer_are_loaded(weights, file):
    loaded, fresh = task({"pretrained": file}).network, task({}, adapter=None).network
    for key, value in loaded.state_dict().items():
        if key.startswith("network.fc."):
            assert torch.equal(value, fresh.state_dict()[key])
            assert value.shape[0] == 1
        else:
            assert torch.equal(value, weights[key.removeprefix("network.")]), key


def test_training_goes_on_from_there_and_leaves_the_statistics(weights, file):
    made = task({"pretrained": file})
    x, y = torch.rand(4, *SHAPE), torch.tensor([0, 1, 1, 0])
    made.step(LoopState(0, 1, CPU), Batch(x, y, torch.arange(4)))
    after = made.network.state_dict()
    for key, value in weights.items():
        if key.startswith("fc."):
            continue
        moved = not torch.equal(after[f"network.{key}"], value)
        assert moved == key.endswith(("weight", "bias")), key


def test_file_and_adapter_come_together(file):
    with pytest.raises(DataError, match=r"inputs\.pretrained without the other"):
        task({"pretrained": file}, adapter=None)
    with pytest.raises(DataError, match=r"task\.adapter without the other"):
        task({})
    other = LoadedRun("other", task({}, adapter=None).network, {})
    with pytest.raises(DataError, match="one of them"):
        task({"pretrained": file, "initial": other})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "cifar_resnet18", "width": 2}, "does not say which layer is new"),
        (
            {"name": "resnet18", "bn": "removed"},
            r"does not fit the network: missing keys \[\], unexpected.*bn1",
        ),
    ],
)
def test_networks_of_another_form_are_refused(file, model, message):
    with pytest.raises(DataError, match=message):
        task({"pretrained": file}, model=model)


def test_keys_and_shapes_have_to_match_exactly(weights):
    network = task({}, adapter=None).network
    given = {f"network.{key}": value for key, value in weights.items()}
    less = {key: value for key, value in given.items() if key != "network.conv1.weight"}
    with pytest.raises(DataError, match=r"missing keys \['network\.conv1\.weight'\]"):
        load_pretrained(network, less, Path("w.pth"))
    other = {**given, "network.conv1.weight": torch.zeros(64, 1, 7, 7)}
    with pytest.raises(DataError, match=r"w\.pth: network\.conv1\.weight is \(64, 1, 7, 7\)"):
        load_pretrained(network, other, Path("w.pth"))


def test_declared_source_is_the_file_that_its_name_says():
    path = Path(__file__).parents[2] / "config" / "datasets.yaml"
    entry = yaml.safe_load(path.read_text())["sources"]["resnet18_imagenet"]
    digest = entry["hash"].removeprefix("sha256:")
    assert len(digest) == 64
    assert entry["filename"] == f"resnet18-{digest[:8]}.pth"
    assert entry["urls"] == [f"https://download.pytorch.org/models/{entry['filename']}"]
