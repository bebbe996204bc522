"""What benchmarks share that need a trained classifier: the digits of scikit-learn and a small network."""

from typing import Any

import torch
from torch import Tensor, nn

from pagrepro import plugins
from pagrepro.dataset import to_float
from pagrepro.request import MeasureRequest

CLASSES = 10


def part(name: str, device: torch.device, n: int | None = None, size: int = 8) -> tuple[Tensor, Tensor]:
    """The first n images (default all) of a part, (n, 1, size, size) in [0, 1], and their labels (n,)."""
    parts = plugins.instantiate("data", plugins.resolve("data", {"name": "digits", "size": size}), {}, 0)
    return to_float(parts[name].x[:n]).to(device), parts[name].y[:n].to(device)


def untrained(device: torch.device, size: int = 8) -> nn.Module:
    """A small network for images of `size` pixels a side; its weights come from the global generator."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * (size // 2) ** 2, 64), nn.ReLU(), nn.Linear(64, CLASSES),
    ).to(device)  # fmt: skip


def epoch(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor, batch: int, noise: float = 0.0) -> None:
    """One pass over the images in random order, noise (its standard deviation) added to them."""
    for rows in torch.randperm(len(x)).to(x.device).split(batch):
        inputs = (x[rows] + noise * torch.randn_like(x[rows])).clamp(0, 1) if noise else x[rows]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), y[rows]).backward()
        optimizer.step()


def fitted(device: torch.device, epochs: int, noise: float = 0.0, size: int = 8) -> nn.Module:
    """A network after some epochs on the training part, always the same one; frozen, in eval mode."""
    x, y = part("train", device, size=size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = untrained(device, size)
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(epochs):
            epoch(model, optimizer, x, y, 128, noise)
    return model.eval().requires_grad_(False)


def request(model: nn.Module, x: Tensor, y: Tensor) -> MeasureRequest:
    """All images in one batch, for an evaluation."""
    return MeasureRequest(
        model=model, x=x, y=y, index=torch.arange(len(x)), classes=CLASSES, seed=0, low=0.0, high=1.0,
        device=x.device, batch_size=len(x),
    )  # fmt: skip
