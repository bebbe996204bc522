"""Images made by a large-eps targeted attack towards every class, and numbers that stand for how they look.

Ganz et al. (2022), Figures 1, 4 and 5. The paper says neither how the images are made nor how to measure
them: attack and proxies are ours (an aligned model's images should be taken for the target by an
independent robust classifier, and its perturbations should not be high-frequency noise).
"""

from typing import Any

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
    (N, *shape) uint8; labels (N,); success (N, C) bool; judged (N, C) bool with a judge.
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
    arrays |= {"originals": _stored(request.x).cpu().numpy(), "labels": request.y.cpu().numpy()}
    flags = ["no_perturbation_at_all"] if values["high_frequency"] != values["high_frequency"] else []
    return Measurement(values, arrays, flags)


def _batch(
    attack: Any, judge: Any, request: MeasureRequest, start: int, x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """Images towards every class for one batch; tensors (B, C, ...)."""
    found: dict[str, list[Tensor]] = {k: [] for k in ("images", "success", "high_frequency", "l2", "judged")}
    for t in range(request.classes):
        target = torch.full_like(y, t)
        generator = seeding.generator(request.seed, "attack", start, t, device=x.device)
        x_adv = attack.perturb(request.model, x, target, generator, low=request.low, high=request.high)
        found["images"].append(_stored(x_adv))
        found["success"].append(predicted(logits(request.model, x_adv, len(x))) == t)
        found["high_frequency"].append(high_frequency(x_adv - x))
        found["l2"].append((x_adv - x).flatten(1).norm(dim=1))
        if judge is not None:
            found["judged"].append(predicted(logits(judge, x_adv, len(x))) == t)
    joined = {name: torch.stack(columns, 1) for name, columns in found.items() if columns}
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
