"""Input gradients as pictures: of every image of a small split, beside the image and its score.

Srinivas et al. (2023), Figures 1, 5 and 7 to 11; Figure 5 has a number above each gradient, its
similarity to the score of the image.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.checks import check_range
from pagrepro.closest_class import is_zero
from pagrepro.errors import DataError
from pagrepro.input_gradients import classifier_gradient
from pagrepro.map_options import Gradient, Similarity
from pagrepro.options import Strict
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest
from pagrepro.similarity import Compare, resized, scaled_map, similarity

REVISION = 1

ROLES = {"score": "field?", "alexnet": "source?"}


class Config(Strict):
    """gradient: the scalar that is differentiated; similarity: of gradient and score, kept where there
    are scores (null: none); lpips needs the input `alexnet`; resize: side that scaled gradients are
    brought to for the similarity, where the score is of another size than the images. Kept gradients stay
    as they are."""

    gradient: Gradient = "logit_sum"
    similarity: Similarity | None = "cosine"
    resize: Annotated[int, Field(ge=1)] | None = None


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """arrays, of all k examples of the split: images (k, *shape) float32 in the data's range, gradients
    (k, *shape) float32 as they are, labels and predicted (k,) int64 (-1 where logits are not finite);
    with the role score: scores (k, *map) float32 as they are and, if asked for, similarity (k,) float32.

    values: zero_maps, the number of gradients that are exactly zero; accuracy on the split; similarity,
    the mean, where there is one. Row i of the field is read for example i.
    """
    check_range(request.x, request.low, request.high)
    compare = None
    if config.similarity is not None and "score" in request.inputs:
        like = request.x[:0].to(request.device)
        compare = similarity(config.similarity, like, request.inputs.get("alexnet"))
    parts = [_batch(config, request, compare, *batch) for batch in batches(request)]
    found = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
    gradients = found["gradients"]
    values = {
        "zero_maps": float(is_zero(gradients).sum()),
        "accuracy": (found["predicted"] == found["labels"]).double().mean().item(),
    }
    if compare is not None:
        values["similarity"] = found["similarity"].double().nanmean().item()
    arrays = {name: (v.float() if v.is_floating_point() else v).numpy() for name, v in found.items()}
    flags = {
        f"{int(values['zero_maps'])} gradients are zero": values["zero_maps"] > 0,
        "nonfinite_gradients": not bool(gradients.isfinite().all()),
    }
    return Measurement(values, arrays, [flag for flag, present in flags.items() if present])


def _batch(
    config: Config, request: MeasureRequest, compare: Compare | None, start: int, x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    found = {
        "images": x,
        "gradients": classifier_gradient(request.model, x, y, config.gradient),
        "labels": y,
        "predicted": predicted(logits(request.model, x, len(x))),
    }
    if "score" not in request.inputs:
        return found
    rows = torch.arange(start, start + len(x), device=x.device)
    found["scores"] = request.inputs["score"].read(rows, x).to(x)
    if compare is not None:
        maps = resized(scaled_map(found["gradients"]), config.resize)
        if maps.shape != found["scores"].shape:
            raise DataError(
                f"scores of shape {tuple(found['scores'].shape[1:])}, gradients of shape"
                f" {tuple(maps.shape[1:])}: set the option resize to the side of the scores"
            )
        found["similarity"] = compare(maps, [scaled_map(found["scores"])])[0]
    return found
