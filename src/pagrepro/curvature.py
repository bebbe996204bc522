"""Second-order geometry of the loss at an input: Hessian norm, curvature, and how linear the loss is.

Rodriguez-Munoz, Wang and Torralba (2024), appendix A, after Srinivas et al. (2022), Rocamora et al. (2023).
L is the cross-entropy of one example, x its input in the data's range, H the Hessian of L in x.

Spectral norm of H by power iteration: u <- H u / ||H u||, estimate |u^T H u| for the unit vector u, a lower
bound of the norm. (The public code divides by ||H u|| + 1e-6, which makes u too short, and the estimate too
small, where ||H|| is not far above 1e-6.) Normalised curvature: |u^T H u| / (||grad L||_2 + floor).
Local linearity error (Eq. 5): ((1 - a) L(x + e1) + a L(x + e2) - L(x + (1 - a) e1 + a e2))^2. The networks
are called in eval mode, in which examples do not depend on each other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pagrepro.attention import require_explicit_attention

REVISION = 1

Model = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Spectrum:
    """quotients: (k + 1, B) Rayleigh quotients u^T H u after 0 to k iterations; residual: (B,) ||H u - (u^T H
    u) u|| at the last u: an eigenvalue of H lies within it of the last quotient."""

    quotients: Tensor
    residual: Tensor


def losses(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy (B,) of x (B, *shape) and labels y (B,) int64, without a graph."""
    with torch.no_grad():
        return F.cross_entropy(model(x), y, reduction="none")


def loss_gradient(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(inputs, loss, gradient): a leaf copy of x (B, *shape), cross-entropy (B,) and its gradient (B, *shape)
    with the graph that Hessians of it are taken through. Raises DataError for fused attention,
    which has none."""
    require_explicit_attention(model)
    with torch.enable_grad():
        inputs = x.detach().requires_grad_()
        loss = F.cross_entropy(model(inputs), y, reduction="none")
        gradient = torch.autograd.grad(loss.sum(), inputs, create_graph=True)[0]
    return inputs, loss.detach(), gradient


def power_iteration(inputs: Tensor, gradient: Tensor, start: Tensor, iterations: int) -> Spectrum:
    """Spectrum of the Hessians whose gradients are given, one per example.

    inputs, gradient: of `loss_gradient`; start: (B, *shape), need not be normalised. Where H u is exactly
    zero, u stays, and all later quotients are 0; so they are for a start of zeros. Takes iterations + 1
    double backward passes.
    """
    u = normalised(start.detach())
    quotients = []
    for step in range(iterations + 1):
        product = _hessian_product(inputs, gradient, u)
        quotients.append((u * product).flatten(1).sum(1))
        if step < iterations:
            zero = _per_example((product.flatten(1) == 0).all(1), product)
            u = u.where(zero, normalised(product))
    left_over = product - _per_example(quotients[-1], u) * u
    return Spectrum(torch.stack(quotients), left_over.flatten(1).norm(dim=1))


def normalised(v: Tensor) -> Tensor:
    """Every example of v (B, *shape) at length 1, however short it was; zeros stay."""
    flat = v.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    # Squares of short vectors underflow.
    flat = flat / largest.where(largest > 0, 1)
    length = flat.norm(dim=1, keepdim=True)
    return (flat / length.where(length > 0, 1)).view_as(v)


def linearity_error(
    model: Model, x: Tensor, y: Tensor, noise: tuple[Tensor, Tensor], share: Tensor
) -> Tensor:
    """Squared distance (B,) float64 of the loss from linear, Eq. 5, on the segment from x + noise[0] to x +
    noise[1] at the share a (B,) in [0, 1] of the way. Nothing is clipped to the data's range."""
    first, second = (losses(model, x + e, y).double() for e in noise)
    a = _per_example(share, x)
    between = losses(model, x + (1 - a) * noise[0] + a * noise[1], y).double()
    return (between - (1 - share) * first - share * second).square()


def _hessian_product(inputs: Tensor, gradient: Tensor, u: Tensor) -> Tensor:
    with torch.enable_grad():
        projection = (gradient * u).sum()
    return torch.autograd.grad(projection, inputs, retain_graph=True)[0]


def _per_example(values: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1), to go with `like` (B, *shape)."""
    return values.view(-1, *[1] * (like.dim() - 1))
