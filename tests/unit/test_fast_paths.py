"""Whatever makes a computation faster leaves its result as it was, up to the error of docs/fast-paths.md.

That page names a test for every fast path. Here are those that stand nowhere else.
"""

import copy
import re
from pathlib import Path

import pytest
import torch
from networks import CLASSES, IMAGE, examples, flat_gradient, relative_error, smooth_convnet
from tiny import Tiny
from tiny_gans import gan_run
from torch import nn
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from pagrepro import compiling, plugins
from pagrepro.batch import Batch
from pagrepro.determinism import seed_global
from pagrepro.errors import ConfigError
from pagrepro.fields import gan_projection
from pagrepro.projection import project
from pagrepro.spec import Fit
from pagrepro.task import LoopState, TaskSetup
from pagrepro.training_data import Batches, TrainingData

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
PGD = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 2, "relative_step": 2}
NORM = {"name": "gradient_norm", "weight": 0.7, "norm": "l1"}
COSINE = {"name": "cosine_alignment", "weight": 0.4}
OBJECTIVES = {
    "cross_entropy": {"name": "cross_entropy"},
    "adversarial_training": {"name": "adversarial_training", "attack": PGD},
    "gaussian_noise": {"name": "gaussian_noise", "sigma": 0.2},
    "smoothness": {"name": "smoothness", "weight": 0.5, "output": "probabilities"},
    "gradient_norm": NORM,
    "gradient_norm, Jacobian": {**NORM, "of": "probability_jacobian", "norm": "squared_l2"},
    "cosine_alignment": COSINE,
    "cosine_alignment, frozen": {**COSINE, "batchnorm": "frozen", "gradient_of": "log_probability"},
    "alignment_penalty": {"name": "alignment_penalty", "weight": 0.6},
    "edge_alignment": {"name": "edge_alignment", "weight": 0.8},
}


@pytest.fixture
def traced(monkeypatch):
    """What is compiled is traced forwards and backwards, as by inductor, and run as it is."""
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")
    yield
    torch.compiler.reset()


def objective(options):
    return plugins.instantiate("objectives", plugins.resolve("objectives", options))


def batch(n=8, dtype=torch.float64):
    x, y, g = (value.to(dtype) if value.is_floating_point() else value for value in examples(n))
    return Batch(x, y, torch.arange(n), fields={"targets": lambda index, x: g[index]}, progress=0.3)


def gradient(options, model, given):
    loss = objective(options)(model, given, torch.Generator().manual_seed(0))["loss"].mean()
    return flat_gradient(loss, model)


def classifier(options, model, compiled=False):
    """A task that fits this network by plain gradient descent."""
    task = {
        "name": "classifier", "objective": options, "optimizer": {"name": "sgd", "lr": 0.1},
        "model": {"name": "convnet", "widths": [3, 4]},
    }  # fmt: skip
    seed_global(0, CPU)
    setup = TaskSetup(IMAGE, CLASSES, 0.0, 1.0, 3, 10, CPU, compiled=compiled)
    made = plugins.instantiate("tasks", plugins.resolve("tasks", task), setup)
    made.network = copy.deepcopy(model)
    made.optimizer.param_groups[0]["params"] = list(made.network.parameters())
    return made


# --- the page ------------------------------------------------------------------------------------------


def rows():
    """(fast path, how to switch it off, stated error, tests) of every row of the page's table."""
    text = (ROOT / "docs/fast-paths.md").read_text(encoding="utf-8")
    table = text.split("\n## ")[0].split("|---|---|---|---|\n")[1]
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].replace("`", ""))
def test_the_page_names_a_test_and_an_error_for_every_fast_path(row):
    _, off, error, tests = row
    assert off
    assert re.search(r"none|rounding|\d", error)
    found = re.findall(r"`(test_\w+)::(test_\w+)`", tests)
    assert found
    for file, test in found:
        text = (ROOT / f"tests/unit/{file}.py").read_text(encoding="utf-8")
        assert re.search(rf"^def {test}\(", text, re.M), f"{file}: {test}"


