"""Class-conditional gradients and cosines, in float64, against one forward and one backward per class."""

import pytest
import torch
from networks import CLASSES, examples, flat_gradient, relative_error, smooth_convnet

from pagrepro import gradients

OF = pytest.mark.parametrize("gradient_of", ["logit", "log_probability"])


def reference(model, x, gradient_of, classes=range(CLASSES)):
    """One forward pass and one backward pass per class."""
    columns = []
    for t in classes:
        z = x.clone().requires_grad_()
        logits = model(z)
        value = logits[:, t] if gradient_of == "logit" else logits[:, t] - logits.exp().sum(1).log()
        columns.append(torch.autograd.grad(value.sum(), z)[0])
    return torch.stack(columns, 1)


@OF
@pytest.mark.parametrize("method", ["loop", "batched"])
@pytest.mark.parametrize("training", [True, False])
def test_equal_one_pass_per_class(gradient_of, method, training):
    model, (x, _, _) = smooth_convnet().train(training), examples()
    expected = reference(model, x, gradient_of)
    found = gradients.class_gradients(model, x, gradient_of, method=method)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    subset = torch.tensor([2, 0])
    found = gradients.class_gradients(model, x, gradient_of, subset, method=method)
    torch.testing.assert_close(found, expected[:, subset], rtol=1e-12, atol=1e-15)
    assert not found.requires_grad


def test_from_logits_keeps_the_graph_and_needs_no_parameters():
    model, (x, _, _) = smooth_convnet().eval().requires_grad_(False), examples()
    z = x.clone().requires_grad_()
    logits = model(z)
    first = gradients.class_gradients(logits, z)
    second = gradients.class_gradients(logits, z, create_graph=True)
    assert torch.equal(first, second)
    assert second.requires_grad
    with torch.no_grad():
        assert torch.equal(gradients.class_gradients(model, x), first)


def test_finite_differences_of_the_scores():
    model, (x, _, _) = smooth_convnet().eval(), examples()
    direction, h = torch.randn_like(x), 1e-6
    for gradient_of in ("logit", "log_probability"):
        high, low = (gradients.scores(model(x + s * h * direction), gradient_of) for s in (1, -1))
        slopes = (gradients.class_gradients(model, x, gradient_of) * direction[:, None]).flatten(2).sum(2)
        torch.testing.assert_close(slopes, (high - low) / (2 * h), rtol=1e-6, atol=1e-9)


def test_log_probability_gradients_are_linearly_dependent():
    # sum_t p_t grad log p_t = 0: why logits are the default.
    model, (x, _, _) = smooth_convnet().eval(), examples()
    v = gradients.class_gradients(model, x, "log_probability")
    p = model(x).softmax(1)[:, :, None, None, None]
    assert (p * v).sum(1).abs().max() < 1e-15
    assert (p * gradients.class_gradients(model, x)).sum(1).norm() > 1e-3


def test_input_gradient_is_per_example():
    model, (x, y, _) = smooth_convnet().eval(), examples()
    z = x.clone().requires_grad_()
    values = model(z).gather(1, y[:, None])[:, 0]
    expected = gradients.class_gradients(model, x)[torch.arange(len(y)), y]
    torch.testing.assert_close(gradients.input_gradient(values, z, create_graph=True), expected)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("floor", ["each", "product"])
def test_cosines_with_known_answers(floor):
    v = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, -3.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    u = torch.tensor([[1.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 7.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    found = gradients.cosine(v, u, floor=floor)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, -1.0, 0.5**0.5, 0.0]))
    torch.testing.assert_close(gradients.cosine(1e3 * v, 1e-3 * u, floor=floor), found)


def test_floors_differ_for_vanishing_vectors_only_as_documented():
    v = torch.tensor([[1e-7, 0.0]], dtype=torch.float64)
    u = torch.tensor([[1e-3, 0.0]], dtype=torch.float64)
    assert gradients.cosine(v, u, floor="each").item() == pytest.approx(1)
    assert gradients.cosine(v, u, floor="product", eps=1e-8).item() == pytest.approx(1e-10 / 1e-8)
    tiny = torch.tensor([[1e-14, 0.0]], dtype=torch.float64)
    assert gradients.cosine(tiny, u, floor="each").item() == pytest.approx(1e-2)
    # In fp32 the product of such vectors underflows; normalised first it does not.
    small = torch.tensor([[3e-11, 4e-11]])
    assert gradients.cosine(small, small).item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("floor", ["each", "product"])
def test_a_zero_direction_has_cosine_zero_and_no_gradient(floor):
    v = torch.randn(2, 3, requires_grad=True)
    found = gradients.cosine(v, torch.zeros(2, 3), floor=floor)
    assert (found == 0).all()
    assert (torch.autograd.grad(found.sum(), v)[0] == 0).all()
    zero = torch.zeros(2, 3, requires_grad=True)
    found = gradients.cosine(zero, v.detach(), floor=floor)
    assert torch.autograd.grad(found.sum(), zero)[0].isfinite().all()


def test_half_precision_is_computed_in_single():
    v = torch.full((1, 5000), 10.0, dtype=torch.float16)  # its squared norm overflows fp16
    found = gradients.cosine(v, v)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(1)


@OF
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("method", ["batched", "recompute"])
def test_all_methods_give_the_loops_parameter_gradient(gradient_of, training, method):
    model, (x, _, g) = smooth_convnet().train(training), examples()

    def penalty(method):
        z = x.clone().requires_grad_()
        values = gradients.scores(model(z), gradient_of)
        classes = torch.tensor([3, 0, 1])
        cosines = gradients.class_cosines(values, z, g[:, classes], classes, method=method)
        assert cosines.shape == (5, 3)
        return flat_gradient((1 - cosines).sum(), model)

    assert relative_error(penalty(method), penalty("loop")) < 1e-10


def test_recompute_runs_each_class_again_and_others_do_not():
    model, (x, _, g) = smooth_convnet().eval(), examples()
    runs = {}
    for method in ("loop", "recompute"):
        z = x.clone().requires_grad_()
        values = model(z)
        calls = []
        values.register_hook(lambda grad, calls=calls: calls.append(1))
        gradients.class_cosines(values, z, g, torch.arange(CLASSES), method=method).sum().backward()
        runs[method] = len(calls)
    assert runs["recompute"] - runs["loop"] == CLASSES


@pytest.mark.parametrize("call", [
    lambda v: gradients.scores(v, "probability"),
    lambda v: gradients.class_gradients(v, v, method="vmap"),
    lambda v: gradients.cosine(v, v, floor="sum"),
    lambda v: gradients.class_cosines(v, v, v, torch.arange(2), method="vmap"),
])  # fmt: skip
def test_unknown_choices_name_the_allowed_ones(call):
    with pytest.raises(ValueError, match="allowed"):
        call(torch.ones(2, 2, requires_grad=True))
