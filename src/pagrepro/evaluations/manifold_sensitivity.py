"""How much a classifier's output changes under noise on and off the manifold.

Srinivas, Bordt and Lakkaraju (2023), section 4.1 and Figure 2 (top), with tangent spaces of an autoencoder:
for one noise vector u per image, u_on = P u and u_off = u - P u are both brought to the same length and
added to the image, without clipping. The change is ||p(x) - p(x + u)||_1, p the softmax, in [0, 2]. Noise
is keyed by the image's row in the data set, so that all models see the same (the public code draws anew for
each).
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pagrepro.checks import check_range
from pagrepro.image_noise import image_noise
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest
from pagrepro.tangent import project, rank

REVISION = 1

ROLES = {"tangent": "field"}

# A part of the noise shorter than this share of it is rounding of an empty one.
EMPTY = 1e-5


class Config(Strict):
    """size: length of a perturbation, in the data's units (2.637 is about a tenth of a CIFAR-10 image), or,
    if `relative`, as a share of each image's norm. rescale: unit brings both parts to this length; none
    scales the whole noise to it, of which the parts keep their shares (Definition 1). draws: noise vectors
    per image."""

    size: Number = Field(2.637, gt=0)
    relative: bool = False
    rescale: Literal["unit", "none"] = "unit"
    draws: int = Field(1, ge=1)


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: on, off, mean L1 change of the softmax; on_l2, off_l2, its mean L2 change; on_logit,
    off_logit, mean L1 change of the logits; relative, on / off; rank, mean dimension of the tangent spaces.

    arrays: on, off (N,), means over draws; rank (N,). An image whose tangent space is empty (or everything)
    has no direction on (off) it: NaN, left out of the means, with a flag. Row i of the field is read for
    example i.
    """
    check_range(request.x, request.low, request.high)
    parts = []
    for start, x, _ in batches(request):
        rows = torch.arange(start, start + len(x), device=x.device)
        basis = request.inputs["tangent"].read(rows, x)
        index = request.index[start : start + len(x)]
        noise = [
            image_noise(request.seed, f"manifold/{k}", index, x.shape[1:]).to(x) for k in range(config.draws)
        ]
        drawn = [_changes(config, request.model, x, basis, u) for u in noise]
        means = {name: torch.stack([part[name] for part in drawn]).mean(0).cpu() for name in drawn[0]}
        parts.append({**means, "rank": rank(basis).cpu()})
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    there = {side: ~found.pop(f"{side}_empty").bool() for side in ("on", "off")}
    values = {name: found[name][there[name.split("_")[0]]].mean().item() for name in found if name != "rank"}
    values["relative"] = values["on"] / values["off"] if values["off"] else torch.nan
    values["rank"] = found["rank"].double().mean().item()
    arrays = {name: found[name].float().numpy() for name in ("on", "off")} | {"rank": found["rank"].numpy()}
    flags = [f"no_direction_{side}_the_manifold" for side, some in there.items() if not bool(some.all())]
    if not all(bool(found[side][there[side]].isfinite().all()) for side in there):
        flags.append("nonfinite_outputs")
    return Measurement(values, arrays, flags)


@torch.no_grad()
def _changes(config: Config, model: nn.Module, x: Tensor, basis: Tensor, u: Tensor) -> dict[str, Tensor]:
    """Changes (B,) float64 of the output by kind and side, NaN for an empty direction; and which are
    empty."""
    on = project(basis, u)
    before, found = model(x).double(), {}
    size = config.size * _norm(x) if config.relative else config.size
    for side, part in (("on", on), ("off", u - on)):
        length = _norm(part)
        empty = (length < EMPTY * _norm(u)).flatten()
        part = part * (size / (length if config.rescale == "unit" else _norm(u)))
        after = model(x + part.where(~empty.view(length.shape), 0)).double()
        change = after.softmax(1) - before.softmax(1)
        measured = {
            side: change.abs().sum(1),
            f"{side}_l2": change.norm(dim=1),
            f"{side}_logit": (after - before).abs().sum(1),
        }
        found |= {name: value.where(~empty, torch.nan) for name, value in measured.items()}
        found[f"{side}_empty"] = empty.double()
    return found


def _norm(x: Tensor) -> Tensor:
    """L2 norm of each example (B, *shape), of shape (B, 1, ..., 1)."""
    return x.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1))
