"""Projection to a generator's manifold, and the fields of generated directions and their evaluation."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from linear_models import request
from tiny_gans import gan_run, tiny_gan
from torch import nn

from pagrepro import plugins
from pagrepro.errors import DataError, RangeError, StateError
from pagrepro.evaluations import direction_similarity
from pagrepro.fields import gan_projection, generator_residual
from pagrepro.inputs import Loader
from pagrepro.layout import Layout
from pagrepro.load import load_field
from pagrepro.make_field import make_field, shard_rows
from pagrepro.projection import project, projection_loss
from pagrepro.request import FieldRequest, LoadedField, LoadedResult, LoadedRun
from pagrepro.spec import spec_hash
from pagrepro.storage import save_tensors, write_json

CPU = torch.device("cpu")
CLASSES = 4
SHORT = {"weight": 0.5, "steps": 6, "regularised_steps": 3}


def images(n=6, seed=3):
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x, torch.arange(n) % CLASSES


def field_request(x, y, rows=None, classes=CLASSES, low=0.0, high=1.0, **inputs):
    rows = torch.arange(len(x)) if rows is None else rows
    return FieldRequest(x, y, classes, rows, 0, low, high, CPU, inputs)


# --- the optimisation ----------------------------------------------------------------------------------


def test_loss_by_hand():
    made, x = torch.tensor([[[0.5, 1.0]]]), torch.tensor([[[0.0, 0.0]]])
    z = torch.tensor([[1.0, 2.0, 2.0]])
    # In [-1, 1] the differences are 1 and 2.
    expected = (1 + 4) / 2
    assert projection_loss(made, x, z, 0.0, unit=0.5).item() == pytest.approx(expected)
    assert projection_loss(made, x, z, 0.1, unit=0.5).item() == pytest.approx(expected + 0.1 * 9 / 3)
    by_pixels = projection_loss(made, x, z, 0.1, "x", unit=0.5)
    assert by_pixels.item() == pytest.approx(expected + 0.1 * 9 / 2)


def by_hand(generator, x, c, weight, steps, regularised_steps, lr):
    """One pair: Adam written out, begun anew for the second phase."""
    z = torch.zeros(1, generator.latent, dtype=x.dtype, requires_grad=True)

    def loss(penalty):
        error = 2 * (generator(z, torch.tensor([c])) - x)
        return error.square().mean() + penalty * z.square().sum() / z.shape[1]

    for count, penalty in ((steps, 0.0), (regularised_steps, weight)):
        first, second = torch.zeros_like(z), torch.zeros_like(z)
        for k in range(1, count + 1):
            (g,) = torch.autograd.grad(loss(penalty), z)
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            update = first / (1 - 0.9**k) / ((second / (1 - 0.999**k)).sqrt() + 1e-8)
            z = (z - lr * update).detach().requires_grad_()
    return generator(z, torch.tensor([c])).detach()[0], loss(weight).item()


def test_all_pairs_in_one_batch_equal_one_by_one():
    """Image by image and class by class, with Adam written out in float64."""
    generator, (x, _) = gan_run().model, images(3)
    pairs = [(i, c) for i in range(3) for c in range(CLASSES)]
    rows, classes = (torch.tensor(part) for part in zip(*pairs))
    options = {"weight": 0.5, "steps": 12, "regularised_steps": 7, "lr": 0.2}
    made, losses = project(generator, x[rows], classes, **options)
    for k, (i, c) in enumerate(pairs):
        expected, loss = by_hand(generator, x[i : i + 1], c, **options)
        torch.testing.assert_close(made[k], expected, rtol=1e-10, atol=1e-10)
        assert losses[k].item() == pytest.approx(loss, rel=1e-10)
    assert not made.requires_grad


def test_images_on_the_manifold_are_found_again():
    generator = gan_run().model
    z = 0.7 * torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = generator(z, torch.arange(4)).detach()
    start = projection_loss(generator(0 * z, torch.arange(4)), x, 0 * z, 0.0, unit=0.5)
    _, losses = project(generator, x, torch.arange(4), 0.0, steps=200, regularised_steps=0, lr=0.05)
    assert bool((losses < 0.01 * start).all())


def test_penalty_draws_the_latent_to_zero():
    generator, (x, y) = gan_run().model, images(4)
    centre = generator(torch.zeros(4, 5, dtype=torch.float64), y)
    far = [
        (project(generator, x, y, weight, steps=40, regularised_steps=60)[0] - centre).norm().item()
        for weight in (0.0, 100.0)
    ]
    assert far[1] < 0.2 * far[0]


def test_weights_are_normalised_once_and_stay_as_they_are(monkeypatch):
    generator, (x, y) = gan_run().model, images(4)
    layer = generator.generator.last.parametrizations.weight[0]
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    calls, forward = [], type(layer).forward
    monkeypatch.setattr(type(layer), "forward", lambda self, w: calls.append(self) or forward(self, w))
    with torch.autocast("cpu", torch.bfloat16):
        made, _ = project(generator, x, y, **SHORT)
    assert made.dtype == torch.float64
    assert len(calls) == len(set(calls)) == 5  # linear, two convolutions and a shortcut, the last one
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


# --- the field of projections ----------------------------------------------------------------------------


def test_field_of_all_other_classes():
    (x, y), run = images(), gan_run()
    config = gan_projection.Config(**SHORT, batch=5)
    tensors = gan_projection.compute(config, field_request(x, y, generator=run))
    assert tensors["classes"][:3].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3]]
    assert tensors["images"].shape == (6, 3, 1, 8, 8)
    assert tensors["images"].dtype == tensors["losses"].dtype == torch.float32
    some, rows = torch.rand(2, 1, 8, 8, dtype=torch.float64), torch.tensor([4, 1])
    directions = gan_projection.read(config, tensors, rows, some)
    assert directions.shape == (2, CLASSES, 1, 8, 8)
    assert directions.dtype == torch.float64
    for i, row in enumerate(rows.tolist()):
        for c in range(CLASSES):
            if c == y[row]:
                assert not directions[i, c].any()
                continue
            made, loss = project(run.model, x[row : row + 1], torch.tensor([c]), **SHORT)
            place = tensors["classes"][row].tolist().index(c)
            torch.testing.assert_close(directions[i, c], made[0] - some[i], atol=1e-6, rtol=0)
            assert tensors["losses"][row, place].item() == pytest.approx(loss.item(), rel=1e-5)


def closest(*classes):
    return LoadedResult("closest", "run", {}, {"closest": np.array(classes)})


def test_field_of_the_closest_classes_only():
    (x, y), run = images(4), gan_run()
    config = gan_projection.Config(**SHORT)
    pairs = closest([2, 1], [0, 3], [3, 0], [1, 2])
    rows = torch.tensor([1, 2])
    tensors = gan_projection.compute(config, field_request(x, y, rows, generator=run, pairs=pairs))
    assert tensors["classes"].tolist() == [[0, 3], [3, 0]]
    # Rows of a shard; the one of the split is read where shards are joined.
    directions = gan_projection.read(config, tensors, torch.tensor([1]), x[2:3])
    assert [bool(d.any()) for d in directions[0]] == [True, False, False, True]
    everything = gan_projection.compute(config, field_request(x, y, rows, generator=run))
    whole = gan_projection.read(config, everything, torch.tensor([1]), x[2:3])
    torch.testing.assert_close(directions[0, [0, 3]], whole[0, [0, 3]])


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        (closest([1], [0]), "of 2 examples, but the split has 4"),
        (closest([1], [1], [0], [0]), "own class"),
        (closest([1], [0], [-1], [0]), "own class, or one that is not there"),
    ],
)
def test_pairs_of_something_else_are_refused(pairs, text):
    x, y = images(4)
    with pytest.raises(DataError, match=text):
        gan_projection.compute(
            gan_projection.Config(**SHORT), field_request(x, y, generator=gan_run(), pairs=pairs)
        )


def test_generators_of_another_kind_and_images_of_another_range_are_refused():
    x, y = images(4)
    with pytest.raises(DataError, match="a run of task conditional_gan"):
        gan_projection.compute(
            gan_projection.Config(**SHORT), field_request(x, y, generator=LoadedRun("c", nn.Identity(), {}))
        )
    with pytest.raises(RangeError, match="images to be projected"):
        gan_projection.compute(gan_projection.Config(**SHORT), field_request(2 * x, y, generator=gan_run()))


def test_stored_uint8_images_and_half_precision():
    x, y = images(4)
    stored, run = (255 * x).round().to(torch.uint8), gan_run(torch.float32)
    tensors = {
        dtype: gan_projection.compute(
            gan_projection.Config(**SHORT, dtype=dtype), field_request(stored, y, generator=run)
        )
        for dtype in ("float32", "float16")
    }
    assert tensors["float16"]["images"].dtype == torch.float16
    torch.testing.assert_close(
        tensors["float16"]["images"].float(), tensors["float32"]["images"], atol=1e-3, rtol=0
    )


def test_memory_does_not_grow_with_the_number_of_images(monkeypatch):
    """Never more than `batch` pairs are in work; the last are those that are left."""
    sizes = []

    def counted(generator, x, classes, **options):
        sizes.append(len(x))
        return x, torch.zeros(len(x))

    monkeypatch.setattr(gan_projection, "project", counted)
    x, y = images(50)
    gan_projection.compute(gan_projection.Config(**SHORT, batch=16), field_request(x, y, generator=gan_run()))
    assert max(sizes) == 16
    assert sum(sizes) == 150


# --- shards, and runs from the disk ----------------------------------------------------------------------


DIGITS = {
    "name": "digits", "data": {"name": "digits", "size": 8, "upsampling": "bilinear", "train_per_class": 2},
    "classes": 10, "shape": [1, 8, 8], "low": 0.0, "high": 1.0, "seed": None, "files": {},
}  # fmt: skip


@pytest.fixture
def finished(tmp_path):
    """A tier with a finished conditional GAN and the member that makes a field of three shards with it."""
    layout = Layout(tmp_path / "results", tmp_path / "resources")
    task = plugins.resolve(
        "tasks", {"name": "conditional_gan", "width": 6, "latent": 5, "blocks": 3, "halvings": 1}
    )
    spec = {"task": task, "dataset": DIGITS, "seed": 0}
    network = tiny_gan(classes=10)
    save_tensors(layout.weights("gan"), network.state_dict())
    write_json(layout.run_json("gan"), {"spec": spec, "spec_hash": spec_hash(spec), "status": "complete"})
    field = plugins.resolve("fields", {"name": "gan_projection", **SHORT, "batch": 64})
    generator = {"run": "gan", "weights": "final", "hash": spec_hash(spec)}
    content = {
        "field": field, "dataset": DIGITS, "seed": 0, "shards": 3, "inputs": {"generator": generator},
        "split": {"name": "train", "part": "train", "indices": None, "sha256": None},
    }  # fmt: skip
    return layout, {"name": "projections", "spec": content, "revisions": {}}, network


def test_a_field_that_is_stopped_keeps_its_shards(finished, monkeypatch):
    layout, member, _ = finished
    rows, compute = [], gan_projection.compute

    def stopping(config, request):
        rows.append(request.rows.tolist())
        if len(rows) == 2:
            raise KeyboardInterrupt
        return compute(config, request)

    monkeypatch.setattr(gan_projection, "compute", stopping)
    with pytest.raises(KeyboardInterrupt):
        make_field(member, Loader(layout, CPU))
    assert not layout.field_json("projections").exists()
    make_field(member, Loader(layout, CPU))
    shards = [shard_rows(20, 3, k).tolist() for k in range(3)]
    assert rows == [shards[0], shards[1], shards[1], shards[2]]
    read = load_field(layout, "projections").read
    x = torch.zeros(2, 1, 8, 8)
    directions = read(torch.tensor([19, 3]), x)
    assert directions.shape == (2, 10, 1, 8, 8)
    # Training images are in order of classes, two of each.
    assert [directions[i].flatten(1).any(1).tolist().index(False) for i in range(2)] == [9, 1]


def test_a_generator_of_another_spec_is_refused(finished):
    layout, member, _ = finished
    member["spec"]["inputs"]["generator"]["hash"] = "0" * 16
    with pytest.raises(StateError, match="spec 0000000000000000 is wanted"):
        make_field(member, Loader(layout, CPU))


# --- residual generators ---------------------------------------------------------------------------------


class Towards(nn.Module):
    """Residual: (target + 2 source) times x."""

    def forward(self, x, target, source):
        return (target + 2 * source)[:, None].to(x) * x


def test_field_of_residuals():
    x, y = torch.rand(5, 3, dtype=torch.float64) - 0.5, torch.tensor([0, 1, 1, 0, 1])
    config, rows = generator_residual.Config(batch_size=2), torch.tensor([0, 1, 4])
    run = LoadedRun("g", Towards(), {})
    tensors = generator_residual.compute(config, field_request(x, y, rows, 2, None, None, generator=run))
    assert tensors["targets"].tolist() == [1, 0, 0]
    some = torch.rand(2, 3)
    directions = generator_residual.read(config, tensors, torch.tensor([2, 0]), some)
    assert directions.dtype == torch.float32
    torch.testing.assert_close(directions[0, 0], 2 * x[4].float())
    torch.testing.assert_close(directions[1, 1], x[0].float())
    assert not directions[0, 1].any()
    assert not directions[1, 0].any()
    with pytest.raises(DataError, match="2 classes, found 3"):
        generator_residual.compute(config, field_request(x, y, rows, 3, None, None, generator=run))


# --- evaluation ------------------------------------------------------------------------------------------


def direction_field(directions):
    return LoadedField("f", lambda rows, x: directions[rows].to(x), {})


def test_similarity_by_hand():
    """Two classes in the plane. Class 0 at (1, 0) is moved by (1, 1) instead of (2, 0); class 1 at (0, 2) by
    (0, -1), which is right but for its length, and by (3, 0), which is at a right angle."""
    x, y = [[1.0, 0.0], [0.0, 2.0], [0.0, 2.0]], [0, 1, 1]
    estimate, truth = torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)
    estimate[0, 1], estimate[1, 0], estimate[2, 0] = torch.tensor([[1.0, 1.0], [0.0, -1.0], [3.0, 0.0]])
    truth[0, 1], truth[1, 0], truth[2, 0] = torch.tensor([[2.0, 0.0], [0.0, -0.5], [0.0, -0.5]])
    fields = {"estimate": direction_field(estimate), "truth": direction_field(truth)}
    found = direction_similarity.measure(
        direction_similarity.Config(examples=1), request(nn.Identity(), x, y, batch_size=2, inputs=fields)
    )
    root = math.sqrt(0.5)
    expected = {
        "cosine": (root + 1 + 0) / 3, "cosine_class0": root, "cosine_class1": 0.5,
        "norm_x_class0": 1, "norm_x_class1": 2,
        "norm_direction_class0": math.sqrt(2), "norm_direction_class1": 2,
        "norm_moved_class0": math.sqrt(5), "norm_moved_class1": (1 + math.sqrt(13)) / 2,
        "norm_truth_class0": 3, "norm_truth_class1": 1.5, "missing": 0,
    }  # fmt: skip
    assert found.values == pytest.approx(expected, abs=1e-6)
    assert found.arrays["cosine"].tolist() == pytest.approx([root, 1, 0], abs=1e-6)
    assert found.arrays["labels"].tolist() == [0, 1]
    assert found.arrays["x"].tolist() == [[1, 0], [0, 2]]
    assert found.arrays["moved"].tolist() == [[[1, 0], [2, 1]], [[0, 1], [0, 2]]]
    assert found.arrays["truth"].tolist() == [[[1, 0], [3, 0]], [[0, 1.5], [0, 2]]]
    assert found.flags == []


def test_similarity_without_a_truth_and_with_pairs_missing():
    x, y = torch.ones(3, 2), [0, 1, 2]
    estimate = torch.zeros(3, 3, 2)
    estimate[0, 1], estimate[0, 2], estimate[1, 2] = torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.0, -1.0]])
    found = direction_similarity.measure(
        direction_similarity.Config(),
        request(nn.Identity(), x, y, classes=3, inputs={"estimate": direction_field(estimate)}),
    )
    assert found.values["missing"] == pytest.approx(0.5)
    assert found.flags == ["directions_missing"]
    assert found.values["norm_direction_class0"] == pytest.approx(2)
    assert found.values["norm_moved_class1"] == pytest.approx(1)
    assert math.isnan(found.values["norm_direction_class2"])
    assert found.values["norm_x_class2"] == pytest.approx(math.sqrt(2))
    assert not any("cosine" in name or "truth" in name for name in (*found.values, *found.arrays))
    assert found.arrays["moved"].shape == (3, 3, 2)


def test_finished_generators_have_names_in_tables():
    from pagrepro.expand import network_label

    tasks = {
        "unet w8": {"name": "residual_generator", "generator": {"name": "unet", "width": 8, "levels": 2}},
        "residual_mlp": {"name": "residual_generator", "generator": {"name": "residual_mlp"}},
        "conditional_gan w16": {"name": "conditional_gan", "width": 16},
        "toy_mlp": {"name": "classifier", "model": {"name": "toy_mlp"}},
        "cifar_resnet18 w8": {"name": "classifier", "model": {"name": "cifar_resnet18", "width": 8}},
    }
    assert {network_label(task) for task in tasks.values()} == tasks.keys()
    assert all(network_label(task) == label for label, task in tasks.items())


def test_evaluation_takes_a_network_that_is_no_classifier():
    """The model is not asked; a generator with three arguments is a model like any other here."""
    residual = direction_field(torch.ones(2, 2, 3))
    asked = request(Towards(), torch.zeros(2, 3), [0, 1], inputs={"estimate": residual})
    found = direction_similarity.measure(direction_similarity.Config(), asked)
    assert found.values["norm_moved_class0"] == pytest.approx(math.sqrt(3))


# --- the benchmark ---------------------------------------------------------------------------------------


def test_benchmark_compares_equal_losses_and_wants_a_quarter_of_the_time(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    benchmark = importlib.import_module("gan_projection")
    generator, (x, _) = gan_run(shape=(1, 8, 8), classes=benchmark.CLASSES).model, images(2)
    losses = {name: variant(generator, x, 4) for name, variant in benchmark.VARIANTS.items()}
    expected = losses.pop(benchmark.ONE_BY_ONE)
    assert expected.shape == (2, benchmark.CLASSES)
    assert expected.std() > 1e-4
    for found in losses.values():
        torch.testing.assert_close(found, expected, rtol=0, atol=benchmark.ERROR_LIMIT)
    rows = [{"variant": name, "time ratio": 0.3, "error": 1e-16} for name in benchmark.VARIANTS]
    assert [bar["met"] for bar in benchmark.bars(rows)] == [True, False]
    rows[0] |= {"time ratio": 0.2, "error": 1e-9}
    assert [bar["met"] for bar in benchmark.bars(rows)] == [False, True]
