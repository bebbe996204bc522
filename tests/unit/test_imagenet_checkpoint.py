"""Public ImageNet weights: every layout that they come in gives the same network, and nothing is executed."""

import argparse
import collections
import hashlib
import re

import numpy as np
import pytest
import torch

from pagrepro import plugins
from pagrepro.convert import convert
from pagrepro.errors import DataError
from pagrepro.layout import Layout
from pagrepro.load import load_run
from pagrepro.models import swin
from pagrepro.sources import imagenet_checkpoint as adapter

CPU = torch.device("cpu")
SHAPE, CLASSES = (3, 8, 8), 5
SIZE = {"patch": 1, "window": 2, "embed_dim": 4, "depths": [2, 1, 1], "heads": [2, 1, 1]}
MODEL = {"name": "swin", "size": SIZE}
SMALL_RESNET = {"name": "imagenet_resnet50", "width": 2, "depths": [1, 2], "activation": "gelu"}
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def network(model=MODEL, seed=0):
    torch.manual_seed(seed)
    made = plugins.instantiate("models", plugins.resolve("models", model), SHAPE, CLASSES)
    for value in made.state_dict().values():
        if value.is_floating_point() and value.dim() == 1:
            value.uniform_(0.5, 1.5)
    return made.eval()


def timm_names(model):
    """Weights by timm's names of today."""
    return {key.removeprefix("network."): value for key, value in model.state_dict().items()}


def original_names(model):
    """Weights as in the original Swin repository and older versions of timm, with its stored tables."""
    found = {}
    for key, value in timm_names(model).items():
        key = re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key)
        found[key.replace("head.fc.", "head.")] = value
    for key, value in model.network.named_buffers():
        assert key.endswith(("attn_mask", "relative_position_index"))
        found[key] = value
    return found


def training_checkpoint(weights):
    """What timm's training writes: more than tensors, which a restricted loader refuses."""
    options = argparse.Namespace(lr=1e-3, model="swin_base_patch4_window7_224")
    other = {key: torch.zeros_like(value) for key, value in weights.items()}
    extras = {
        "epoch": 99,
        "arch": "swin",
        "args": options,
        "metric": np.float64(77.8),
        "optimizer": {"state": {}},
    }
    return {**extras, "state_dict": other, "state_dict_ema": collections.OrderedDict(weights)}


def prefixed(weights, prefix, **beside):
    return {f"{prefix}{key}": value for key, value in weights.items()} | beside


LAYOUTS = {
    "original": (lambda m: {"model": original_names(m)}, {}),
    "timm": (timm_names, {}),
    "training checkpoint": (lambda m: training_checkpoint(original_names(m)), {"entry": "state_dict_ema"}),
    "parallel": (lambda m: {"state_dict": prefixed(timm_names(m), "module.")}, {}),
    "sequential": (
        lambda m: prefixed(original_names(m), "1.", **{"0.mean": MEAN, "0.std": STD}),
        {},
    ),
    "normalised": (
        lambda m: prefixed(
            timm_names(m), "module.model.",
            **{"module.normalize.mean": MEAN.view(1, 3, 1, 1), "module.normalize.std": STD.view(1, 3, 1, 1)},
        ),
        {},
    ),
}  # fmt: skip


def save(content, folder, name="weights.pth"):
    path = folder / name
    torch.save(content, path)
    return path


def read(content, folder, network="swin", **options):
    return adapter.convert(adapter.Config(network=network, **options), save(content, folder))


def converted(content, folder, model=MODEL, **options):
    """The network of the run of task `external` that is made from a file with this content."""
    layout = Layout(folder / "results", folder / "resources")
    path = layout.source("s", "weights.pth")
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    options = {"name": "imagenet_checkpoint", "network": model["name"], **options}
    spec = {
        "task": plugins.resolve("tasks", {"name": "external", "adapter": options, "model": model}),
        "dataset": {"name": "d", "shape": list(SHAPE), "classes": CLASSES}, "seed": 0, "fit": None,
        "inputs": {"file": {"source": "s", "filename": "weights.pth", "hash": digest}},
    }  # fmt: skip
    convert(spec, "r", layout, {}, CPU)
    return load_run(layout, "r").model


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_logits(layout, tmp_path):
    content, options = LAYOUTS[layout]
    model, x = network(), torch.rand(3, *SHAPE)
    assert torch.equal(converted(content(model), tmp_path, **options)(x), model(x))


