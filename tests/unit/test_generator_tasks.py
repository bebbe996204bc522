"""Generators and autoencoders in the real loop: resumed anywhere, they end in the same bits."""

import json
import subprocess
import sys
from pathlib import Path

import fit_worker
import pytest
import torch

from pagrepro import plugins
from pagrepro.finished import run_outputs
from pagrepro.fit import fit
from pagrepro.fit_options import FitOptions, Parts, make_task
from pagrepro.layout import Layout
from pagrepro.load import load_run
from pagrepro.storage import load_tensors, read_json
from pagrepro.training_data import TrainingData

RUN, EXAMPLES, BATCH = "run", 30, 8
STEPS_PER_EPOCH = EXAMPLES // BATCH
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


class Killed(BaseException):
    """Stands for a death of the process."""


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


def parts(task, death=None):
    """Random images; the process dies before step number `death`."""
    x = torch.rand(EXAMPLES, 1, 7, 6, generator=torch.Generator().manual_seed(0))
    y = torch.arange(EXAMPLES) % classes(task)

    def data(content, layout, device, root):
        return TrainingData(x, y, classes(task))

    def build(content, setup):
        made = make_task(content, setup)
        step = made.step

        def mortal(state, batch):
            if state.step == death:
                raise Killed
            return step(state, batch)

        made.step = mortal
        return made

    return Parts(data=data, task=build)


def run(layout, content, options, death=None):
    return fit(content, RUN, layout, {}, options=options, parts=parts(content["task"]["name"], death))


def written(layout, content):
    paths = [p for p in run_outputs(layout, RUN, content) if p.suffix == ".safetensors"]
    lines = [json.loads(line) for line in layout.history(RUN).read_text().splitlines()]
    return {path.name: load_tensors(path) for path in paths}, [line["metrics"] for line in lines]


@pytest.mark.parametrize(("task", "optimizer"), CASES)
def test_resumed_fit_ends_in_the_same_bits(tmp_path, task, optimizer):
    """Killed in the first epoch and in the second, each time some steps after the last saved state."""
    content = spec(task, optimizer)
    straight, resumed = Layout(tmp_path / "straight"), Layout(tmp_path / "resumed")
    run(straight, content, FitOptions())
    for death in (STEPS_PER_EPOCH - 1, 2 * STEPS_PER_EPOCH - 1):
        with pytest.raises(Killed):
            run(resumed, content, FitOptions(save_every_steps=2), death)
    run(resumed, content, FitOptions(save_every_steps=2))
    assert read_json(resumed.run_json(RUN))["provenance"]["resumed"] == 2
    (weights, lines), (found, found_lines) = written(straight, content), written(resumed, content)
    assert lines == found_lines
    assert {*weights} == {f"{n}.safetensors" for n in ("model", "ema", "best", "epoch_001")}
    for name, tensors in weights.items():
        assert tensors.keys() == found[name].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, found[name][key]), f"{name}: {key}"
    first, last = weights["epoch_001.safetensors"], weights["model.safetensors"]
    moved = [key for key in last if not torch.equal(first[key], last[key])]
    parts_moved = {"generator", "discriminator"} if task in GENERATORS else {"model"}
    assert {key.split(".")[0] for key in moved} == parts_moved


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
