"""Double backward inside a compiled function: equal to the plain one, with batch statistics too, or refused.

"aot_eager" traces forward and backward pass together, as inductor does, and "eager" the function alone; both
in float64. Inductor, the compiler itself, is compared in `test_fast_paths.py`, for one network.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import CLASSES, IMAGE, examples, flat_gradient, relative_error, smooth_convnet
from torch import nn

from pagrepro import compiling, plugins
from pagrepro.augment import draw
from pagrepro.augment_options import Augment
from pagrepro.batch import Batch
from pagrepro.errors import DataError
from pagrepro.layers import FrozenBatchNorm2d

NORM = {"name": "gradient_norm", "weight": 0.7, "norm": "l1"}
COSINE = {"name": "cosine_alignment", "weight": 0.4}
SUBSET = {**COSINE, "classes": 2}  # anew in every step
PENALTY = {"name": "alignment_penalty", "weight": 0.6}
EDGE = {"name": "edge_alignment", "weight": 0.8}


@pytest.fixture(autouse=True)
def forget():
    yield
    torch.compiler.reset()


@pytest.fixture
def traced(monkeypatch):
    """Forward and backward pass traced together, as for inductor."""
    monkeypatch.setattr(compiling, "BACKEND", "aot_eager")


@pytest.fixture
def eager(monkeypatch):
    """The function traced, its backward pass not."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")


def objective(options, **more):
    return plugins.instantiate("objectives", plugins.resolve("objectives", {**options, **more}))


def batch(n=5, soft=False, progress=0.3, augment=None):
    x, y, g = examples(n)
    mixed = 0.6 * F.one_hot(y, CLASSES).double() + 0.1 if soft else None
    drawn = augment and draw(augment, n, IMAGE, torch.Generator().manual_seed(4))
    fields = {"targets": lambda index, x: g[index]}
    return Batch(x, y, torch.arange(n), drawn, fields, soft=mixed, progress=progress)


