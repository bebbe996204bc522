"""Tiny smooth networks and plain reference formulas shared by the gradient tests."""

import torch
from torch import nn

IMAGE = (1, 6, 6)
CLASSES = 4


def smooth_convnet(seed=0):
    """Two convolutions with batch norm and GELU, float64, in train mode. Momentum 0: repeated forward
    passes leave the running statistics (random ones) alone, so the loss is a function of the weights."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, 1, 1), nn.BatchNorm2d(3, momentum=0.0), nn.GELU(),
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4, momentum=0.0), nn.GELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES),
    ).double()  # fmt: skip
    with torch.no_grad():
        for layer in (model[1], model[4]):
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.normal_()
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return model


def examples(n=5, seed=1):
    """x in [0, 1], y, and random directions for every class."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, *IMAGE, dtype=torch.float64, generator=generator)
    y = torch.randint(CLASSES, (n,), generator=generator)
    g = torch.randn(n, CLASSES, *IMAGE, dtype=torch.float64, generator=generator)
    return x, y, g


def flat_gradient(loss, model):
    """Parameter gradient as one vector."""
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in gradients])


def relative_error(a, b):
    return float((a - b).norm() / b.norm())


def slope(function, model, direction, h=1e-5):
    """Central difference of function() along a direction in parameter space."""
    origin = nn.utils.parameters_to_vector(model.parameters()).detach()
    values = []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(origin + sign * h * direction, model.parameters())
        values.append(float(function().detach()))
    nn.utils.vector_to_parameters(origin, model.parameters())
    return (values[0] - values[1]) / (2 * h)


def with_batch_statistics(model, x):
    """Make the running statistics those of this batch (biased variance), as constants."""
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    inputs = {}
    hooks = [m.register_forward_pre_hook(lambda m, args: inputs.__setitem__(m, args[0])) for m in layers]
    with torch.no_grad():
        model(x)
    for hook, layer in zip(hooks, layers):
        hook.remove()
        # New tensors: writing in place would invalidate graphs that have saved the old ones.
        layer.running_mean = inputs[layer].mean((0, 2, 3))
        layer.running_var = inputs[layer].var((0, 2, 3), correction=0)
