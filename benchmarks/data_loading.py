"""Batches for training on CIFAR-10: a resident tensor augmented in batches, and images loaded one by one.

Random crop with padding 4 and horizontal flip, as in the appendix of Ganz et al. (2022). Here the data set
is one uint8 tensor on the device, and a batch is cropped and flipped in two operations. Public code has a
data set of single images in torchvision's way: an array, PIL images, transforms for each, and a DataLoader
with a worker. Pixels are made up; 50,000 images of 32x32, of which an epoch of both takes the same number.

The worker is a process beside this one. Images per second are given by wall time, in which it runs at the
same time as its parent, and by the CPU time of both together. For the same crop and flip, both have the
same pixels.
"""

import functools
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from _measure import bar, note
from pagrepro.augment import Augment, draw
from pagrepro.seeding import generator
from pagrepro.training_data import Batches, TrainingData

NAME = "batches for training on CIFAR-10, images per second"

SIDE, PADDING, CLASSES, BATCH = 32, 4, 10, 128
OURS = "resident tensor, batched augmentation"
ONE_BY_ONE = "Dataset and DataLoader, PIL transforms, one worker"
LIMIT = 1 / 10  # of the time of the DataLoader
# Black around the image, as torchvision has it.
AUGMENT = Augment(crop_padding=PADDING, flip=True, fill=0.0)


def images(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Made-up pixels (n, SIDE, SIDE, 3) uint8, and labels (n,)."""
    g = np.random.default_rng(0)
    pixels = g.integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8)
    return pixels, g.integers(0, CLASSES, n)


def transforms() -> Callable[[Any], Tensor]:
    """PIL image -> (3, SIDE, SIDE) in [0, 1]."""
    from torchvision.transforms import Compose, RandomCrop, RandomHorizontalFlip, ToTensor

    return Compose([RandomCrop(SIDE, padding=PADDING), RandomHorizontalFlip(), ToTensor()])


class Images(torch.utils.data.Dataset):
    """Single images of an array, as torchvision's data sets have them."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, transform: Callable[[Any], Tensor]):
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[row])), int(self.labels[row])


def one_by_one(data: Images, device: torch.device) -> int:
    """An epoch; returns its number of images. The worker starts and ends in it, as in such code."""
    loader = torch.utils.data.DataLoader(data, BATCH, shuffle=True, num_workers=1, drop_last=True)
    seen = 0
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        seen += len(y)
    return seen


def resident(batches: Batches, steps: int, device: torch.device) -> int:
    """`steps` batches of an epoch, made as the training loop makes them; returns their number of images."""
    order, seen = batches.order(0), 0
    for step in range(steps):
        batch = batches.batch(order, step, step, steps)
        drawn = generator(0, "augment", step, device=device)
        batch.draw = draw(AUGMENT, len(batch.y), tuple(batch.x.shape[1:]), drawn)
        seen += len(batch.augmented())
    return seen


def difference(n: int = 16) -> float:
    """Largest difference of pixels between both ways, for the same crops and flips."""
    from PIL import Image
    from torchvision.transforms import functional

    pixels, _ = images(n)
    drawn = draw(AUGMENT, n, (3, SIDE, SIDE), torch.Generator().manual_seed(1))
    found = drawn.apply(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
    expected = []
    for image, rows, columns in zip(pixels, drawn.rows, drawn.columns):
        flipped = bool(columns[0] > columns[-1])
        # Columns of a flipped image run backwards; the crop is of the image before.
        padded = functional.pad(Image.fromarray(image), PADDING)
        cropped = functional.crop(padded, int(rows[0]), int(columns.min()), SIDE, SIDE)
        expected.append(functional.to_tensor(functional.hflip(cropped) if flipped else cropped))
    return float((found - torch.stack(expected)).abs().max())


def seconds(epoch: Callable[[], int], device: torch.device) -> tuple[float, float]:
    """Wall and CPU seconds per image, those of child processes included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, cpu = time.perf_counter(), _cpu()
    seen = epoch()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - wall) / seen, (_cpu() - cpu) / seen


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def run(device: torch.device, quick: bool) -> dict[str, Any]:
    """Rows, bars and settings; quick: fewer images and one round."""
    n, steps, rounds = (1024, 8, 1) if quick else (50_000, 60, 3)
    pixels, labels = images(n)
    kept = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)
    data = TrainingData(kept, torch.from_numpy(labels).to(device), CLASSES)
    taken = steps * BATCH
    epochs = {
        OURS: functools.partial(resident, Batches(data, BATCH, True, 0), steps, device),
        ONE_BY_ONE: functools.partial(
            one_by_one, Images(pixels[:taken], labels[:taken], transforms()), device
        ),
    }
    epochs[OURS]()  # the first call of a process also loads and chooses kernels
    note(f"  {taken} images, {rounds} rounds")
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in epochs}
    for k in range(rounds):
        for name in list(epochs)[:: 1 if k % 2 else -1]:
            spent[name].append(seconds(epochs[name], device))
    settings = {"images": n, "images in an epoch": taken, "batch": BATCH, "rounds": rounds}
    rows = [row(name, spent) for name in spent]
    rows[0]["error"] = difference()
    return {"rows": rows, "bars": bars(rows), "settings": settings}


def row(name: str, spent: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """spent: wall and CPU seconds per image, by round; ratios are to the DataLoader of the same round."""
    found: dict[str, Any] = {"variant": name}
    for k, what in enumerate(("wall", "CPU")):
        values = [pair[k] for pair in spent[name]]
        relative = [value / pair[k] for value, pair in zip(values, spent[ONE_BY_ONE])]
        found |= {f"images per s, {what}": 1 / statistics.median(values)}
        found |= {f"{what} ratio": statistics.median(relative)}
        found |= {f"lowest, {what}": min(relative), f"highest, {what}": max(relative)}
    return found


def bars(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ten times the images per second, and the same pixels."""
    ours = rows[0]
    return [
        bar(f"{OURS}: wall time per image", ours["wall ratio"], LIMIT, "times the DataLoader"),
        bar(f"{OURS}: CPU time per image", ours["CPU ratio"], LIMIT, "times the DataLoader and its worker"),
        bar(f"{OURS}: pixels for the same crop and flip", ours["error"], 0.0, "apart"),
    ]
