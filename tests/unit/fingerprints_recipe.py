"""Fingerprints of ImageNet's files, of the augmentation of single images."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from fingerprint_tools import Cases, numbers, pattern, resolved
from PIL import Image

from pagrepro import plugins
from pagrepro.augment_options import Mix, Recipe
from pagrepro.mixing import mixed
from pagrepro.recipe import Augmented


def imagenet() -> Cases:
    """Of PNG files: decoders of JPEG may differ in a level."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for k, name in enumerate(("a/1.png", "a/2.png", "b/1.png")):
            (root / name).parent.mkdir(exist_ok=True)
            pixels = (255 * pattern(18, 14 + k, 3, start=k)).numpy().astype(np.uint8)
            Image.fromarray(pixels).save(root / name)
        listed = root / "list.txt"
        listed.write_text(f"{root}\na/1.png 1\na/2.png 1\nb/1.png 1")
        options = resolved("data", "imagenet", classes=2, resize=10, crop=8)
        part = plugins.instantiate("data", options, {"val": listed}, 0)["val"]
        return {"val": numbers(part.x.decoded().float(), part.y)}


def recipe() -> Cases:
    """Crops and flips only: the operations of a policy are Pillow's."""
    pixels = (255 * pattern(4, 3, 16, 16)).to(torch.uint8)
    found = Augmented(Recipe(size=12, policy=None, erase=0.5), pixels, 0)
    x, soft = mixed(Mix(), pattern(4, 3, 6, 6), torch.arange(4), 5, torch.Generator().manual_seed(1))
    return {"images": numbers(*(found[step, step] for step in range(4))), "mixed": numbers(x, soft)}


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "data.imagenet": imagenet,
    "recipe": recipe,
}