def training():
    """Batch statistics, and running ones that move. Small: tracing takes a second or more per layer."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 3, 2, 1), nn.BatchNorm2d(2, momentum=0.3), nn.GELU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(18, CLASSES)).double()


def frozen():
    """Running statistics that are used and never updated, in train mode."""
    model = training()
    model[1] = FrozenBatchNorm2d(2).double()
    return model.train()


def assert_equal(model, given, options, steps=1, **compiled):
    """Terms, gradients, weights and buffers of so many steps of gradient descent, against double backward."""
    plain, run, other = objective(options), objective(options, compiled=True), copy.deepcopy(model)
    for step in range(steps):
        terms = [f(m, given, torch.Generator().manual_seed(step)) for f, m in ((plain, model), (run, other))]
        assert terms[0].keys() == terms[1].keys()
        for name, value in terms[0].items():
            torch.testing.assert_close(terms[1][name], value, rtol=1e-10, atol=1e-14)
            assert terms[1][name].requires_grad == value.requires_grad == (name == "loss")
        gradients = [flat_gradient(t["loss"].mean(), m) for t, m in zip(terms, (model, other))]
        assert relative_error(gradients[1], gradients[0]) < 1e-10
        assert not given.x.requires_grad
        for m, gradient in zip((model, other), gradients):
            weights = nn.utils.parameters_to_vector(m.parameters()).detach()
            nn.utils.vector_to_parameters(weights - 0.1 * gradient, m.parameters())
    for (name, value), found in zip(model.state_dict().items(), other.state_dict().values()):
        torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-14, msg=name)
    return other


@pytest.mark.parametrize("options", [NORM, SUBSET, PENALTY, EDGE], ids=lambda o: o["name"])
def test_three_steps_with_batch_statistics(traced, options):
    """Weights, gradients and running statistics to 1e-10; one update of the statistics per step."""
    model = assert_equal(training(), batch(), options, steps=3)
    assert model[1].num_batches_tracked == 3


OTHERS = {
    "frozen, soft labels": (frozen, {"soft": True}, {**NORM, "ramp": 0.5, "cross_entropy_weight": 0.8}),
    "noise": (
        training,
        {},
        {**NORM, "of": "logit_sum", "norm": "squared_l2", "at": "gaussian", "noise": 0.1},
    ),
    "running statistics": (training, {}, {**COSINE, "batchnorm": "eval"}),
    "constant statistics": (
        training,
        {},
        {**COSINE, "batchnorm": "frozen", "gradient_of": "log_probability"},
    ),
    "augmented": (training, {"augment": Augment(crop_padding=2, flip=True)}, COSINE),
    "saliency": (training, {}, {**EDGE, "gradient_of": "saliency", "class_choice": "label"}),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_options(eager, case):
    network, given, options = OTHERS[case]
    assert_equal(network(), batch(**given), options)


@pytest.mark.parametrize("gradient", ["ell", "loss"])
def test_two_classes_need_no_jacobian(eager, gradient):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2))
    given = batch()
    given.y = given.y % 2
    assert_equal(model.double(), given, PENALTY | {"gradient": gradient}, steps=2)


def test_weights_batches_modes_and_networks_may_change(eager):
    """Nothing of the first call is kept but the code, and what earlier fits compiled does not count."""
    with torch._dynamo.config.patch(recompile_limit=2):
        run, plain = objective(NORM, compiled=True), objective(NORM)
        model = training()
        for n, train in ((5, True), (3, False)):
            model.train(train)
            with torch.no_grad():
                model[0].weight += 0.1
            found, expected = (f(model, batch(n), torch.Generator())["loss"] for f in (run, plain))
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
        assert len(objective(NORM, compiled=True)(model, batch(2), torch.Generator())["loss"]) == 2


def test_twice_differentiating_a_compiled_network_is_what_torch_refuses():
    """The reason for all this; if it ever works, this module may go."""
    model, x = torch.compile(smooth_convnet().eval(), backend="aot_eager"), batch().x.requires_grad_()
    first = torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        torch.autograd.grad(first.sum(), x)


def test_several_processes_are_refused(monkeypatch):
    class Parallel(nn.Sequential):
        pass

    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", Parallel)
    with pytest.raises(DataError, match="one process"):
        objective(NORM, compiled=True)(Parallel(smooth_convnet().eval()), batch(), torch.Generator())


@pytest.mark.parametrize(
    "options",
    [
        {**NORM, "of": "probability_jacobian"},
        {**COSINE, "method": "recompute"},
        {**COSINE, "shared_forward": False},
        {**NORM, "compiled": "graphs"},
    ],
)
def test_what_is_not_compiled_is_refused(options):
    with pytest.raises(ValueError, match="compiled"):
        objective({"compiled": True, **options})


def test_runs_without_the_option_keep_their_identity():
    for options in (COSINE, PENALTY, EDGE):
        assert "compiled" not in plugins.resolve("objectives", options)
        assert "compiled" not in plugins.resolve("objectives", {**options, "compiled": False})
        assert (
            plugins.resolve("objectives", {**options, "compiled": "cudagraphs"})["compiled"] == "cudagraphs"
        )
    assert plugins.resolve("objectives", NORM)["compiled"] is False  # as it always was


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("options", [NORM, COSINE, PENALTY, EDGE], ids=lambda o: o["name"])
@pytest.mark.parametrize("compiled", [True, "cudagraphs"])
def test_inductor_on_a_gpu(options, compiled):
    given = batch()
    given.x, given.y, given.index = given.x.cuda(), given.y.cuda(), given.index.cuda()
    g = examples(5)[2].cuda()
    given.fields = {"targets": lambda index, x: g[index]}
    plain, run = objective(options), objective(options, compiled=compiled)
    model = training().cuda()
    other = copy.deepcopy(model)
    for step in range(3):
        compiling.step_begins(compiled)
        found, expected = (
            f(m, given, torch.Generator("cuda").manual_seed(step)) for f, m in ((run, other), (plain, model))
        )
        gradients = [flat_gradient(t["loss"].mean(), m) for t, m in ((found, other), (expected, model))]
        assert relative_error(*gradients) < 1e-10
    for name, value in model.named_buffers():
        torch.testing.assert_close(other.get_buffer(name), value)
