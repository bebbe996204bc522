"""Alignment of the input gradients of all ten classes: one shared forward pass against repeated images.

Ganz et al. (2022), eq. 1 and 2: L = CE + lambda sum_t (1 - cos(d f(x)_t / dx, g(x, t))). The gradients of
all classes can be had in two ways: one forward pass and one backward pass per class (here), or every
image C times in one batch, each copy differentiated for its own class, next to a separate pass for the
cross-entropy (as public code does). Both are compared with the slowest and plainest way in float64:
a forward pass and a backward pass of its own for every class.
"""

import copy
import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _measure import bar, compared, gflop, note, parameter_gradient, relative_error
from pagrepro import plugins
from pagrepro.augment import Augment, Draw, draw
from pagrepro.batch import Batch
from pagrepro.batchnorm import batch_norm_mode

NAME = "aligning the gradients of all ten classes (ResNet-18, as for CIFAR-10)"

CLASSES = 10
CHANNELS = 3
WEIGHT = 0.5  # lambda; the size of the penalty beside the cross-entropy
FLOP_LIMIT = 12.0  # plain steps; the other modes take a forward pass of their own and have no such bar
FEWER = 0.99  # "fewer operations than repeated images"
ERROR_LIMIT = 1e-10  # of the parameter gradient, float64
PLAIN = "plain cross-entropy"
OURS = ("loop, train BN", "batched, train BN", "recompute, train BN", "loop, eval BN")
REPEATED = ("repeated images, train BN", "repeated images, eval BN")

Loss = Callable[[nn.Module, Batch], Tensor]


# --- the variants: (model, batch) -> mean loss ---------------------------------------------------


def project_objective(name: str, **options) -> Loss:
    """The project's own objective, as the training loop calls it."""
    spec = plugins.resolve("objectives", {"name": name, **options})
    objective = plugins.instantiate("objectives", spec)
    return lambda model, batch: objective(model, batch, torch.Generator(batch.x.device))["loss"].mean()


def repeated_images(model: nn.Module, batch: Batch, mode: str) -> Tensor:
    """Every image C times, copy t differentiated for class t; the cross-entropy from a pass of its own.
    Right as long as examples do not interact, which in train-mode batch norm they do."""
    cross_entropy = F.cross_entropy(model(batch.augmented()), batch.y)
    copies = batch.x.repeat_interleave(CLASSES, 0).requires_grad_()
    own_class = torch.arange(CLASSES, device=copies.device).repeat(len(batch.x))
    rows, columns = (z.repeat_interleave(CLASSES, 0) for z in (batch.draw.rows, batch.draw.columns))
    seen = Draw(rows, columns, batch.draw.padding, batch.draw.fill).apply(copies)
    with batch_norm_mode(model, mode):
        chosen = model(seen).gather(1, own_class[:, None])
    gradients = torch.autograd.grad(chosen.sum(), copies, create_graph=True)[0]
    targets = batch.fields["targets"](batch.index, batch.x).flatten(0, 1)
    cosines = F.cosine_similarity(gradients.flatten(1), targets.flatten(1), dim=1)
    return cross_entropy + WEIGHT * (1 - cosines).view(-1, CLASSES).sum(1).mean()


def variants() -> dict[str, Loss]:
    """Loss by name, the plain step first: everything is measured in units of it. A step is the parameter
    gradient of the loss; the optimizer's update, the same for all, is left out."""
    found = {PLAIN: project_objective("cross_entropy")}
    for name in OURS:
        method, mode = name.removesuffix(" BN").split(", ")
        found[name] = project_objective("cosine_alignment", weight=WEIGHT, method=method, batchnorm=mode)
    for mode, name in zip(("train", "eval"), REPEATED):
        found[name] = functools.partial(repeated_images, mode=mode)
    return found


def class_by_class(model: nn.Module, batch: Batch, mode: str) -> Tensor:
    """Parameter gradient of eq. 1, one forward and one double backward pass per class, written out."""
    total = parameter_gradient(F.cross_entropy(model(batch.augmented()), batch.y), model)
    targets = batch.fields["targets"](batch.index, batch.x)
    for t in range(CLASSES):
        x = batch.x.clone().requires_grad_()
        with batch_norm_mode(model, mode):
            logit = model(batch.draw.apply(x))[:, t]
        v = torch.autograd.grad(logit.sum(), x, create_graph=True)[0].flatten(1)
        u = targets[:, t].flatten(1)
        cosine = (v * u).sum(1) / (v.square().sum(1) * u.square().sum(1)).sqrt()
        total = total + parameter_gradient(WEIGHT * (1 - cosine).mean(), model)
    return total


