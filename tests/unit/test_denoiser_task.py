"""Denoisers in the real loop: the objective, what it learns, and resumed fits that end in the same bits."""

import math
import subprocess
import sys
from pathlib import Path

import fit_worker
import pytest
import torch
from mortal_fits import BATCH, RUN, check_resumed, moved, run
from torch import nn

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.denoiser import EdmPreconditioned
from pagrepro.errors import DataError
from pagrepro.fit_options import FitOptions
from pagrepro.layout import Layout
from pagrepro.load import load_run
from pagrepro.storage import load_tensors
from pagrepro.task import LoopState, TaskSetup

SHAPE, CPU = (1, 4, 6), torch.device("cpu")
NETWORKS = {
    "unet2d": {"name": "unet2d", "channels": [8, 8]},
    "ddpmpp": {
        "name": "ddpmpp", "width": 8, "multipliers": [1, 2], "blocks": 1, "attention": [2], "dropout": 0.1,
    },
    "adm": {"name": "adm", "width": 8, "multipliers": [1], "blocks": 1, "attention": [], "head": 4},
}  # fmt: skip
every_network = pytest.mark.parametrize("network", NETWORKS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def options(network="ddpmpp", **more):
    return plugins.resolve("tasks", {"name": "denoiser", "network": NETWORKS[network], **more})


# --- the objective ---------------------------------------------------------------------------------------


class Zero(nn.Module):
    """D(x) = weight, with a gradient."""

    classes = 0

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x, sigma, y):
        self.seen = (x, sigma, y)
        return self.weight.expand_as(x)


def stepped(low=0.0, high=1.0, count=4000, **more):
    """One step of the objective with that denoiser on images of one value, 0.75."""
    setup = TaskSetup(SHAPE, 3, low, high, 0, 10, CPU)
    task = plugins.instantiate("tasks", options(**more), setup)
    task.network = zero = Zero()
    x = torch.full((count, *SHAPE), 0.75)
    batch = Batch(x, torch.arange(count) % 3, torch.arange(count), low=low, high=high)
    return zero, task.step(LoopState(0, 10, CPU), batch)


def test_levels_noise_and_weight_are_those_of_the_paper():
    zero, found = stepped(sigma_data=0.4, p_mean=-1.0, p_std=0.7)
    x, sigma, y = zero.seen
    assert y is None
    assert float(sigma.log().mean()) == pytest.approx(-1.0, abs=0.05)
    assert float(sigma.log().std()) == pytest.approx(0.7, abs=0.03)
    noise = (x - 0.5) / sigma.view(-1, 1, 1, 1)  # 0.75 of [0, 1] is 0.5 of [-1, 1]
    assert float(noise.mean()) == pytest.approx(0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    # D = 0 is wrong by 0.5 in every pixel.
    assert float(found["error"]) == pytest.approx(0.25)
    weights = (sigma.square() + 0.4**2) / (sigma * 0.4).square()
    assert float(found["loss"]) == pytest.approx(0.25 * float(weights.mean()), rel=1e-5)
    gradient = 2 * -0.5 * float(weights.mean())
    assert float(zero.weight.grad) == pytest.approx(gradient, rel=1e-5)


def test_range_of_the_data_and_labels_reach_the_denoiser():
    zero, found = stepped(low=-0.5, high=2.0, conditional=True)
    assert float(found["error"]) == pytest.approx(0)  # 0.75 is the middle
    assert zero.seen[2].tolist()[:4] == [0, 1, 2, 0]
    with pytest.raises(DataError, match="need a range"):
        stepped(low=None, high=None)


class Perceptron(nn.Module):
    """Two layers over all pixels and the noise level."""

    def __init__(self, pixels):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(pixels + 1, 64), nn.SiLU(), nn.Linear(64, pixels))

    def forward(self, x, c, labels):
        return self.layers(torch.cat([x.flatten(1), c[:, None]], 1)).view(x.shape)


def test_what_minimises_the_objective_is_the_posterior_mean():
    """Data of two points m and -m, m = 0.5 in each of four pixels: D(x) = m tanh(x . m / sigma^2)."""
    torch.manual_seed(0)
    setup, sigma = TaskSetup((1, 2, 2), 2, 0.0, 1.0, 0, 400, CPU), 0.6
    task = plugins.instantiate("tasks", options("adm", p_mean=math.log(sigma), p_std=0.1), setup)
    task.network = EdmPreconditioned(Perceptron(4), (1, 2, 2))
    task.optimizer = torch.optim.Adam(task.network.parameters(), 1e-2)
    x = torch.tensor([0.25, 0.75]).repeat(128).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    state = LoopState(0, 400, CPU)
    for state.step in range(400):
        task.step(state, Batch(x, torch.zeros(256, dtype=torch.int64), torch.arange(256)))
    noised = 2 * x - 1 + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    exact = 0.5 * torch.tanh(0.5 * noised.sum((1, 2, 3)) / sigma**2).view(-1, 1, 1, 1).expand_as(x)
    with torch.no_grad():
        found = task.network.denoise(noised, sigma)
    assert float((found - exact).square().mean()) < 0.02 * float(exact.var())


# --- the loop --------------------------------------------------------------------------------------------


def spec(network, **more):
    content = fit_worker.spec(task=options(network, **more), monitor=[])
    content["fit"] |= {"epochs": 2, "batch_size": BATCH, "keep_epochs": [1], "select": "min:loss"}
    content["dataset"] |= {"shape": list(SHAPE), "classes": 3}
    return content


@every_network
def test_resumed_fit_ends_in_the_same_bits(tmp_path, network):
    weights = check_resumed(tmp_path, spec(network, conditional=True, augment={"flip": True}))
    assert moved(weights)


@every_network
def test_finished_runs_load_as_denoisers(tmp_path, network):
    layout = Layout(tmp_path)
    content = spec(network)
    content["fit"]["amp"] = "bf16"
    record = run(layout, content, FitOptions())
    assert record["status"] == "complete"
    assert {"loss", "error", "gradient_norm"} <= record["metrics"].keys()
    for which in ("final", "ema", "best"):
        model = load_run(layout, RUN, which).model
        assert not model.training
        assert (model.shape, model.classes) == (SHAPE, 0)
        assert model.denoise(torch.rand(2, *SHAPE), 0.5).shape == (2, *SHAPE)


def test_divergence_keeps_the_last_finite_weights(tmp_path):
    content = spec("adm", optimizer={"name": "sgd", "lr": 1e30})
    record = run(Layout(tmp_path), content, FitOptions())
    assert record["status"] == "diverged"
    assert all(bool(v.isfinite().all()) for v in load_tensors(Layout(tmp_path).weights(RUN)).values())


def test_libraries_that_take_long_to_import_stay_unimported(tmp_path):
    """But for unet2d, which is diffusers'."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_denoiser_task import FitOptions, Layout, Path, run, spec
run(Layout(Path({str(tmp_path)!r})), spec("ddpmpp"), FitOptions(save_every_steps=2))
print("imported:", [name for name in ("torch._dynamo", "diffusers", "torchvision") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "imported: []" in done.stdout
