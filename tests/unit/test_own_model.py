"""A model of one's own is loaded as it is, or refused with one message that says why."""

import pytest
import torch
from made_up_models import linear
from torch import nn

from pagrepro.own_model import ModelError, as_measured, load_model, state_hash

FILE = """
from dataclasses import dataclass

import torch
from torch import nn

import beside


@dataclass
class Options:
    width: int = beside.WIDTH


class Net(nn.Module):
    input_range = (0, 255)

    def __init__(self, width=Options().width):
        super().__init__()
        self.layer = nn.Linear(width, 3)

    def forward(self, x):
        return self.layer(x.flatten(1))


def build():
    torch.manual_seed(0)
    return Net()


def needs(width):
    return Net(width)


def wrong():
    return {"a": 1}


def broken():
    raise KeyError("weights")


ready = build()
number = 3
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "beside.py").write_text("WIDTH = 4\n")
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("name", ["build", "ready", "Net"])
def test_a_name_is_a_network_or_what_returns_one(file, name):
    own = load_model(f"{file}:{name}")
    assert own.network(torch.zeros(2, 4)).shape == (2, 3)
    assert own.input_range == (0.0, 255.0)
    assert own.about["parameters"] == 15
    assert len(own.about["file_sha256"]) == 64


def test_a_network_in_memory():
    network = linear(4, 3)
    own = load_model(network)
    assert own.network is network
    assert own.about["state_sha256"] == state_hash(network)
    assert own.input_range is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody", "has no 'nobody'; it has Options, Net, build, needs, wrong, broken"),
        ("number", "is a int; expected a torch.nn.Module"),
        ("needs", "called without arguments, but needs width"),
        ("wrong", "returned a dict; expected a torch.nn.Module"),
        ("broken", r"failed: KeyError: 'weights' \(.*mine.py, line \d+\)"),
    ],
)
def test_a_name_that_is_no_model_is_refused_with_what_was_found(file, name, message):
    with pytest.raises(ModelError, match=message):
        load_model(f"{file}:{name}")


@pytest.mark.parametrize("text", ["mine.py", "weights.pt:model", "nowhere"])
def test_what_is_neither_a_name_nor_a_run_is_refused(text):
    with pytest.raises(ModelError, match=r"neither FILE.py:NAME .* nor the folder of a finished run"):
        load_model(text)


def test_a_file_that_is_not_there_or_does_not_run(tmp_path):
    with pytest.raises(ModelError, match="no file"):
        load_model(f"{tmp_path}/absent.py:build")
    (tmp_path / "bad.py").write_text("x = 1\ndef build(:\n")
    with pytest.raises(ModelError, match=r"SyntaxError.*line 2"):
        load_model(f"{tmp_path}/bad.py:build")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no finished run: expected results/<tier>/models/<run>"):
        load_model(tmp_path)


@pytest.mark.parametrize("value", [3, (1, 0), ("low", "high"), (0, 1, 2)])
def test_a_range_is_two_numbers(value):
    network = linear(4, 3)
    network.input_range = value
    with pytest.raises(ModelError, match="input_range"):
        load_model(network)


def test_the_hash_is_of_names_and_numbers():
    one, same, other = linear(4, 3), linear(4, 3), linear(4, 3, seed=1)
    assert state_hash(one) == state_hash(same) != state_hash(other)
    assert state_hash(nn.Sequential(one)) != state_hash(one)


def test_a_measured_network_is_given_back_as_it_was():
    network = nn.Sequential(linear(4, 3), nn.Dropout(), nn.BatchNorm1d(3))
    network[2].eval()
    network[2].bias.requires_grad_(False)
    with as_measured(network, torch.device("cpu")) as measured:
        assert not any(module.training for module in measured.modules())
        assert not any(p.requires_grad for p in measured.parameters())
    assert [module.training for module in network] == [True, True, False]
    assert [p.requires_grad for p in network.parameters()] == [True, True, True, False]
