"""Augmentation of single images for training, by timm: crops, flips, RandAugment, erasing.

The recipe of Rodriguez-Munoz et al. (2024), appendix F, who take it from Liu et al. (2023): a random crop of
8 to 100 % of the image, a flip, RandAugment (Cubuk et al., 2020) of magnitude 9, and random erasing (Zhong et
al., 2020) by noise. What happens to an image is a function of (seed, step, row), whichever process does it.
Erasing draws its noise in normalised units; here it is brought back to [0, 1] and clipped there.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pagrepro.augment_options import Recipe
from pagrepro.image_files import ImageFiles
from pagrepro.seeding import seed_for

REVISION = 1

# Place of an example: (step of the fit, row of the split).
Place = tuple[int, int]


class Augmented(Dataset):
    """Augmented images by place; images: (N, 3, H, W) uint8 on the CPU, or `ImageFiles`."""

    def __init__(self, recipe: Recipe, images: Tensor | ImageFiles, seed: int):
        from timm.data import create_transform
        from timm.data.constants import IMAGENET_DEFAULT_MEAN as MEAN
        from timm.data.constants import IMAGENET_DEFAULT_STD as STD

        self.images, self.seed = images, seed
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        self.transform = create_transform(
            recipe.size,
            is_training=True,
            scale=recipe.scale,
            ratio=recipe.ratio,
            hflip=recipe.flip,
            color_jitter=None,
            auto_augment=recipe.policy,
            interpolation=recipe.interpolation,
            re_prob=recipe.erase,
            re_mode="pixel",
            mean=MEAN,
            std=STD,
        )
        for policy in self.transform.transforms:
            for operation in getattr(policy, "ops", ()):
                if operation.name.startswith("Posterize"):
                    operation.aug_fn = _posterized

    def __getitem__(self, place: Place) -> Tensor:
        """(3, size, size) float32 in [0, 1]."""
        step, row = place
        with _drawn_from(seed_for(self.seed, "recipe", step, row)):
            found = self.transform(self._image(row))
        return (found * self.std + self.mean).clamp_(0, 1)

    def _image(self, row: int) -> Any:
        if isinstance(self.images, ImageFiles):
            return self.images.image(row)
        from PIL import Image

        return Image.fromarray(self.images[row].permute(1, 2, 0).numpy())


def _posterized(image: Any, bits: int, **_: Any) -> Any:
    """An image with so many bits per channel. Magnitudes of 10 and more, which the recipe draws now and then,
    leave none: that was a black image until Pillow refused it."""
    from PIL import Image, ImageOps

    if bits >= 8:
        return image
    return ImageOps.posterize(image, bits) if bits else Image.new(image.mode, image.size)


def loaded(recipe: Recipe, images: Augmented, batches: list[list[Place]]) -> Iterator[Tensor]:
    """Batches (B, 3, size, size), in this order; made ahead of time by `workers` processes."""
    return iter(
        DataLoader(
            images,
            batch_sampler=batches,
            num_workers=recipe.workers,
            # A fork of a process that uses a GPU cannot be trusted with it.
            multiprocessing_context="spawn" if recipe.workers and torch.cuda.is_initialized() else None,
            generator=torch.Generator().manual_seed(0),
        )
    )


@contextmanager
def _drawn_from(seed: int) -> Iterator[None]:
    """timm draws from the global generators of Python, NumPy and PyTorch, which are put back."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    # Not of the device: what the step draws there must not depend on who augments.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
