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

import functools
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pagrepro.attention import require_explicit_attention
from pagrepro.batch import Batch
from pagrepro.compiled_gradient import Pull, compiled_gradients
from pagrepro.gradients import COSINE_EPS, cosine, single
from pagrepro.map_options import Energy
from pagrepro.objectives._space import images_in_space, in_space
from pagrepro.options import Compiled, Number, Strict, added
from pagrepro.oriented_energy import oriented_energy
from pagrepro.precision import full_precision

REVISION = 1
# Relies on the curvature of the network: a fit of a piecewise linear one says so.
SMOOTH = True


class Config(Strict):
    """weight, growth: a(t) = weight * (1 + growth * the fraction of training done). gradient_of: the logit of
    the class t; its saliency, the largest magnitude over channels; or the cross-entropy, without a class t.
    class_choice: t sampled from softmax(logits / temperature), not differentiated, or the label. loss: the
    mean square of the public code, or 1 - cosine of each image. energy: see `oriented_energy`. space: G and E
    of the image in the data's units, or behind the model's normalisation (models with a `normalize`).
    compiled: network and gradient as one compiled function, with CUDA graphs if "cudagraphs"; for fits in one
    process."""

    weight: Number = Field(ge=0)
    growth: Number = Field(0.0, ge=0)
    gradient_of: Literal["class", "saliency", "loss"] = "class"
    class_choice: Literal["sampled", "label"] = "sampled"
    temperature: Number = Field(0.5, gt=0)
    loss: Literal["batch_rms", "cosine"] = "batch_rms"
    energy: Energy = "blurred_root"
    space: Literal["data", "normalized"] = "data"
    compiled: Compiled = added(False)


def build(config: Config):
    """Objective: (model, batch, generator) -> per-example terms (B,): loss, cross_entropy, alignment (Lcos
    before its weight) and cosine (of each image, whatever the loss; 0 where gradient or edges are zero).
    generator: the classes. Raises DataError for data that are not images of at least 4 x 4 pixels, and for
    space: normalized of a model without normalisation."""

    run = _compiled(config) if config.compiled else functools.partial(_plain, config)

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        require_explicit_attention(model)
        x = batch.augmented().detach()
        with torch.no_grad(), full_precision(x.device):
            edges = oriented_energy(images_in_space(model, x, config.space), config.energy)[:, None]
        # By the inverse of the distribution of classes: the same draws on every processor.
        uniform = torch.rand((len(x), 1), generator=generator, device=generator.device).to(x)
        gradient, logits = run(model, x, None, batch.target, batch.y, uniform)
        cross_entropy = F.cross_entropy(logits, batch.target, reduction="none")
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


def _plain(
    config: Config, model: nn.Module, x: Tensor, draw: None, target: Tensor, y: Tensor, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """The differentiable gradient (B, *shape), and the logits (B, C)."""
    x = x.requires_grad_()
    logits = model(x)
    values = _values(config, logits, target, y, uniform)
    if config.gradient_of != "loss":
        values = values.gather(1, _classes(config, logits.detach(), y, uniform)[:, None])
    # A scalar: explicit output gradients make torch import its symbolic-shape machinery.
    return torch.autograd.grad(values.sum(), x, create_graph=True)[0], logits


def _compiled(config: Config) -> Callable[..., tuple[Tensor, ...]]:
    """The same as one compiled function."""

    def use(pull: Pull, values: Tensor, logits: Tensor, target: Tensor, y: Tensor, uniform: Tensor):
        weights = torch.ones_like(values)
        if config.gradient_of != "loss":
            weights = F.one_hot(_classes(config, logits.detach(), y, uniform), logits.shape[1]).to(values)
        return pull(weights), logits

    return compiled_gradients(functools.partial(_values, config), use, config.compiled)


def _values(config: Config, logits: Tensor, target: Tensor, y: Tensor, uniform: Tensor) -> Tensor:
    """What gradients are taken of: the logits (B, C), one of each image, or the cross-entropy (B,)."""
    return F.cross_entropy(logits, target, reduction="none") if config.gradient_of == "loss" else logits


def _classes(config: Config, logits: Tensor, y: Tensor, uniform: Tensor) -> Tensor:
    """The class t (B,) of every example, Eq. 4. uniform: (B, 1), in [0, 1)."""
    if config.class_choice == "label":
        return y
    below = (single(logits) / config.temperature).softmax(1).cumsum(1)
    return (below <= uniform).sum(1).clamp_max(logits.shape[1] - 1)


def _squares(gradient: Tensor, edges: Tensor) -> Tensor:
    """(B,): mean over an example's entries of the squared difference of two tensors (B, *shape), each divided
    by its root mean square over the whole batch (zero stays zero)."""
    return (_unit(gradient) - _unit(edges)).square().flatten(1).mean(1)


def _unit(values: Tensor) -> Tensor:
    rms = torch.linalg.vector_norm(values) / values.numel() ** 0.5
    return values / rms.clamp_min(COSINE_EPS)
