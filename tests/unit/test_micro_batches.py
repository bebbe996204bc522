"""A batch in parts: the same update, drawn part by part, whoever does them; and what belongs to a step."""

import pytest
import torch
from networks import CLASSES, IMAGE, examples
from tiny import Tiny
from torch import nn

from pagrepro import pack, plugins
from pagrepro.batch import Batch
from pagrepro.determinism import seed_global
from pagrepro.errors import ConfigError
from pagrepro.layers import piecewise_linear
from pagrepro.optimizer_options import AdamW
from pagrepro.optimizers import build_optimizer
from pagrepro.seeding import seed_for
from pagrepro.spec import Fit
from pagrepro.task import LoopState, TaskSetup
from pagrepro.training_data import Batches, TrainingData

PGD = {"name": "pgd", "norm": "linf", "eps": 0.1, "steps": 2, "relative_step": 2}
CPU = torch.device("cpu")
SIZE = 6


def classifier(objective, model=None, lr=0.1, **more):
    """A task with plain gradient descent; float64."""
    task = {
        "name": "classifier", "objective": objective, "optimizer": {"name": "sgd", "lr": lr},
        "model": model or {"name": "convnet", "widths": [3, 4], "activation": "gelu"}, **more,
    }  # fmt: skip
    seed_global(0, CPU)
    setup = TaskSetup(IMAGE, CLASSES, 0.0, 1.0, 3, 10, CPU)
    made = plugins.instantiate("tasks", plugins.resolve("tasks", task), setup)
    made.network.double().train()
    return made


def batch(parts=1, only=None):
    """SIZE examples, in so many parts; only: those of one of them."""
    x, y, _ = examples(SIZE)
    size = SIZE // parts
    if only is not None:
        rows = slice(only * size, (only + 1) * size)
        place = [(only, slice(0, size))]
        return Batch(x[rows], y[rows], torch.arange(SIZE)[rows], parts=place, whole=SIZE)
    places = [(k, slice(k * size, (k + 1) * size)) for k in range(parts)]
    return Batch(x, y, torch.arange(SIZE), parts=places if parts > 1 else None, whole=SIZE)


def step(task, given):
    """Metrics of one step, and the gradient that it went down."""
    seed_global(seed_for(3, "global", 4), CPU)
    metrics = task.step(LoopState(3, 10, CPU, step=4), given)
    return metrics, torch.cat([p.grad.flatten() for p in task.network.parameters()])


@pytest.mark.parametrize("objective", [{"name": "cross_entropy"}, {"name": "gradient_norm", "weight": 0.5}])
@pytest.mark.parametrize("parts", [2, 3])
def test_without_randomness_the_parts_are_the_whole(objective, parts):
    metrics, gradient = step(classifier(objective), batch())
    others, sums = step(classifier(objective), batch(parts))
    torch.testing.assert_close(sums, gradient, rtol=1e-12, atol=1e-14)
    assert metrics.keys() == others.keys()
    for name, value in metrics.items():
        # Terms other than the loss are averaged in single precision.
        torch.testing.assert_close(others[name].double(), value.double(), rtol=1e-6, atol=1e-8)


RANDOM = {
    "augmentation": ({"name": "cross_entropy"}, {"augment": {"crop_padding": 1, "flip": True}}),
    "noise": ({"name": "gaussian_noise", "sigma": 0.3}, {}),
    "attack": ({"name": "adversarial_training", "attack": PGD}, {}),
    "mixing": ({"name": "cross_entropy"}, {"mix": {"mixup": 0.8, "cutmix": 0.0}}),
}


def with_dropout(task):
    task.network.norms[0] = nn.Dropout(0.5)
    return task


@pytest.mark.parametrize("kind", [*RANDOM, "dropout"])
def test_a_part_draws_the_same_whoever_does_it(kind):
    objective, more = RANDOM.get(kind, ({"name": "cross_entropy"}, {}))
    parts = 3

    def made():
        task = classifier(objective, **more)
        return with_dropout(task) if kind == "dropout" else task

    _, together = step(made(), batch(parts))
    alone = [step(made(), batch(parts, only=k))[1] for k in range(parts)]
    torch.testing.assert_close(sum(alone), together, rtol=1e-10, atol=1e-12)
    # The same examples under another number are drawn for anew.
    other = batch(parts, only=1)
    other.parts = [(2, other.parts[0][1])]
    assert not torch.allclose(step(made(), other)[1], alone[1], rtol=1e-3)


