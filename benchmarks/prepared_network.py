"""Passes of an attack through a frozen network as it is, and through the copy that is prepared for attacks.

Rodriguez-Munoz et al. (2024) compare networks by AutoAttack: some 10,000 passes for every image that stands,
half of them without a gradient. Compared are a forward pass, and a forward pass with the gradient of the
images, of the post-activation ResNet-18 (all batch normalisations can be folded) and of their pre-activation
one (half of them). Weight gradients, which `loss.backward()` also computes unless the weights are frozen, and
folding without another order of memory are variants of their own.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from _measure import alternate, bar, note, ratios
from pagrepro import plugins
from pagrepro.prepared_network import prepared

NAME = "passes of an attack, through a network and through its prepared copy"

WIDTH = {"cpu": 16, "cuda": 64}
BATCH = {"cpu": 32, "cuda": 512}
CLASSES = 10
NETWORKS = ("cifar_resnet18", "preact_resnet18")
AS_IS, PREPARED, UNFROZEN = "as it is, frozen", "prepared", "weight gradients computed as well"
FOLDED = "folded"
LOGIT_LIMIT = 1e-5  # largest difference of logits, in units of their standard deviation, float32


def network(name: str, width: int, device: torch.device) -> nn.Module:
    """Frozen, in eval mode, with running statistics, scales and shifts as after some training."""
    torch.manual_seed(0)
    spec = plugins.resolve("models", {"name": name, "width": width})
    model = plugins.instantiate("models", spec, (3, 32, 32), CLASSES)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.1)
    return model.to(device).eval().requires_grad_(False)


def gradient(model: nn.Module, x: Tensor, y: Tensor, weights: bool = False) -> Tensor:
    """Of the cross-entropy, with respect to the images; weights: and to all weights, thrown away."""
    x = x.clone().requires_grad_()
    others = list(model.parameters()) if weights else []
    for parameter in others:
        parameter.requires_grad_()
    found = torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), [x, *others])[0]
    model.requires_grad_(False)
    return found


def forward(model: nn.Module, x: Tensor) -> Tensor:
    """Logits without a graph."""
    with torch.no_grad():
        return model(x)


def run(device: torch.device, quick: bool) -> dict:
    """Rows, bars and settings; quick: narrower networks, fewer and smaller images and one short round."""
    width, n, side = (4, 4, 16) if quick else (WIDTH[device.type], BATCH[device.type], 32)
    rounds, slice_s = (1, 0.05) if quick else (5, 0.2)
    g = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, side, side, generator=g).to(device)
    y = torch.randint(CLASSES, (n,), generator=g).to(device)
    rows = []
    for name in NETWORKS:
        note(f"  {name}, {rounds} rounds")
        model = network(name, width, device)
        ready = prepared(model, device)
        steps = {f"forward: {AS_IS}": functools.partial(forward, model, x)}
        steps |= {f"forward: {PREPARED}": functools.partial(forward, ready, x)}
        if device.type == "cpu":
            # The copy for passes with a gradient.
            steps |= {f"forward: {FOLDED}": functools.partial(forward, ready.network, x)}
        steps |= {f"gradient: {AS_IS}": functools.partial(gradient, model, x, y)}
        steps |= {f"gradient: {PREPARED}": functools.partial(gradient, ready, x, y)}
        steps |= {f"gradient: {UNFROZEN}": functools.partial(gradient, model, x, y, weights=True)}
        for step in steps.values():
            step()  # the first step of a process also loads and chooses kernels
        seconds = alternate(steps, rounds, device, slice_s)
        for kind in ("forward", "gradient"):
            of_kind = {key: values for key, values in seconds.items() if key.startswith(kind)}
            for key, timing in ratios(of_kind, f"{kind}: {AS_IS}").items():
                row = {"network": name, "variant": key, "images per s": n / timing["seconds"], **timing}
                rows.append(row | _difference(model, ready, x, y, kind) if key.endswith(PREPARED) else row)
    settings = {"width": width, "batch": n, "image side": side, "rounds": rounds}
    return {"rows": rows, "bars": bars(rows), "settings": settings}


def _difference(model: nn.Module, ready: nn.Module, x: Tensor, y: Tensor, kind: str) -> dict[str, float]:
    take = forward if kind == "forward" else functools.partial(gradient, y=y)
    before, after = take(model, x), take(ready, x)
    found = {"difference": float((after - before).abs().max() / before.std())}
    return found | (
        {"other class": int((before.argmax(1) != after.argmax(1)).sum())} if kind == "forward" else {}
    )


def bars(rows: list[dict]) -> list[dict]:
    """Logits that are the same but for rounding, and no other prediction."""
    ready = [row for row in rows if row["variant"] == f"forward: {PREPARED}"]
    return [
        *(bar(f"{r['network']}: logits", r["difference"], LOGIT_LIMIT, "standard deviations") for r in ready),
        *(bar(f"{r['network']}: other classes", r["other class"], 0, "images") for r in ready),
    ]
