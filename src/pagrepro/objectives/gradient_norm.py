"""Cross-entropy plus a penalty on the norm of an input gradient.

Srinivas, Bordt and Lakkaraju (2023), appendix B, objective 1 (and section 3.3, argument 1); Drucker and Le
Cun (1992), "double backpropagation":
    L(x, y) = CE(f(x), y) + lambda ||grad_x g(x)||_2^2.
The paper calls g "f", a point of the simplex. Its public code takes the gradient of the batch's mean
cross-entropy, with a constant: lambda 1e5 / B sum_k ||d mean CE / d x_k||^2 = lambda (1e5 / B^2) mean_k
||grad CE_k||^2, so that B = 128 images are penalised 6.1035 times as much as lambda says, and a last batch of
80 images 15.6 times. Here the penalty is a mean over examples whatever their number; `of: loss` with `scale:
6.103515625` (1e5 / 128^2) puts `weight` on the axis of the paper's figures.

Rodriguez-Munoz et al. (2024), section 4.1, Eq. 2, `norm: l1`:
    L(x, y) = lambda_CE CE(f(x), y) + alpha(t) lambda_GN (eps / sigma) ||grad_z CE(f(x), y)||_1,
where the norm is a sum over channels and pixels, and the batch's loss a mean over examples (their code takes
B times the gradient of the mean cross-entropy, which is the same in eval mode). z is the normalised image and
sigma = 0.225 one number for all channels (`space: normalized`, `scale: 4/255`, `sigma: 0.225`). So the term
is close to eps ||grad_x CE||_1, to first order what an attack of size eps can add, and with `space: data` and
`sigma: 1` exactly that. alpha(t) rises from 0 to 1 over 5 of 100 epochs, step by step (`ramp: 5/100`).
Section 5.2 weights the channels 1, 2, 1; appendix D takes both terms at images with noise or at attacked ones
(`at`). The noise is Gaussian in the text, uniform and clipped to [0, 1] in the code; here both are clipped.

With batch statistics the gradient of one example holds terms of the others, as in the public code. One double
backward pass; exact for piecewise linear networks, where finite differences of the gradient are not. The
same may be compiled (`compiled`), which takes minutes at the first step; what it gains is not measured yet.
"""

import functools
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from pagrepro.attention import require_explicit_attention
from pagrepro.batch import Batch
from pagrepro.batchnorm import evaluation_mode
from pagrepro.compiled_gradient import Pull, compiled_gradients
from pagrepro.errors import DataError
from pagrepro.gradients import class_gradients, single
from pagrepro.objectives._noise import noisy
from pagrepro.objectives._space import in_space
from pagrepro.options import Compiled, Number, Strict, plugin
from pagrepro.plugins import instantiate
from pagrepro.threat import clip

REVISION = 1
# Relies on the curvature of the network: a fit of a piecewise linear one says so.
SMOOTH = True


class Config(Strict):
    """weight, scale, sigma: the penalty is multiplied by weight * scale / sigma; ramp: and by a factor that
    rises from 0 to 1 over this fraction of the training steps (more than 1: it does not get there; 0: none).
    cross_entropy_weight: of the other term.

    of: what is differentiated: the cross-entropy of an example, the logit of its label, the sum of its
    logits, the probability of its label, or all probabilities (all entries of their Jacobian, for squared_l2
    its squared Frobenius norm; C backward passes). norm: of the gradient of one example, a sum over entries.
    space: the gradient per unit of the data, or of the image behind the model's normalisation (models with a
    `normalize`). channel_weights: of the entries of each channel, all 1 when null.

    at: where both terms are taken: at the training images, at images with Gaussian or uniform noise (noise:
    its standard deviation or half-width in the data's units; clipped to the range of the data), or at
    adversarial ones (attack: on the network in eval mode, then constant).

    compiled: network and gradient as one compiled function, with CUDA graphs if "cudagraphs"; for fits in one
    process, and not for the Jacobian."""

    weight: Number = Field(ge=0)
    scale: Number = Field(1.0, gt=0)
    of: Literal["loss", "logit_label", "logit_sum", "probability_label", "probability_jacobian"] = "loss"
    norm: Literal["squared_l2", "l1"] = "squared_l2"
    sigma: Number = Field(1.0, gt=0)
    ramp: Number = Field(0.0, ge=0)
    cross_entropy_weight: Number = Field(1.0, ge=0)
    space: Literal["data", "normalized"] = "data"
    channel_weights: tuple[Annotated[Number, Field(ge=0)], ...] | None = None
    at: Literal["clean", "gaussian", "uniform", "adversarial"] = "clean"
    noise: Number | None = Field(None, ge=0)
    attack: plugin("attacks") | None = None
    compiled: Compiled = False

    @model_validator(mode="after")
    def _consistent(self):
        if (self.noise is not None) != (self.at in ("gaussian", "uniform")):
            raise ValueError("noise is for at: gaussian and at: uniform, and only for them")
        if (self.attack is not None) != (self.at == "adversarial"):
            raise ValueError("attack is for at: adversarial, and only for that")
        if self.compiled and self.of == "probability_jacobian":
            raise ValueError("compiled is for one gradient per example, not for of: probability_jacobian")
        return self


