"""The benchmark of fifteen runs on Spheres: the stacked network is the same fit, and bars say what was
measured."""

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

CPU = torch.device("cpu")
SIZE = {"n": 6, "width": 5, "count": 4}


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
        yield importlib.import_module("spheres_pack")


def test_quick_run_has_a_row_for_every_method_and_way(benchmark):
    found = benchmark.run(CPU, quick=True)
    rows = found["rows"]
    assert [(row["runs"], row["way"]) for row in rows] == [
        *((method, way) for method in ("baseline", "penalty", "PGD") for way in benchmark.WAYS),
        *(("all 15", way) for way in (*benchmark.WAYS, "a process each")),
    ]
    assert all(row["seconds per run"] > 0 for row in rows)
    pack, side, each = rows[-3:]
    assert each["start per run"] == pytest.approx(15 * pack["start per run"])
    assert pack["start per run"] == side["start per run"] > 0.02
    *_, same = found["bars"]
    assert same["met"]
    assert 0 < same["value"] < 1e-12
    assert found["settings"]["seeds"] == 5


def test_stacked_network_gives_the_logits_of_each(benchmark):
    tasks, stacked, batches, together = benchmark.ways(
        {"name": "cross_entropy"}, **SIZE, device=CPU, dtype=torch.float64
    )
    with torch.no_grad():
        for layer in (m for task in tasks for m in task.network.modules() if isinstance(m, nn.BatchNorm1d)):
            layer.weight.uniform_(0.5, 2)
            layer.bias.normal_()
    network = benchmark.Stacked([task.network for task in tasks])
    expected = torch.cat([task.network(batch.x) for task, batch in zip(tasks, batches)])
    torch.testing.assert_close(network(together.x), expected)
    assert stacked.network.count == 5
    assert not torch.equal(batches[0].x, batches[1].x)


@pytest.mark.parametrize("method", ["baseline", "penalty", "PGD"])
def test_another_fit_is_noticed(benchmark, method, monkeypatch):
    objective = benchmark.objectives(2)[method]
    assert benchmark.error(objective, **SIZE, device=CPU) < 1e-12
    monkeypatch.setattr(benchmark.Stacked, "forward", lambda self, x: torch.stack([0 * x[:, 0], x[:, 0]], 1) *
                        sum(p.mean() for p in self.parameters()))  # fmt: skip
    assert benchmark.error(objective, **SIZE, device=CPU) > 1e-4


def made_up(benchmark, pack, side, error=1e-16, start=3.0):
    seconds = {method: {"pack": [pack, 2 * pack], "side by side": [side, 2 * side]} for method in "abc"}
    return benchmark.rows("small", seconds, dict.fromkeys("abc", error), start)


def test_starts_are_shared_by_those_who_share_a_process(benchmark):
    pack, side, each = made_up(benchmark, 1.8, 0.8)[-3:]
    assert pack["seconds per run"] == pytest.approx(1.5 * 1.8 + 3 / 15)
    assert side["seconds per run"] == pytest.approx(1.5 * 0.8 + 3 / 15)
    assert each["seconds per run"] == pytest.approx(1.5 * 1.8 + 3)
    assert pack["ratio"] == 1
    assert side["lowest"] == pytest.approx((2 * 0.8 + 0.2) / (2 * 1.8 + 0.2))
    assert each["highest"] == pytest.approx((1.8 + 3) / (1.8 + 3 / 15))


@pytest.mark.parametrize(
    ("start", "error", "met"),
    [(3.0, 1e-16, [True, True]), (-0.1, 1e-16, [False, True]), (3.0, 1e-3, [True, False])],
)
def test_bars(benchmark, start, error, met):
    """A start that gained time would speak for a process each; how fast stacked networks are is no bar."""
    bars = benchmark.bars(made_up(benchmark, 2.0, 0.1, error, start))
    assert [bar["met"] for bar in bars] == met
    assert bars[0]["bar"] == "small: a pack against a process each"


def test_the_bar_is_the_share_of_the_time_that_a_process_each_takes(benchmark):
    (first, _) = benchmark.bars(made_up(benchmark, 2.0, 1.0))
    shares = [(2 * k + 3 / 15) / (2 * k + 3) for k in (1, 2)]
    assert first["value"] == pytest.approx(2 / sum(1 / share for share in shares))
