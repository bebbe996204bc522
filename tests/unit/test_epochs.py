"""What an epoch is (a pass, some batches, fresh examples), and which epoch's weights are kept."""

import dataclasses
import json

import fit_worker
import pytest
import torch
from fit_worker import spec
from pydantic import ValidationError
from torch import nn

from pagrepro.ema import Ema
from pagrepro.errors import DataError, StateError
from pagrepro.finished import run_weights
from pagrepro.fit import fit
from pagrepro.fit_options import FitOptions
from pagrepro.layout import Layout
from pagrepro.monitor import Monitors
from pagrepro.spec import Fit
from pagrepro.storage import load_tensors
from pagrepro.training_data import Batches, TrainingData

RUN = "tiny"


class Killed(BaseException):
    """Stands for a death of the process."""


def draw(count, generator):
    x = torch.randn(count, 3, generator=generator)
    return x, (x[:, 0] > 0).long()


def data(fresh=None):
    x = torch.arange(40.0)[:, None].expand(-1, 3).clone()
    return TrainingData(x, torch.zeros(40, dtype=torch.int64), 2, None, None, fresh=fresh)


def fresh_parts(fault=None):
    """The tiny fit on examples that are drawn at every step."""
    usual = fit_worker.parts(fault)

    def fresh_data(*about):
        return dataclasses.replace(usual.data(*about), fresh=draw)

    return dataclasses.replace(usual, data=fresh_data)


def fitted(layout, content, options, parts):
    record = fit(content, RUN, layout, {"fit": 1}, options=options, parts=parts)
    return record, {which: load_tensors(layout.weights(RUN, which)) for which in run_weights(content)}


# --- epochs --------------------------------------------------------------------------------------------


def test_an_epoch_of_some_batches_starts_a_new_order_each_time():
    batches = Batches(data(), 8, True, 0, steps_per_epoch=2)
    assert batches.per_epoch == 2
    seen = [
        batches.batch(batches.order(epoch), place, 2 * epoch + place, 60).index
        for epoch in range(30)
        for place in range(2)
    ]
    for epoch in range(30):
        both = torch.cat(seen[2 * epoch : 2 * epoch + 2])
        assert len(both.unique()) == 16, "without replacement inside an epoch"
    assert len(torch.cat(seen).unique()) == 40, "every example has its turn in some epoch"


def test_an_epoch_cannot_have_more_batches_than_the_split():
    with pytest.raises(DataError, match=r"steps_per_epoch: 6 asked for.*40 examples.*has 5"):
        Batches(data(), 8, True, 0, steps_per_epoch=6).per_epoch  # noqa: B018


def test_fresh_examples_are_new_at_every_step_and_the_same_for_the_same_step():
    batches = Batches(data(draw), 8, True, 0, steps_per_epoch=3)
    one, again, next_one = (batches.batch(batches.order(0), 0, step, 9) for step in (4, 4, 5))
    assert torch.equal(one.x, again.x)
    assert not torch.equal(one.x, next_one.x)
    assert one.index.tolist() == [-1] * 8
    other_seed = Batches(data(draw), 8, True, 1, steps_per_epoch=3)
    assert not torch.equal(one.x, other_seed.batch(other_seed.order(0), 0, 4, 9).x)


def test_fresh_examples_need_a_length_of_the_epoch():
    with pytest.raises(ValidationError, match="steps_per_epoch"):
        Fit(epochs=1, batch_size=2, fresh=True)


@pytest.mark.parametrize("step", [3, 4, 9])
def test_a_fit_on_fresh_examples_resumes_to_the_same_bits(tmp_path, step):
    content = spec(fit={"fresh": True, "steps_per_epoch": 5, "select": "min:loss"}, monitor=[])
    _, straight = fitted(Layout(tmp_path / "a"), content, FitOptions(), fresh_parts())
    layout, often = Layout(tmp_path / "b"), FitOptions(save_every_steps=3)
    with pytest.raises(Killed):
        fitted(layout, content, often, fresh_parts(fit_worker.Fault("step", step, error=Killed())))
    record, resumed = fitted(layout, content, often, fresh_parts())
    assert record["provenance"]["resumed"] == 1
    for which, tensors in straight.items():
        assert all(torch.equal(tensor, resumed[which][name]) for name, tensor in tensors.items()), which


# --- which epoch is kept --------------------------------------------------------------------------------


def test_the_epoch_with_the_highest_mean_of_a_training_metric_is_kept(tmp_path):
    content = spec(fit={"select": "max:share", "keep_epochs": [1, 2, 3, 4]}, monitor=[])
    layout = Layout(tmp_path)
    record, weights = fitted(layout, content, FitOptions(), fit_worker.parts())
    lines = [json.loads(line) for line in layout.history(RUN).read_text().splitlines()]
    shares = [line["metrics"]["share"] for line in lines]
    most = max(range(4), key=shares.__getitem__)
    assert record["best"] == {"value": shares[most], "epoch": most + 1}
    assert 0 < most < 3, "the case would not tell `max` from first or last: choose another seed"
    for name, tensor in weights["best"].items():
        assert torch.equal(tensor, weights[f"epoch:{most + 1}"][name])


def test_only_one_thing_selects():
    entry = {"name": "val", "select": "max:score"}
    with pytest.raises(StateError, match="more than one"):
        Monitors([entry], {}, 3, by_metric="min:loss")


def test_an_unknown_metric_is_refused_with_those_there_are():
    with pytest.raises(StateError, match=r"no value 'gain'; there are: loss"):
        Monitors([], {}, 3, by_metric="max:gain").take_metrics(1, {"loss": 1.0}, nn.Linear(1, 1))


@pytest.mark.parametrize(("ties", "expected"), [("earlier", 2), ("later", 4)])
def test_ties_go_where_they_are_told(ties, expected):
    values = iter([1.0, 3.0, 2.0, 3.0])
    entry = {"name": "val", "select": "max:score", "ties": ties}
    monitors = Monitors([entry], {"val": lambda network: {"score": next(values)}}, 4)
    for epoch in range(1, 5):
        monitors.take(epoch, nn.Linear(1, 1), None)
    assert monitors.best.epoch == expected


def test_early_epochs_are_measured_but_no_candidates():
    values = iter([9.0, 3.0, 4.0])
    entry = {"name": "val", "select": "max:score", "first_epoch": 2}
    monitors = Monitors([entry], {"val": lambda network: {"score": next(values)}}, 3)
    taken = [monitors.take(epoch, nn.Linear(1, 1), None) for epoch in (1, 2, 3)]
    assert taken[0] == {"val": {"score": 9.0}}
    assert (monitors.best.epoch, monitors.best.value) == (3, 4.0)


# --- moving average --------------------------------------------------------------------------------------


def test_the_moving_average_is_the_network_until_it_starts():
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    ema = Ema(network, 0.5, start=2)
    found = []
    for step in range(4):
        network.weight.data.fill_(float(step + 1))
        ema.update(network, step)
        found.append(float(ema.values["weight"]))
    # 1, 2 are copies; then 2 + (3 - 2) / 2 and 2.5 + (4 - 2.5) / 2.
    assert found == [1.0, 2.0, 2.5, 3.25]