def test_names_agree_with_those_of_timm():
    """timm's own filter, for all weights of Swin-B; without their values, of which it needs none here."""
    from timm.models.swin_transformer import checkpoint_filter_fn

    with torch.device("meta"):
        model = swin.build(swin.Config(size="base"), (3, 224, 224), 1000)
    original = original_names(model)
    assert original.keys() != timm_names(model).keys()
    expected = checkpoint_filter_fn(dict(original), model.network)
    found = adapter._swin_names(original, None)
    assert {key.removeprefix("network."): v for key, v in found.items()} == expected
    assert found.keys() == model.state_dict().keys()


@pytest.mark.parametrize("counters", [True, False])
def test_resnet50_with_and_without_counters(counters, tmp_path):
    model, x = network(SMALL_RESNET), torch.rand(3, *SHAPE)
    state = model.state_dict()
    given = state if counters else {k: v for k, v in state.items() if "num_batches" not in k}
    assert read(given, tmp_path, "imagenet_resnet50").keys() == state.keys()
    assert torch.equal(converted(given, tmp_path, SMALL_RESNET)(x), model(x))


def test_weights_of_another_network_are_refused_by_name_and_shape(tmp_path):
    wider = network({"name": "swin", "size": {**SIZE, "embed_dim": 8}})
    with pytest.raises(
        DataError, match=r"(?s)does not fit.*layers\.0\.blocks\.0\.norm1\.weight.*\[8\].*\[4\]"
    ):
        converted(timm_names(wider), tmp_path / "wider")
    deeper = network({"name": "swin", "size": {**SIZE, "depths": [2, 2, 1]}})
    with pytest.raises(DataError, match=r"Unexpected key.*layers\.1\.blocks\.1\.norm1\.weight"):
        converted(original_names(deeper), tmp_path / "deeper")
    # Another window: tables of another size, which timm would resize.
    window = network({"name": "swin", "size": {**SIZE, "window": 4}})
    with pytest.raises(DataError, match=r"relative_position_bias_table.*\[49, 2\].*\[9, 2\]"):
        converted(timm_names(window), tmp_path / "window")


def test_files_of_other_content_are_refused(tmp_path):
    weights = timm_names(network())
    half = {key: value.half() for key, value in weights.items()}
    for content, message, options in (
        ({"a": torch.zeros(1)}, r"one key that ends with patch_embed\.proj\.weight, found 0 among a$", {}),
        (prefixed(weights, "a.") | prefixed(weights, "b."), r"found 2 among .* and \d+ more", {}),
        (prefixed(weights, "m.", extra=torch.zeros(1)), "keys beside the network under 'm.': extra$", {}),
        (
            prefixed(weights, "1.", **{"0.mean": MEAN + 0.01}),
            r"0\.mean is \[0\.49.*ImageNet's is \[0\.485",
            {},
        ),
        (prefixed(weights, "1.", **{"0.std": torch.ones(1)}), r"0\.std is \[1\.0\]", {}),
        (half, "is torch.float16, expected float32", {}),
        (
            weights | {"head.weight": weights["head.fc.weight"]},
            "two keys become 'network.head.fc.weight'",
            {},
        ),
        (
            training_checkpoint(weights),
            "under state_dict and state_dict_ema; name one of them by `entry`",
            {},
        ),
        ({"state_dict": weights}, "no 'state_dict_ema' among state_dict$", {"entry": "state_dict_ema"}),
        ({"state_dict": {"w": 3}}, "not a dictionary of tensors", {}),
        ([torch.zeros(1)], "found 0 among no keys", {}),
        (weights, r"one key that ends with layer1\.0\.conv1\.weight", {"network": "imagenet_resnet50"}),
    ):
        with pytest.raises(DataError, match=message):
            read(content, tmp_path, **options)
    with pytest.raises(DataError, match="no such file"):
        adapter.convert(adapter.Config(network="swin"), tmp_path / "absent.pth")


def test_nothing_in_a_file_is_executed(tmp_path):
    witness = tmp_path / "executed"

    class Malicious:
        def __reduce__(self):
            return open, (str(witness), "w")

    weights = timm_names(network())
    found = read({"state_dict": weights, "args": Malicious()}, tmp_path)
    assert found.keys() == {f"network.{key}" for key in weights}
    with pytest.raises(DataError, match="not a dictionary of tensors"):
        read({"state_dict": weights | {"more": Malicious()}}, tmp_path)
    assert not witness.exists()