def build(config: Config):
    """Objective: (model, batch, generator) -> per-example terms (B,): loss, cross_entropy, penalty (before
    weight, scale, sigma and ramp). generator: the noise or the attack's start; clean images need none. Raises
    DataError for the sum of the logits of a model with a single logit, which is 0 everywhere, for space:
    normalized of a model without normalisation, for another number of channels than of their weights, and
    where `compiled` is asked for and cannot be (see `compiled_gradient`)."""
    attack = None if config.attack is None else instantiate("attacks", config.attack)
    values = functools.partial(differentiated, config.of)
    compiled = compiled_gradients(values, _slope, config.compiled) if config.compiled else None

    def objective(model: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        require_explicit_attention(model)
        if config.of == "logit_sum" and getattr(model, "single_logit", False):
            raise DataError(
                "objective option of: logit_sum; the model has a single logit f, returned as (-f/2, f/2),"
                " whose sum is 0 everywhere; take logit_label"
            )
        x = _inputs(config, attack, model, batch, generator)
        if compiled is None:
            gradients, cross_entropy = _gradients(config, model, x.requires_grad_(), batch)
        else:
            slope, cross_entropy = compiled(model, x, None, batch.target, batch.y)
            gradients = slope.unsqueeze(1)
        penalty = _size(in_space(model, gradients, config.space), config.norm, config.channel_weights)
        rise = min(batch.progress / config.ramp, 1.0) if config.ramp else 1.0
        weight = rise * config.weight * config.scale / config.sigma
        return {
            "loss": config.cross_entropy_weight * cross_entropy + weight * penalty,
            "cross_entropy": cross_entropy.detach(),
            "penalty": penalty.detach(),
        }

    return objective


def _inputs(
    config: Config, attack: Any, model: nn.Module, batch: Batch, generator: torch.Generator
) -> Tensor:
    """The images (B, *shape) at which both terms are taken, without a graph."""
    x = batch.augmented().detach()
    if config.at == "clean":
        return x
    if config.at == "adversarial":
        with evaluation_mode(model):
            return attack.perturb(model, x, batch.target, generator, None, batch.low, batch.high)
    if config.at == "gaussian":
        return clip(noisy(x, config.noise, generator), batch.low, batch.high)
    uniform = torch.rand(x.shape, generator=generator, device=generator.device).to(x)
    return clip(x + config.noise * (2 * uniform - 1), batch.low, batch.high)


def differentiated(of: str, logits: Tensor, target: Tensor, y: Tensor) -> Tensor:
    """What is differentiated with respect to the images, its sum over all entries taken first. logits:
    (B, C); target: labels (B,) or probabilities (B, C); y: labels (B,)."""
    if of == "loss":
        return F.cross_entropy(logits, target, reduction="none")
    if of == "logit_sum":
        return logits
    scores = logits if of == "logit_label" else single(logits).softmax(1)
    # All of them for the Jacobian.
    return scores if of == "probability_jacobian" else scores.gather(1, y[:, None])


def _gradients(config: Config, model: nn.Module, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Differentiable gradients (B, K, *shape), K = C for the Jacobian, otherwise 1; cross-entropy (B,)."""
    logits = model(x)
    cross_entropy = F.cross_entropy(logits, batch.target, reduction="none")
    of_loss = config.of == "loss"
    values = cross_entropy if of_loss else differentiated(config.of, logits, batch.target, batch.y)
    if config.of == "probability_jacobian":
        return class_gradients(values, x, create_graph=True), cross_entropy
    # A scalar: explicit output gradients make torch import its symbolic-shape machinery.
    return torch.autograd.grad(values.sum(), x, create_graph=True)[0].unsqueeze(1), cross_entropy


def _slope(pull: Pull, values: Tensor, logits: Tensor, target: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The same, of a single gradient, where it is compiled."""
    return pull(torch.ones_like(values)), F.cross_entropy(logits, target, reduction="none")


def _size(gradients: Tensor, norm: str, channel_weights: tuple[float, ...] | None) -> Tensor:
    """(B, K, *shape) -> (B,): what is penalised. The slope of |g| at g = 0 is taken as 0."""
    if norm not in ("squared_l2", "l1"):
        raise ValueError(f"norm {norm!r}; allowed: squared_l2, l1")
    sizes = gradients.square() if norm == "squared_l2" else gradients.abs()
    if channel_weights is not None:
        channels = sizes.shape[2]
        if len(channel_weights) != channels:
            raise DataError(
                f"objective option channel_weights: {len(channel_weights)} values"
                f" for data of {channels} channels"
            )
        sizes = sizes * sizes.new_tensor(channel_weights).view(channels, *[1] * (sizes.dim() - 3))
    return sizes.flatten(1).sum(1)
