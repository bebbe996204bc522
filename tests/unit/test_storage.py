"""Files are whole or not there, and come back as they were."""

import errno
import os

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from pagrepro import storage
from pagrepro.errors import StateError
from pagrepro.optimizer_options import Adam, AdamW, Sgd
from pagrepro.optimizers import build_optimizer

NUMBERS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
TREES = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.integers(), st.text(max_size=3)), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_trees_come_back_with_their_types(tree):
    tensors, skeleton = storage.flatten({"tree": tree, "tensor": torch.arange(3)})
    text = storage.json.dumps(skeleton)
    back = storage.unflatten(tensors, storage.json.loads(text))
    assert repr(back["tree"]) == repr(tree)
    assert torch.equal(back["tensor"], torch.arange(3))


def test_optimizer_states_come_back(tmp_path):
    for options in (Sgd(name="sgd", lr=0.1, momentum=0.9), Adam(name="adam", lr=0.1)):
        weight = torch.nn.Parameter(torch.randn(3))
        optimizer = build_optimizer(options, [weight])
        weight.grad = torch.randn(3)
        optimizer.step()
        tensors, skeleton = storage.flatten(optimizer.state_dict())
        storage.save_tensors(tmp_path / "o.safetensors", tensors, skeleton)
        loaded = storage.load_tensors(tmp_path / "o.safetensors")
        back = storage.unflatten(loaded, storage.read_metadata(tmp_path / "o.safetensors"))
        assert repr(back) == repr(optimizer.state_dict())


def test_objects_are_refused():
    with pytest.raises(TypeError, match="without pickle"):
        storage.flatten({"a": object()})


def test_tensors_of_every_kind_and_shared_memory(tmp_path):
    base = torch.arange(6.0)
    tensors = {
        "shared": base, "view": base[2:4], "transposed": torch.arange(6).view(2, 3).T,
        "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "half": torch.ones(2, dtype=torch.bfloat16),
        "flag": torch.tensor([True]),
        "image": torch.randn(1, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    }  # fmt: skip
    path = tmp_path / "t.safetensors"
    storage.save_tensors(path, tensors, {"a": 1})
    back = storage.load_tensors(path)
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
    assert storage.read_metadata(path) == {"a": 1}
    assert storage.tensor_bytes(tensors, {"a": 1}) == path.read_bytes()


def test_checksum_sees_every_change():
    base = {"a": torch.tensor([1.0, 2.0]), "e": torch.zeros(0)}
    changes = [
        {"a": torch.tensor([1.0, 2.0]), "f": torch.zeros(0)},
        {"a": torch.tensor([1.0, -2.0]), "e": torch.zeros(0)},
        {"a": torch.tensor([[1.0, 2.0]]), "e": torch.zeros(0)},
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32), "e": torch.zeros(0)},
        {"a": torch.tensor([1.0, 2.0]), "e": torch.zeros(0, 1)},
    ]
    sums = [storage.checksum(t) for t in (base, *changes)] + [storage.checksum(base, "text")]
    assert len(set(sums)) == len(sums)
    assert storage.checksum({k: v.clone() for k, v in base.items()}) == sums[0]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    storage.write_atomic(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        storage.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (calls.append("fsync"), fsync(d)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    storage.write_atomic(tmp_path / "new" / "file", b"content")
    assert calls == ["fsync", "replace", "fsync"]


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    (tmp_path / ".model.safetensors.1.ab.tmp").write_text("half")
    (tmp_path / "model.safetensors").write_text("whole")
    storage.remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("content", [None, b"", b"\x10\0\0\0\0\0\0\0{}", b"not json"])
def test_damaged_and_missing_files_say_so(tmp_path, content):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StateError, match="is not there" if content is None else "damaged"):
        storage.load_tensors(path)
    with pytest.raises(StateError, match=r"x\.safetensors"):
        storage.read_json(path)


def test_json_has_no_nan(tmp_path):
    storage.write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), 1.5], "c": (True, None)})
    assert storage.read_json(tmp_path / "a.json") == {"a": None, "b": [None, 1.5], "c": [True, None]}


def reference_sgd(w, gradient, memory, t):
    """Nesterov momentum .9, weight decay .1, rate .1 (Sutskever et al. 2013 in PyTorch's form)."""
    d = gradient + 0.1 * w
    memory["b"] = d if t == 1 else 0.9 * memory["b"] + d
    return w - 0.1 * (d + 0.9 * memory["b"])


def reference_adam(w, gradient, memory, t, decay=0.1, decoupled=0.0):
    """Kingma and Ba (2015), algorithm 1, betas (.5, .9), rate .1; `decoupled`: AdamW."""
    w = w * (1 - 0.1 * decoupled)
    d = gradient + decay * w
    memory["m"] = 0.5 * memory.get("m", 0) + 0.5 * d
    memory["v"] = 0.9 * memory.get("v", 0) + 0.1 * d**2
    return w - 0.1 * (memory["m"] / (1 - 0.5**t)) / ((memory["v"] / (1 - 0.9**t)).sqrt() + 1e-8)


def reference_adamw(w, gradient, memory, t):
    return reference_adam(w, gradient, memory, t, decay=0.0, decoupled=0.2)


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        (Sgd(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True), reference_sgd),
        (Adam(name="adam", lr=0.1, betas=(0.5, 0.9), weight_decay=0.1), reference_adam),
        (AdamW(name="adamw", lr=0.1, betas=(0.5, 0.9), weight_decay=0.2), reference_adamw),
    ],
)
def test_optimizers_compute_the_published_updates(options, reference):
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))
    expected, memory = weight.detach().clone(), {}
    optimizer = build_optimizer(options, [weight])
    for t in range(1, 6):
        optimizer.zero_grad()
        weight.pow(4).sum().backward()
        optimizer.step()
        expected = reference(expected, 4 * expected**3, memory, t)
        assert torch.allclose(weight.detach(), expected, rtol=1e-12, atol=1e-12)
