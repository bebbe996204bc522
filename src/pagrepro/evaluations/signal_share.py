"""How much of the input gradient lies on the signal, and examples of it.

Srinivas et al. (2023), Figure 12: images with a distractor, noise on either block, and gradients of the
predicted class's logit. The paper shows pictures; the share of the energy on the digit's block is this
project's number for them, 1/2 where a gradient does not tell the blocks apart:
    share = sum_{pixels of the signal} g^2 / sum_{all pixels} g^2.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.distractors import add_noise, signal_mask
from pagrepro.image_noise import image_noise
from pagrepro.input_gradients import classifier_gradient
from pagrepro.map_options import Gradient
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1


class Config(Strict):
    """gradient: of which scalar of the classifier (`input_gradients.py`); examples: how many images, from the
    first on, are kept with what belongs to them; noise_std: of the noise on one block in the kept images."""

    gradient: Gradient = "predicted_logit"
    examples: Annotated[int, Field(ge=0)] = 10
    noise_std: Number = Field(0.25, ge=0)


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: share, the mean over the examples with a gradient; zero_gradient, the share of examples without
    one; area, the share of the pixels that are signal.

    arrays: share (N,) float32, NaN without a gradient; of the first k = `examples` examples: images, masks,
    noise_signal, noise_distractor (never clipped) and gradients (k, *shape) float32 (masks: uint8), labels
    and predicted (k,) int64. Raises DataError for data without a mask.
    """
    mask = signal_mask(request, "signal_share")
    check_range(request.x, request.low, request.high)
    shares, kept = [], []
    for start, x, y in batches(request):
        rows = slice(start, start + len(x))
        where = mask[rows].to(x.device)
        g = classifier_gradient(request.model, x, y, config.gradient)
        shares.append(signal_share(g, where))
        if start < config.examples or start == 0:
            noise = image_noise(request.seed, "signal_share", request.index[rows], tuple(x.shape[1:])).to(x)
            noisy = [add_noise(x, noise, config.noise_std, place) for place in (where, ~where)]
            kept.append((x, where, *noisy, g, y, predicted(logits(request.model, x, len(x)))))
    share = torch.cat(shares).cpu()
    values = {
        "share": share.nanmean().item(),
        "zero_gradient": share.isnan().double().mean().item(),
        "area": mask.double().mean().item(),
    }
    names = ("images", "masks", "noise_signal", "noise_distractor", "gradients", "labels", "predicted")
    arrays = {"share": share.float().numpy()}
    for name, part in zip(names, zip(*kept)):
        value = torch.cat(part)[: config.examples].cpu()
        value = value.to(torch.uint8) if name == "masks" else value
        arrays[name] = (value.float() if value.is_floating_point() else value).numpy()
    return Measurement(values, arrays, ["zero_gradients"] if values["zero_gradient"] else [])


def signal_share(g: Tensor, where: Tensor) -> Tensor:
    """Share (B,) float64 of the energy of g (B, *shape) where `where` (B, *shape) bool is True; NaN for a
    zero gradient and for one that is not finite."""
    g = g.double().flatten(1)
    # Squares of small gradients underflow; the share has no scale.
    energy = (g / g.abs().amax(1, keepdim=True)).square()
    share = (energy * where.flatten(1)).sum(1) / energy.sum(1)
    return share.where(share.isfinite(), torch.nan)