# --- network and data ----------------------------------------------------------------------------


def network(width: int, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """In train mode; random weights, and running statistics that are not those of any batch."""
    torch.manual_seed(0)
    spec = plugins.resolve("models", {"name": "cifar_resnet18", "width": width})
    model = plugins.instantiate("models", spec, (CHANNELS, 32, 32), CLASSES)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return model.to(device, dtype)


def examples(n: int, side: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Batch:
    """Random images, labels and directions, with the paper's crop and flip."""
    g = torch.Generator().manual_seed(0)
    shape = (CHANNELS, side, side)
    x, y = torch.rand(n, *shape, generator=g), torch.randint(CLASSES, (n,), generator=g)
    targets = torch.randn(n, CLASSES, *shape, generator=g).to(device, dtype)
    drawn = draw(Augment(crop_padding=4, flip=True), n, shape, g)
    drawn = Draw(drawn.rows.to(device), drawn.columns.to(device), drawn.padding, drawn.fill)
    fields = {"targets": lambda index, x: targets}
    return Batch(x.to(device, dtype), y.to(device), torch.arange(n, device=device), drawn, fields)


# --- measuring -----------------------------------------------------------------------------------


def operations(losses: dict[str, Loss], width: int, side: int, device: torch.device) -> dict[str, float]:
    """GFLOP per image of one step, counted on one image: they do not depend on the size of the batch."""
    model, batch = network(width, device), examples(1, side, device)
    found = {}
    for name, loss in losses.items():
        found[name] = gflop(functools.partial(_step, loss, model, batch))
    return found


def errors(losses: dict[str, Loss], width: int, batch: Batch, device: torch.device) -> dict[str, float]:
    """Relative error of the float64 parameter gradient of every variant with a penalty."""
    model = network(width, device, torch.float64)
    expected = {mode: class_by_class(copy.deepcopy(model), batch, mode) for mode in ("train", "eval")}
    found = {}
    for name, loss in losses.items():
        if name != PLAIN:
            # A copy each: a step in train mode moves the running statistics.
            own = copy.deepcopy(model)
            mode = "eval" if "eval BN" in name else "train"
            found[name] = relative_error(parameter_gradient(loss(own, batch), own), expected[mode])
    return found


def run(device: torch.device, quick: bool) -> dict:
    """Rows, bars and settings; quick: a narrower network, fewer and smaller images and one short round."""
    width, n, side, rounds, slice_s = (8, 4, 16, 1, 0.05) if quick else (16, 8, 32, 3, 0.2)
    losses = variants()
    note("  errors in float64")
    error = errors(losses, width, examples(2, side, device, torch.float64), device)
    counted_width = width if quick else 64
    note(f"  operations, width {counted_width}")
    published = operations(losses, counted_width, side, device)
    model, batch = network(width, device), examples(n, side, device)
    steps = {name: functools.partial(_step, loss, model, batch) for name, loss in losses.items()}
    found = compared(steps, PLAIN, rounds, device, slice_s)
    rows = []
    for name in losses:
        row = {"variant": name, **found[name], "GFLOP per image": published[name]}
        row |= {"FLOP ratio": published[name] / published[PLAIN], "error": error.get(name)}
        row["exact"] = error[name] <= ERROR_LIMIT if name in error else None
        rows.append(row)
    settings = {"width": width, "width of operations": counted_width, "batch": n, "image side": side}
    settings |= {"classes": CLASSES, "rounds": rounds}
    return {"rows": rows, "bars": bars(rows), "settings": settings}


def _step(loss: Loss, model: nn.Module, batch: Batch) -> None:
    parameter_gradient(loss(model, batch), model)


def bars(rows: list[dict]) -> list[dict]:
    """Exactness of the objective in every method; its operations as used by default (shared forward pass,
    train-mode statistics) against plain steps, and in both modes against repeated images."""
    by_name = {row["variant"]: row for row in rows}
    found = [
        bar(f"{name}: exact in float64", by_name[name]["error"], ERROR_LIMIT, "relative") for name in OURS
    ]
    found.append(bar(f"{OURS[0]}: operations", by_name[OURS[0]]["FLOP ratio"], FLOP_LIMIT, "plain steps"))
    for name, other in zip((OURS[0], OURS[-1]), REPEATED):
        value = by_name[name]["FLOP ratio"] / by_name[other]["FLOP ratio"]
        found.append(bar(f"{name}: operations over those of {other}", value, FEWER, "times"))
    return found