def test_the_first_part_has_the_streams_of_an_undivided_batch():
    objective, more = RANDOM["noise"]
    whole = Batch(*(t[: SIZE // 2] for t in (*examples(SIZE)[:2], torch.arange(SIZE))))
    _, gradient = step(classifier(objective, **more), whole)
    _, part = step(classifier(objective, **more), batch(2, only=0))
    torch.testing.assert_close(2 * part, gradient, rtol=1e-12, atol=1e-14)


def test_parts_are_consecutive_rows_of_the_order():
    data = TrainingData(torch.rand(20, 2), torch.arange(20), 20)
    batches = Batches(data, 8, True, 3, micro_batches=4)
    order = batches.order(0)
    found = batches.batch(order, 1, 1, 2)
    assert torch.equal(found.index, order[8:16])
    assert [(number, rows.start, rows.stop) for number, rows in found.micro] == [
        (0, 0, 2), (1, 2, 4), (2, 4, 6), (3, 6, 8),
    ]  # fmt: skip
    assert found.size == 8
    assert torch.equal(found.part(found.micro[2][1]).y, order[12:14])


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 8, "micro_batches": 3},
        {"batch_size": 8, "micro_batches": 2, "drop_last": False},
        {"batch_size": 8, "micro_batches": 2, "fresh": True, "steps_per_epoch": 4},
    ],
)
def test_parts_that_cannot_be_equal_are_refused(options):
    with pytest.raises(ValueError, match=f"batch_size 8 in {options['micro_batches']} micro_batches"):
        Fit(epochs=1, **options)
    assert Fit(epochs=1, batch_size=8, micro_batches=4).micro_batches == 4


# --- the step --------------------------------------------------------------------------------------


def test_clipping_scales_long_gradients_and_no_others():
    plain = classifier({"name": "cross_entropy"}, lr=1.0)
    metrics, gradient = step(plain, batch(2))
    norm = float(metrics["gradient_norm"])
    assert norm == pytest.approx(float(gradient.norm()), rel=1e-6)
    short = classifier({"name": "cross_entropy"}, lr=1.0, clip_norm=norm / 4)
    metrics, clipped = step(short, batch(2))
    assert float(metrics["gradient_norm"]) == norm
    torch.testing.assert_close(clipped, gradient / 4, rtol=1e-4, atol=1e-9)
    _, long = step(classifier({"name": "cross_entropy"}, lr=1.0, clip_norm=norm * 4), batch(2))
    assert torch.equal(long, gradient)


class Table(nn.Module):
    """A layer, its bias, and a table that asks to be spared."""

    def __init__(self, names=("table",)):
        super().__init__()
        self.linear = nn.Linear(2, 3)
        self.table = nn.Parameter(torch.ones(2, 2))
        self.names = names

    def no_weight_decay(self):
        return self.names


@pytest.mark.parametrize(("decay", "shrinks"), [("all", "all"), ("matrices", "linear.weight")])
def test_weight_decay_of_matrices_only(decay, shrinks):
    network = Table()
    optimizer = build_optimizer(AdamW(name="adamw", lr=0.1, weight_decay=0.5, decay=decay), network)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for name, p in network.named_parameters():
        factor = 1 - 0.1 * 0.5 if shrinks in ("all", name) else 1
        torch.testing.assert_close(p.detach(), factor * before[name])


def test_names_that_are_no_parameters_are_refused():
    options = AdamW(name="adamw", lr=0.1, decay="matrices")
    with pytest.raises(ValueError, match="names no parameters: tables"):
        build_optimizer(options, Table(("tables",)))


