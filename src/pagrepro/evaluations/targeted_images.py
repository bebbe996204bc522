"""Images made by a large-eps targeted attack towards every class, and numbers that stand for how they look.

Ganz et al. (2022), Figures 1, 4 and 5. The paper says neither how the images are made nor how to measure
them: attack and proxies are ours (an aligned model's images should be taken for the target by an
independent robust classifier, and its perturbations should not be high-frequency noise).
"""

from typing import Any

import numpy as np
import torch
from pydantic import field_validator
from torch import Tensor

from pagrepro import plugins, seeding
from pagrepro.checks import check_range
from pagrepro.errors import DataError
from pagrepro.options import Strict, plugin
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

ROLES = {"judge": "run?"}

# Cycles per pixel. Nyquist is 1/2.
HALF_NYQUIST = 0.25


class Config(Strict):
    """attack: an attack plugin with `targeted: true`."""

    attack: plugin("attacks")

    @field_validator("attack")
    @classmethod
    def _targeted(cls, value):
        if value.get("targeted") is not True:
            raise ValueError("the attack has to be a targeted one: write `targeted: true`")
        return value


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values, means over the pairs (image, target) with target != label: success (share the model itself
    assigns to the target), high_frequency (see `high_frequency`), l2 (mean norm of the perturbation) and,
    with a judge, judge_share (share the independent classifier assigns to the target) and judge_original (its
    accuracy on the originals).

    arrays: images (N, C, *shape) uint8, the image made towards each class, label's own included; originals
    (N, *shape) uint8; labels (N,); success (N, C) bool; high_frequency_by_image (N,) and, with a
    judge, judged (N, C) bool and judged_by_image (N,): means over the targets of an image.
    Raises DataError for data that are not images in [0, 1].
    """
    if request.x.dim() != 4 or (request.low, request.high) != (0.0, 1.0):
        raise DataError(f"targeted_images is for images in [0, 1], found shape {tuple(request.x.shape[1:])}")
    check_range(request.x, request.low, request.high)
    attack = plugins.instantiate("attacks", config.attack)
    judge = request.inputs["judge"].model if "judge" in request.inputs else None
    parts = [_batch(attack, judge, request, *batch) for batch in batches(request)]
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    other = ~torch.nn.functional.one_hot(request.y.cpu(), request.classes).bool()
    values = {
        "success": found["success"][other].double().mean().item(),
        "high_frequency": found["high_frequency"][other].double().nanmean().item(),
        "l2": found["l2"][other].double().mean().item(),
    }
    arrays = {name: found[name].numpy() for name in ("images", "success")}
    if judge is not None:
        values["judge_share"] = found["judged"][other].double().mean().item()
        values["judge_original"] = found["judge_original"].double().mean().item()
        arrays["judged"] = found["judged"].numpy()
    arrays |= _by_image(found, other)
    arrays |= {"originals": _stored(request.x).cpu().numpy(), "labels": request.y.cpu().numpy()}
    flags = ["no_perturbation_at_all"] if values["high_frequency"] != values["high_frequency"] else []
    return Measurement(values, arrays, flags)


def _by_image(found: dict[str, Tensor], other: Tensor) -> dict[str, np.ndarray]:
    """Means over the targets of each image (N,), what a bootstrap over images needs."""
    kinds = {"judged": "judged_by_image", "high_frequency": "high_frequency_by_image"}
    return {
        name: found[kind].double().where(other, torch.nan).nanmean(1).numpy()
        for kind, name in kinds.items()
        if kind in found
    }


def _batch(
    attack: Any, judge: Any, request: MeasureRequest, start: int, x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """Images towards every class for one batch; tensors (B, C, ...).

    All pairs (image, target) are attacked together, as many at once as the request's batch size: a small
    network is bound by the number of steps, not by their size.
    """
    n, classes = len(x), request.classes
    sources = x.repeat_interleave(classes, 0)
    targets = torch.arange(classes, device=x.device).repeat(n)
    generator = seeding.generator(request.seed, "attack", start, device=x.device)
    pieces = zip(sources.split(request.batch_size), targets.split(request.batch_size))
    x_adv = torch.cat(
        [
            attack.perturb(request.model, s, t, generator, low=request.low, high=request.high)
            for s, t in pieces
        ]
    )
    delta = x_adv - sources
    found = {
        "images": _stored(x_adv),
        "success": predicted(logits(request.model, x_adv, request.batch_size)) == targets,
        "high_frequency": high_frequency(delta),
        "l2": delta.flatten(1).norm(dim=1),
    }
    if judge is not None:
        found["judged"] = predicted(logits(judge, x_adv, request.batch_size)) == targets
    joined = {name: values.unflatten(0, (n, classes)) for name, values in found.items()}
    if judge is not None:
        joined["judge_original"] = predicted(logits(judge, x, len(x))) == y
    return joined


def _stored(x: Tensor) -> Tensor:
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def high_frequency(delta: Tensor) -> Tensor:
    """Share (B,) of the energy of delta (B, channels, H, W) at high spatial frequencies; NaN for zero.

    Energy is |2-D discrete Fourier transform|^2 of each channel, summed over channels and frequencies (the
    constant included); a frequency is high when sqrt(fy^2 + fx^2) > 1/4 cycle per pixel, half of the Nyquist
    frequency along an axis. White noise has a share of about 1 - pi/16 = 0.80 on large images.
    """
    energy = torch.fft.fft2(delta.double()).abs().square().sum(1)  # (B, H, W)
    down, across = (torch.fft.fftfreq(n, dtype=torch.float64, device=delta.device) for n in delta.shape[-2:])
    high = (down[:, None].square() + across.square()).sqrt() > HALF_NYQUIST
    return energy[:, high].sum(1) / energy.sum((1, 2))
