"""Perceptual alignment: how alike a classifier's input gradients and the score of the data are.

Srinivas et al. (2023), section 4.2 and Figures 2 and 3: the mean of 1 - LPIPS between gradient and score,
each divided by its largest magnitude. Controls that the paper does not have say what a number means: the
same gradients compared with the score of another image, with Gaussian noise, and with the image itself.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.closest_class import is_zero
from pagrepro.errors import DataError
from pagrepro.image_noise import image_noise
from pagrepro.input_gradients import classifier_gradient
from pagrepro.map_options import Gradient, Similarity
from pagrepro.options import Strict
from pagrepro.predictions import batches
from pagrepro.request import Measurement, MeasureRequest
from pagrepro.similarity import Compare, derangement, resized, scaled_map, similarity

REVISION = 1

ROLES = {"score": "field", "alexnet": "source?"}

CONTROLS = ("", "_other", "_noise", "_image")


class Config(Strict):
    """gradient: the scalar that is differentiated; similarities: lpips needs the input `alexnet`,
    lpips_random is its substitute with a random network; resize: side that gradients (scaled before, not
    again) and images are brought to, where the score is of another size than the images."""

    gradient: Gradient = "logit_sum"
    similarities: Annotated[tuple[Similarity, ...], Field(min_length=1)] = ("lpips", "cosine", "ssim")
    resize: Annotated[int, Field(ge=1)] | None = None


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values, for each similarity s: s, the mean over the examples of the similarity of gradient and
    score; s_other (the score of another example, the same one for every model), s_noise (Gaussian noise,
    the same for every model) and s_image (the image in [-1, 1]); zero_maps, the number of gradients that
    are exactly zero (such a map is compared as it is). Means leave out maps that are not finite, which
    have a flag.

    arrays: s (N,) float32 of each similarity. Row i of the field is read for example i. Raises DataError
    for data without a range, scores of another shape than the gradients, and lpips without its weights.
    """
    check_range(request.x, request.low, request.high)
    if request.low is None or request.high is None:
        raise DataError("score_similarity is for data with a range: an image is compared in [-1, 1]")
    like = request.x[:0].to(request.device)
    alexnet = request.inputs.get("alexnet")
    compare = {name: similarity(name, like, alexnet) for name in config.similarities}
    n = len(request.x)
    other = derangement(n, request.seed) if n > 1 else torch.zeros(1, dtype=torch.int64)
    parts = [_batch(config, request, compare, other, *batch) for batch in batches(request)]
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    empty = {role: found.pop(f"zero {role}") for role in ("gradient", "score")}
    values = {name: v.double().nanmean().item() for name, v in found.items()}
    values["zero_maps"] = float(empty["gradient"].sum())
    arrays = {name: found[name].float().numpy() for name in config.similarities}
    flags = {
        f"{int(values['zero_maps'])} gradients are zero": values["zero_maps"] > 0,
        f"{int(empty['score'].sum())} scores are zero": bool(empty["score"].any()),
        "nonfinite_maps": any(bool(v.isnan().any()) for v in found.values()),
        "no_other_image": n == 1,
    }
    return Measurement(values, arrays, [flag for flag, present in flags.items() if present])


def _batch(
    config: Config, request: MeasureRequest, compare: dict[str, Compare], other: Tensor, start: int,
    x: Tensor, y: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    """Similarities (B,) to the score and to the controls, and which maps are zero."""
    rows = torch.arange(start, start + len(x))
    gradient = classifier_gradient(request.model, x, y, config.gradient)
    maps = resized(scaled_map(gradient), config.resize)
    scores = [_score(request, r) for r in (rows, other[rows])]
    if scores[0].shape != maps.shape:
        raise DataError(
            f"scores of shape {tuple(scores[0].shape[1:])}, gradients of shape {tuple(maps.shape[1:])}:"
            " set the option resize to the side of the scores"
        )
    noise = image_noise(request.seed, "similarity", request.index[rows], tuple(maps.shape[1:]))
    image = 2 * (x - request.low) / (request.high - request.low) - 1
    others = [
        scaled_map(scores[0]),
        scaled_map(scores[1]),
        scaled_map(noise.to(maps)),
        resized(scaled_map(image), config.resize),
    ]
    found = {"zero gradient": is_zero(gradient), "zero score": is_zero(scores[0])}
    for name, function in compare.items():
        similarities = function(maps, others)
        found |= {f"{name}{end}": s for end, s in zip(CONTROLS, similarities, strict=True)}
    return found


def _score(request: MeasureRequest, rows: Tensor) -> Tensor:
    """Raw score maps (B, *shape) of these rows of the split."""
    x = request.x[rows.to(request.x.device)].to(request.device)
    return request.inputs["score"].read(rows.to(request.device), x).to(x)