# --- curvature -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["preact_resnet18", "convnet", "imagenet_resnet50"])
def test_networks_say_whether_they_are_smooth(name):
    small = {"width": 2} if name != "convnet" else {"widths": [2]}
    for activation, found in (("relu", True), ("gelu", False), ("silu", False)):
        options = {"name": name, "activation": activation, **small}
        network = plugins.instantiate("models", plugins.resolve("models", options), (3, 8, 8), 2)
        assert piecewise_linear(network) is found


def test_networks_of_relus_only():
    for options, shape in (
        ({"name": "cifar_resnet18", "width": 2}, (3, 8, 8)),
        ({"name": "resnet50", "width": 2}, (3, 8, 8)),
        ({"name": "toy_mlp", "hidden": [3]}, (2,)),
    ):
        assert piecewise_linear(plugins.instantiate("models", plugins.resolve("models", options), shape, 2))
    assert not piecewise_linear(nn.Sequential(nn.Linear(2, 2), nn.GELU()))


@pytest.mark.parametrize("objective", ["gradient_norm", "edge_alignment", "cross_entropy"])
def test_a_fit_without_curvature_is_told_so(objective):
    options = {"name": objective} | ({} if objective == "cross_entropy" else {"weight": 1.0})
    model = {"name": "convnet", "widths": [3, 4]}
    sharp, smooth = (classifier(options, {**model, "activation": a}) for a in ("relu", "gelu"))
    assert smooth.notes == []
    if objective == "cross_entropy":
        assert sharp.notes == []
    else:
        (note,) = sharp.notes
        assert note.startswith(f"ReLU networks have no curvature: {objective} ")
        assert note.endswith("its collapse is a result")


# --- declarations ----------------------------------------------------------------------------------


@pytest.fixture
def tiny():
    found = Tiny()
    found.paper["runs"]["plain"] |= {
        "fit": {"epochs": 2, "batch_size": 60, "micro_batches": 4},
        "cost": {"devices": 2},
    }
    found.tier["packs"] = [{"name": "all", "stage": "train", "match": ["tiny.*"]}]
    return found


def test_fits_of_several_processes_have_jobs_of_their_own(tiny, tmp_path):
    jobs = {job.name: job for job in tiny.jobs(tmp_path) if job.stage == "train"}
    assert jobs.keys() == {"all_0", *(f"line_plain_s{seed}" for seed in range(3))}
    assert (jobs["line_plain_s0"].cost.devices, jobs["line_plain_s0"].cost.gpus) == (2, 2)


def test_the_number_of_processes_is_no_part_of_the_identity(tiny, tmp_path):
    def described():
        (job,) = [job for job in tiny.jobs(tmp_path) if job.name == "line_plain_s0" and job.stage == "train"]
        return pack.job_json(job), job.cost.devices, job.cost.gpus

    one = described()
    tiny.paper["runs"]["plain"]["cost"] = {"devices": 4, "gpus": 0}
    other = described()
    assert one[0] == other[0]
    assert other[1:] == (4, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cost": {"devices": 3}}, r"(?s)cost\.devices\s+found:\s+3.*a divisor of fit\.micro_batches \(4\)"),
        ({"fit": {"epochs": 2, "batch_size": 60}}, r"(?s)cost\.devices\s+found:\s+2.*micro_batches \(1\)"),
        ({"task": {
            "name": "autoencoder", "network": "mlp", "width": 2, "optimizer": {"name": "adam", "lr": 0.1},
        }}, r"(?s)fit\.micro_batches\s+found:\s+4.*1: task autoencoder"),
    ],
)  # fmt: skip
def test_processes_that_cannot_share_a_fit_are_refused(tiny, tmp_path, change, message):
    tiny.paper["runs"]["plain"] |= change
    with pytest.raises(ConfigError, match=message):
        tiny.jobs(tmp_path)


def test_only_fits_have_more_processes(tiny, tmp_path):
    tiny.paper["evaluations"]["clean"]["cost"] = {"devices": 2}
    with pytest.raises(
        ConfigError, match=r"(?s)cost\.devices\s+found:\s+2.*1: only fits have more processes"
    ):
        tiny.jobs(tmp_path)