# --- mixed precision -----------------------------------------------------------------------------------

# Reductions and statistics that bf16 is too coarse for; of batch normalisation what it makes of its input.
PRECISE = re.compile(r"softmax|nll_loss|norm\.|vector_norm|batch_norm|sum\.dim|cumsum|sort|var_mean")


class Precise(TorchDispatchMode):
    """Notes half-precision tensors in operations that have to be done in float32."""

    def __init__(self):
        super().__init__()
        self.half, self.lower = set(), 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result, name = function(*args, **(kwargs or {})), str(function)
        given = _pytree.tree_leaves(args)
        if "batch_norm" in name:
            # Its first input or output is the activation; what follows are statistics, weights and gradients.
            given = given[2 if "backward" in name else 1 :] + list(_pytree.tree_leaves(result))[1:]
        half = any(isinstance(v, torch.Tensor) and v.dtype == torch.bfloat16 for v in given)
        if half and PRECISE.search(name):
            self.half.add(name)
        self.lower += half and "convolution" in name
        return result


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_under_bf16_what_is_delicate_stays_in_single_precision(options):
    """Cross-entropies, softmax, norms, cosines, distances and batch statistics, in forward passes and in the
    inner derivative; and the gradient of the weights is that of float32 to 3 %."""
    model, given = smooth_convnet().float(), batch(16, torch.float32)
    for layer in (model[1], model[4]):
        layer.momentum = 0.1
    plain, precise = copy.deepcopy(model), Precise()
    with precise, torch.autocast("cpu", torch.bfloat16):
        terms = objective(options)(model, given, torch.Generator().manual_seed(0))
    assert precise.half == set()
    assert precise.lower > 0
    assert all(value.dtype == torch.float32 for value in terms.values())
    assert model[1].running_var.dtype == torch.float32
    found = flat_gradient(terms["loss"].mean(), model)
    assert found.dtype == torch.float32
    assert relative_error(found, gradient(options, plain, given)) < 0.03
    torch.testing.assert_close(model[1].running_mean, plain[1].running_mean, rtol=0.02, atol=0.002)


# --- memory order and compiled networks -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["adversarial_training", "gradient_norm", "cosine_alignment"])
def test_channels_last_is_another_order_of_memory_only(name):
    """In float64: its convolutions are torch's own. Those of single precision are oneDNN's, whose backward
    pass in this order corrupts memory on some CPUs (docs/known-issues.md)."""
    x, y, g = examples(8)
    data = TrainingData(x.expand(-1, 3, -1, -1), y, CLASSES)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 1, 1).double(), smooth_convnet())
    options, gradients = OBJECTIVES[name], []
    for last in (False, True):
        batches = Batches(data, 8, True, seed=0, channels_last=last)
        given = batches.batch(torch.arange(8), 0, 0, 1)
        given.fields = {"targets": lambda index, x: g[index].expand(-1, -1, 3, -1, -1)}
        assert given.x.is_contiguous(memory_format=torch.channels_last) == last
        own = copy.deepcopy(model)
        own = own.to(memory_format=torch.channels_last) if last else own
        gradients.append(gradient(options, own, given))
    assert relative_error(gradients[1], gradients[0]) < 1e-10


@pytest.mark.parametrize("name", ["adversarial_training", "smoothness"])
def test_a_compiled_network_takes_the_same_steps(traced, name):
    """Three steps: weights and running statistics, though the attack runs in eval mode in between; the
    attack's backward passes leave the weights out."""
    model = smooth_convnet()
    model[1].momentum = model[4].momentum = 0.1
    tasks = [classifier(OBJECTIVES[name], model, compiled) for compiled in (False, True)]
    for step in range(3):
        metrics = [task.step(LoopState(3, 10, CPU, step=step), batch()) for task in tasks]
        assert metrics[0].keys() == metrics[1].keys()
        for key, value in metrics[0].items():
            torch.testing.assert_close(metrics[1][key], value, rtol=1e-6, atol=0)
    assert all(p.requires_grad for p in tasks[1].network.parameters())
    found, expected = (task.network.state_dict() for task in reversed(tasks))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-10, atol=1e-14)


