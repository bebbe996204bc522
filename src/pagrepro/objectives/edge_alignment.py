"""Cross-entropy plus alignment of an input gradient with the edges of its image.

Rodriguez-Munoz et al. (2024), section 5.3, Eq. 3 and 4:
    L(x, y) = CE(f(x), y) + a(t) Lcos(d f(x)_t / dx, E(x)),   t ~ softmax(f(x) / 0.5), one per image and step,
with E the oriented energy of the image (`pagrepro.oriented_energy`), the same in every channel. The network
never sees an attacked image. It is the *signed* gradient that is compared with a map that is never negative.

Their public code, the default here, differs from the text. Lcos is the mean square of G / rms(G) - E / rms(E)
with root mean squares over all entries of the batch, which is 2 (1 - cos) for the one cosine of the flattened
batch, so that images with large gradients and many edges count more (`loss: cosine` is 1 - cos of each
image). E is the root of the energy, blurred before and after (`energy: gaussian_squared` is Eq. 3). a(t) is
1 + 0.09 epoch: `weight: 1`, `growth: 9` for 100 epochs. G and E are of the normalised image there (`space:
normalized`, which is not the default). Appendix E has two variants that fail: the saliency
max_c |d f(x)_t / dx_c|, which lets the sign of the gradient flip from pixel to pixel, and the gradient of the
cross-entropy (`gradient_of`).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.attention import require_explicit_attention
from pagrepro.batch import Batch
from pagrepro.gradients import COSINE_EPS, cosine
from pagrepro.map_options import Energy
from pagrepro.objectives._space import images_in_space, in_space
from pagrepro.options import Number, Strict
from pagrepro.oriented_energy import oriented_energy

REVISION = 1
# Relies on the curvature of the network: a fit of a piecewise linear one says so.
SMOOTH = True


class Config(Strict):
    """weight, growth: a(t) = weight * (1 + growth * the fraction of training done). gradient_of: the logit of
    the class t; its saliency, the largest magnitude over channels; or the cross-entropy, without a class t.
    class_choice: t sampled from softmax(logits / temperature), not differentiated, or the label. loss: the
    mean square of the public code, or 1 - cosine of each image. energy: see `oriented_energy`. space: G and E
    of the image in the data's units, or behind the model's normalisation (models with a `normalize`)."""

    weight: Number = Field(ge=0)
    growth: Number = Field(0.0, ge=0)
    gradient_of: Literal["class", "saliency", "loss"] = "class"
    class_choice: Literal["sampled", "label"] = "sampled"
    temperature: Number = Field(0.5, gt=0)
    loss: Literal["batch_rms", "cosine"] = "batch_rms"
    energy: Energy = "blurred_root"
    space: Literal["data", "normalized"] = "data"


def build(config: Config):
    """Objective: (model, batch, generator) -> per-example terms (B,): loss, cross_entropy, alignment (Lcos
    before its weight) and cosine (of each image, whatever the loss; 0 where gradient or edges are zero).
    generator: the classes. Raises DataError for data that are not images of at least 4 x 4 pixels, and for
    space: normalized of a model without normalisation."""

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        require_explicit_attention(model)
        x = batch.augmented().detach().requires_grad_()
        with torch.no_grad():
            edges = oriented_energy(images_in_space(model, x, config.space), config.energy)[:, None]
        logits = model(x)
        cross_entropy = F.cross_entropy(logits, batch.target, reduction="none")
        values = cross_entropy
        if config.gradient_of != "loss":
            values = logits.gather(1, _classes(config, logits.detach(), batch.y, generator)[:, None])
        # A scalar: explicit output gradients make torch import its symbolic-shape machinery.
        gradient = torch.autograd.grad(values.sum(), x, create_graph=True)[0]
        gradient = in_space(model, gradient, config.space)
        if config.gradient_of == "saliency":
            gradient = gradient.abs().amax(1, keepdim=True)
        edges = edges.expand_as(gradient)
        cosines = cosine(gradient, edges)
        alignment = 1 - cosines if config.loss == "cosine" else _squares(gradient, edges)
        weight = config.weight * (1 + config.growth * batch.progress)
        return {
            "loss": cross_entropy + weight * alignment,
            "cross_entropy": cross_entropy.detach(),
            "alignment": alignment.detach(),
            "cosine": cosines.detach(),
        }

    return objective


def _classes(config: Config, logits: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """The class t (B,) of every example, Eq. 4."""
    if config.class_choice == "label":
        return y
    # By the inverse of the distribution: one uniform number each, the same draws on every processor.
    below = (logits / config.temperature).softmax(1).cumsum(1)
    uniform = torch.rand((len(y), 1), generator=generator, device=generator.device).to(below)
    return (below <= uniform).sum(1).clamp_max(logits.shape[1] - 1)


def _squares(gradient: Tensor, edges: Tensor) -> Tensor:
    """(B,): mean over an example's entries of the squared difference of two tensors (B, *shape), each divided
    by its root mean square over the whole batch (zero stays zero)."""
    return (_unit(gradient) - _unit(edges)).square().flatten(1).mean(1)


def _unit(values: Tensor) -> Tensor:
    rms = torch.linalg.vector_norm(values) / values.numel() ** 0.5
    return values / rms.clamp_min(COSINE_EPS)
