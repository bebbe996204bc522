"""Do input gradients lie on the edges? Correlation of their logarithm with that of the oriented energy.

Rodriguez-Munoz, Wang and Torralba (2024), section 5.3, Table 5 and Figure 8: per image, the Pearson
correlation over its pixels of log E(x), E of `oriented_energy.py`, with
    saliency        log max_c |d f(x)_y / dx_c|, the logit of the label,
    loss gradient   log sum_c |d CE(f(x), y) / dx_c|.
The paper does not say what a zero gradient counts as; here magnitudes have a floor, and what it has raised
is counted. Reflection at the border makes E small there in every image, so that on small images any two
unrelated maps correlate: each correlation comes with its control, the same with the edges of another image.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.input_gradients import classifier_gradient
from pagrepro.map_options import Energy
from pagrepro.options import Number, Strict
from pagrepro.oriented_energy import oriented_energy
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest
from pagrepro.similarity import derangement

REVISION = 1

MAPS = ("saliency", "loss_gradient")


class Config(Strict):
    """energy: form of the oriented energy; energy_floor: lower bound of E before its logarithm (1e-3 in the
    paper; E is in units of x, or of x squared, see `oriented_energy.py`); gradient_floor: that of gradient
    magnitudes, per unit of x; examples: how many images, from the first on, are kept with their maps."""

    energy: Energy = "blurred_root"
    energy_floor: Number = Field(1e-3, gt=0)
    gradient_floor: Number = Field(1e-30, gt=0)
    examples: Annotated[int, Field(ge=0)] = 0


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values, for m in saliency and loss_gradient: m, the mean correlation over the images; m_std (n, not
    n - 1); m_other and m_other_std, the same with the edges of another image, the same one for every model;
    m_gain, the mean of the difference m - m_other over images that have both; m_floored, the number of
    pixels raised to the floor. energy_floored: share of the pixels whose energy is; undefined: images
    without a correlation (a constant map), left out of its mean, with a flag.

    arrays: m, m_other (N,) float32, NaN where undefined; m_floored (N,) int64; of the first k = `examples`
    images: images (k, C, H, W), edges, saliency_maps, loss_gradient_maps (k, H, W) float32 before floors and
    logarithms. A single image has itself as the other one, with a flag. Raises DataError for data that are
    not images of at least 4 x 4 pixels.
    """
    check_range(request.x, request.low, request.high)
    n = len(request.x)
    other = derangement(n, request.seed) if n > 1 else torch.zeros(1, dtype=torch.int64)
    parts, kept = [], []
    for start, x, y in batches(request):
        rows = other[start : start + len(x)].to(request.x.device)
        maps = gradient_maps(request, x, y)
        edges = oriented_energy(x, config.energy)
        others = oriented_energy(request.x[rows].to(x.device), config.energy)
        parts.append(_correlations(config, maps, edges, others))
        if start < config.examples:
            kept.append((x, edges, *maps.values()))
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    correlations = torch.stack([found[f"{m}{end}"] for m in MAPS for end in ("", "_other")])
    undefined = correlations.isnan().any(0)
    values = _values(found) | {"undefined": float(undefined.sum())}
    values["energy_floored"] = found.pop("energy_floored").mean().item()
    arrays = {k: (v.float() if v.is_floating_point() else v).numpy() for k, v in found.items()}
    names = ("images", "edges", *(f"{m}_maps" for m in MAPS))
    for name, part in zip(names, zip(*kept)):
        arrays[name] = torch.cat(part)[: config.examples].float().cpu().numpy()
    flags = {
        f"{int(undefined.sum())} images have no correlation": bool(undefined.any()),
        "floored_gradients": any(values[f"{m}_floored"] > 0 for m in MAPS),
        "no_other_image": n == 1,
    }
    return Measurement(values, arrays, [flag for flag, present in flags.items() if present])


def gradient_maps(request: MeasureRequest, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Magnitude per pixel (B, H, W) of the gradients at images x (B, C, H, W), by the names of MAPS."""
    return {
        "saliency": classifier_gradient(request.model, x, y, "label_logit").abs().amax(1),
        "loss_gradient": classifier_gradient(request.model, x, y, "loss").abs().sum(1),
    }


def pearson(u: Tensor, v: Tensor) -> Tensor:
    """Correlation (B,) float64 of u and v (B, ...) over all but the first dimension; NaN where either is
    constant or not finite."""
    u, v = (z.double().flatten(1) for z in (u, v))
    # A mean of equal numbers may differ from them by rounding, which would be correlated with something.
    constant = (u == u[:, :1]).all(1) | (v == v[:, :1]).all(1)
    u, v = (z - z.mean(1, keepdim=True) for z in (u, v))
    r = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
    return r.where(~constant & r.isfinite(), torch.nan)


def _correlations(
    config: Config, maps: dict[str, Tensor], edges: Tensor, others: Tensor
) -> dict[str, Tensor]:
    own, other = (e.double().clamp_min(config.energy_floor).log() for e in (edges, others))
    found = {"energy_floored": (edges < config.energy_floor).double().flatten(1).mean(1)}
    for name, magnitude in maps.items():
        # In float64, in which the floor is a number far from zero.
        logarithm = magnitude.double().clamp_min(config.gradient_floor).log()
        found[name], found[f"{name}_other"] = pearson(own, logarithm), pearson(other, logarithm)
        found[f"{name}_floored"] = (magnitude.double() < config.gradient_floor).flatten(1).sum(1)
    return found


def _values(found: dict[str, Tensor]) -> dict[str, float]:
    values = {}
    for m in MAPS:
        for name in (m, f"{m}_other"):
            there = found[name][~found[name].isnan()]
            values[name] = there.mean().item()
            values[f"{name}_std"] = there.std(correction=0).item() if len(there) else float("nan")
        values[f"{m}_gain"] = (found[m] - found[f"{m}_other"]).nanmean().item()
        values[f"{m}_floored"] = float(found[f"{m}_floored"].sum())
    return values