def test_inductor_on_one_network():
    """The compiler itself, in single precision: through batch statistics, with dropout, whose draws are the
    same, and with the option for CUDA graphs, which do nothing here. Each kernel takes seconds to compile."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(36, CLASSES), nn.BatchNorm1d(CLASSES, momentum=0.2), nn.Dropout(0.3)]
    model, given = nn.Sequential(*layers), batch(6, torch.float32)
    options, found = {**NORM, "norm": "squared_l2", "of": "logit_label"}, {}
    for compiled in (False, "cudagraphs"):
        own = copy.deepcopy(model)
        torch.manual_seed(1)
        # Not in processes of its own, which take longer to start than they save.
        with torch._inductor.config.patch(compile_threads=1):
            found[compiled] = gradient({**options, "compiled": compiled}, own, given), own[2].running_var
    torch.compiler.reset()
    assert relative_error(found["cudagraphs"][0], found[False][0]) < 1e-5
    torch.testing.assert_close(found["cudagraphs"][1], found[False][1], rtol=1e-5, atol=1e-7)


REFUSED = {
    "differentiates twice": ({"objective": {**COSINE, "batchnorm": "eval"}}, {}, "task.objective.compiled"),
    "drops examples": ({"objective": {"name": "adversarial_training", "attack": PGD | {
        "keep": "worst", "drop_fooled": True}}}, {}, "drop_fooled"),
    "several processes": ({}, {"devices": 2}, "cost.devices"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compiled_is_an_error_of_the_configuration(tmp_path, case):
    task, cost, text = REFUSED[case]
    tiny = Tiny()
    name = "aligned" if case == "differentiates twice" else "plain"
    run = tiny.paper["runs"][name]
    run["task"] = {**run["task"], **task}
    run["fit"] = {**run["fit"], "compiled": True, "micro_batches": 2 if cost else 1}
    run["cost"] = cost
    with pytest.raises(ConfigError, match=rf"fit\.compiled(.|\n)*{text}"):
        tiny.expand(tmp_path)


def test_fits_without_the_option_keep_their_identity(tmp_path):
    fit = {"epochs": 1, "batch_size": 4}
    assert "compiled" not in Fit(**fit).model_dump(mode="json")
    assert Fit(**fit, compiled="cudagraphs").model_dump(mode="json")["compiled"] == "cudagraphs"
    tiny = Tiny()
    before = tiny.expand(tmp_path / "before").runs["line_plain_s0"]
    tiny.paper["runs"]["plain"]["fit"]["compiled"] = True
    after = tiny.expand(tmp_path / "after").runs["line_plain_s0"]
    assert before.hash != after.hash
    assert "compiled" not in before.spec["fit"]


# --- projections -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5])
def test_pairs_do_not_notice_what_they_are_projected_with(size):
    generator, (x, _, _) = gan_run().model, examples(12)
    x, classes = nn.functional.pad(x, (1, 1, 1, 1)), torch.arange(12) % 4
    options = {"weight": 0.5, "steps": 8, "regularised_steps": 4}
    made, losses = project(generator, x, classes, **options)
    for part in torch.arange(12).split(size):
        some, loss = project(generator, x[part], classes[part], **options)
        torch.testing.assert_close(some, made[part], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(loss, losses[part], rtol=1e-10, atol=0)


def test_as_many_pixels_at_a_time_whatever_the_size_of_the_images():
    assert gan_projection.at_a_time(1024, (3, 32, 32)) == gan_projection.at_a_time(1024, (1, 28, 28)) == 1024
    assert gan_projection.at_a_time(1024, (1, 64, 64)) == 256
    assert gan_projection.at_a_time(1, (1, 224, 224)) == 1
