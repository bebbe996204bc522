"""Generators and autoencoders in the real loop: resumed anywhere, they end in the same bits."""

import subprocess
import sys
from pathlib import Path

import fit_worker
import pytest
import torch
from mortal_fits import BATCH, RUN, check_resumed, moved, run, written

from pagrepro import plugins
from pagrepro.fit_options import FitOptions
from pagrepro.layout import Layout
from pagrepro.load import load_run
from pagrepro.storage import load_tensors

OPTIMIZERS = {
    "sgd": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-3},
    "adam": {"name": "adam", "lr": 1e-3, "betas": [0.0, 0.9]},
    "adamw": {"name": "adamw", "lr": 1e-3},
}
TASKS = {
    "residual_generator": {
        "generator": {"name": "unet", "width": 2, "levels": 1, "centre": 0.5, "scale": 0.5},
        "discriminator": {"name": "cifar_resnet18", "width": 2},
        "unit": 0.5,
    },
    "conditional_gan": {"width": 4, "latent": 3, "blocks": 2, "halvings": 1, "pad_to": 8},
    "autoencoder": {"network": "small_conv", "width": 3, "latent": 2, "variational": True},
}
GENERATORS = ("residual_generator", "conditional_gan")
CASES = [("residual_generator", name) for name in OPTIMIZERS]
CASES += [("conditional_gan", name) for name in OPTIMIZERS] + [("autoencoder", "adam")]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spec(task, optimizer="adam", **options):
    chosen = {"name": task, **TASKS[task], "optimizer": OPTIMIZERS[optimizer], **options}
    content = fit_worker.spec(task=plugins.resolve("tasks", chosen), monitor=[])
    content["fit"] |= {"epochs": 2, "batch_size": BATCH, "keep_epochs": [1], "select": "min:loss"}
    content["dataset"] |= {"shape": [1, 7, 6], "classes": classes(task)}
    return content


def classes(task):
    return 2 if task == "residual_generator" else 3


@pytest.mark.parametrize(("task", "optimizer"), CASES)
def test_resumed_fit_ends_in_the_same_bits(tmp_path, task, optimizer):
    weights = check_resumed(tmp_path, spec(task, optimizer))
    parts_moved = {"generator", "discriminator"} if task in GENERATORS else {"model"}
    assert {key.split(".")[0] for key in moved(weights)} == parts_moved


@pytest.mark.parametrize("task", GENERATORS)
def test_finished_runs_load_as_generators(tmp_path, task):
    layout, content = Layout(tmp_path), spec(task)
    record = run(layout, content, FitOptions())
    assert record["status"] == "complete"
    names = {"loss", "d_loss", "g_loss", "d_real", "d_gradient_norm", "g_gradient_norm"}
    assert names <= record["metrics"].keys()
    total = record["metrics"]["d_loss"] + record["metrics"]["g_loss"]
    assert record["metrics"]["loss"] == pytest.approx(total)
    for which in ("final", "ema", "best"):
        model = load_run(layout, RUN, which).model
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())
        if task == "residual_generator":
            y = torch.tensor([0, 1])
            made = model(torch.rand(2, 1, 7, 6), 1 - y, y)
        else:
            made = model(torch.randn(2, model.latent), torch.tensor([0, 2]))
            assert 0 <= made.min() < made.max() <= 1
        assert made.shape == (2, 1, 7, 6)


def test_finished_runs_load_as_autoencoders(tmp_path):
    layout, content = Layout(tmp_path), spec("autoencoder")
    record = run(layout, content, FitOptions())
    assert {"loss", "reconstruction", "divergence", "gradient_norm"} <= record["metrics"].keys()
    for which in ("final", "ema", "best"):
        model = load_run(layout, RUN, which).model
        assert not model.training
        made = model(torch.rand(2, 1, 7, 6))
        assert 0 <= made.min() < made.max() <= 1
        assert made.shape == (2, 1, 7, 6)


@pytest.mark.parametrize("task", TASKS)
def test_seed_decides(tmp_path, task):
    content, found = spec(task), []
    for seed in (0, 1):
        layout = Layout(tmp_path / str(seed))
        run(layout, {**content, "seed": seed}, FitOptions())
        found.append(written(layout, content)[1])
    assert found[0] != found[1]


@pytest.mark.parametrize("task", TASKS)
def test_mixed_precision(tmp_path, task):
    content = spec(task)
    content["fit"]["amp"] = "bf16"
    assert run(Layout(tmp_path), content, FitOptions())["status"] == "complete"


def test_divergence_keeps_the_last_finite_weights(tmp_path):
    content = spec("conditional_gan", "sgd")
    content["task"]["optimizer"]["lr"] = 1e30
    record = run(Layout(tmp_path), content, FitOptions())
    assert record["status"] == "diverged"
    assert all(bool(v.isfinite().all()) for v in load_tensors(Layout(tmp_path).weights(RUN)).values())


def test_compiler_stays_unimported(tmp_path):
    """PyTorch's compiler costs more to import than PyTorch, in every process that fits or projects."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
from test_generator_tasks import FitOptions, Layout, Path, load_run, run, spec
from pagrepro.projection import project
for task in ("autoencoder", "residual_generator", "conditional_gan"):
    layout = Layout(Path({str(tmp_path)!r}) / task)
    run(layout, spec(task), FitOptions(save_every_steps=2))
project(load_run(layout, "run").model, torch.rand(2, 1, 7, 6), torch.tensor([0, 1]), 0.1, 2, 2)
print("compiler imported:", "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "compiler imported: False" in done.stdout
