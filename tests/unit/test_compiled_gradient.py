"""Double backward by torch.func inside a compiled function: equal to the plain one, or refused.

What inductor, the compiler itself, makes of it is compared on GPUs only: on a CPU, compiling takes too long.
"""

import pytest
import torch
import torch.nn.functional as F
from networks import examples, flat_gradient, relative_error, smooth_convnet
from torch import nn

from pagrepro import compiled_gradient as module
from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.errors import DataError
from pagrepro.layers import FrozenBatchNorm2d


@pytest.fixture(autouse=True)
def forget():
    yield
    torch.compiler.reset()


@pytest.fixture
def traced(monkeypatch):
    """Forward and backward pass traced together, as for inductor."""
    monkeypatch.setattr(module, "BACKEND", "aot_eager")


@pytest.fixture
def eager(monkeypatch):
    """The function traced, its backward pass not."""
    monkeypatch.setattr(module, "BACKEND", "eager")


def objective(**options):
    options = {"name": "gradient_norm", "weight": 0.7, "norm": "l1", **options}
    return plugins.instantiate("objectives", plugins.resolve("objectives", options))


def batch(n=5, soft=False, progress=0.0):
    x, y, _ = examples(n)
    mixed = 0.6 * F.one_hot(y, 4).double() + 0.1 if soft else None
    return Batch(x, y, torch.arange(n), soft=mixed, progress=progress)


def frozen():
    """The small network with running statistics that are used and never updated, in train mode."""
    model = smooth_convnet()
    for k in (1, 4):
        layer = FrozenBatchNorm2d(model[k].num_features).double()
        layer.load_state_dict(model[k].state_dict())
        model[k] = layer
    return model.train()


def check_equal(model, given, **options):
    """All terms and the gradient of the weights, against double backward."""
    expected = objective(**options)(model, given, torch.Generator().manual_seed(2))
    found = objective(compiled=True, **options)(model, given, torch.Generator().manual_seed(2))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=0)
    wanted = flat_gradient(expected["loss"].mean(), model)
    assert relative_error(flat_gradient(found["loss"].mean(), model), wanted) < 1e-12
    assert found["loss"].requires_grad
    assert not found["penalty"].requires_grad
    assert not given.x.requires_grad


def test_equals_double_backward_in_eval_mode(traced):
    check_equal(smooth_convnet().eval(), batch())


def test_equals_double_backward_with_frozen_normalisation_and_soft_labels(traced):
    check_equal(frozen(), batch(soft=True, progress=0.2), ramp=0.5, cross_entropy_weight=0.8)


@pytest.mark.parametrize("of", ["logit_sum", "probability_label"])
def test_other_scalars_at_noise(eager, of):
    check_equal(smooth_convnet().eval(), batch(), of=of, norm="squared_l2", at="gaussian", noise=0.1)


def test_weights_batches_and_networks_may_change(eager):
    """Nothing of the first call is kept but the code, and what earlier fits compiled does not count."""
    with torch._dynamo.config.patch(recompile_limit=2):
        check_changes()


def check_changes():
    run, plain = objective(compiled=True), objective()
    model = frozen()
    for n in (5, 3):
        with torch.no_grad():
            model[0].weight += 0.1
        found, expected = (f(model, batch(n), torch.Generator())["loss"] for f in (run, plain))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for n in (2, 4):
        assert len(objective(compiled=True)(model, batch(n), torch.Generator())["loss"]) == n


def test_twice_differentiating_a_compiled_network_is_what_torch_refuses():
    """The reason for all this; if it ever works, this module may go."""
    model, x = torch.compile(smooth_convnet().eval(), backend="aot_eager"), batch().x.requires_grad_()
    first = torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        torch.autograd.grad(first.sum(), x)


def test_train_mode_normalisation_is_refused():
    with pytest.raises(DataError, match=r"2 layers.*bn: frozen"):
        objective(compiled=True)(smooth_convnet(), batch(), torch.Generator())


def test_several_processes_are_refused(monkeypatch):
    class Parallel(nn.Sequential):
        pass

    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", Parallel)
    with pytest.raises(DataError, match="one process"):
        objective(compiled=True)(Parallel(smooth_convnet().eval()), batch(), torch.Generator())


def test_the_jacobian_is_not_compiled():
    with pytest.raises(ValueError, match="compiled"):
        objective(compiled=True, of="probability_jacobian")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_inductor_on_a_gpu():
    model, given = frozen().cuda(), batch()
    given.x, given.y = given.x.cuda(), given.y.cuda()
    check_equal(model, given)
