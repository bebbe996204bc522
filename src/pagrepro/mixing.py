"""Mixup, CutMix and label smoothing of a batch, by timm.

Zhang et al. (2018) and Yun et al. (2019), in the recipe of Rodriguez-Munoz et al. (2024), who follow Liu et
al. (2023): mixup 0.8, CutMix 1.0, one of them for the whole batch, labels smoothed by 0.1. Mixing is linear,
so it is the same before the normalisation, which is the network's first layer, as behind it.
"""

import numpy as np
import torch
from torch import Tensor

from pagrepro.augment_options import Mix
from pagrepro.errors import DataError

REVISION = 1


def mixed(mix: Mix, x: Tensor, y: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) of the data's range and probabilities (B, classes) of a batch.

    generator: where the draws come from; timm takes them from NumPy's global state, which is put back. Raises
    DataError for an odd number of examples, which are mixed in pairs.
    """
    if len(y) % 2:
        raise DataError(
            f"task.mix: examples are mixed in pairs, found a batch of {len(y)}; choose an even"
            " fit.batch_size (of each of fit.micro_batches) and drop_last: true"
        )
    from timm.data import Mixup

    mixup = Mixup(
        mixup_alpha=mix.mixup,
        cutmix_alpha=mix.cutmix,
        # Without either, labels are smoothed and nothing else.
        prob=mix.probability if mix.mixup or mix.cutmix else 0.0,
        switch_prob=mix.switch,
        mode="batch",
        label_smoothing=mix.smoothing,
        num_classes=classes,
    )
    seed = torch.randint(2**32, (), generator=generator, device=generator.device)
    before = np.random.get_state()  # noqa: NPY002 (timm draws from it)
    np.random.seed(int(seed))  # noqa: NPY002
    try:
        # timm mixes in place.
        return mixup(x.clone(), y)
    finally:
        np.random.set_state(before)  # noqa: NPY002
