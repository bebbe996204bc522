"""Projection of images to the manifold of a class-conditional generator.

Bigolin Lanfredi et al. (2020), section 2.3.2, Eq. 14-16, in two phases as only their code says. For an
image x and a class c, from z = 0,
    L(z) = ||x - G(z, c)||_2^2 / n + lambda ||z||_2^2 / dim(z),
first with lambda = 0, then, with a new Adam, with lambda. The last iterate is kept; G(z, c) is the
projection.

Every pair (image, class) is a row of one batch. The losses of the rows are added up, not averaged, and Adam
works on each coordinate by itself, so that a row's result does not depend on what it is batched with.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from pagrepro.optimizer_options import Adam
from pagrepro.optimizers import build_optimizer
from pagrepro.precision import full_precision

REVISION = 1


def projection_loss(
    made: Tensor,
    x: Tensor,
    z: Tensor,
    weight: float,
    z_penalty_div: Literal["z", "x"] = "z",
    unit: float = 1.0,
) -> Tensor:
    """L per row (R,), Eq. 15. made, x: (R, *shape) in the data's range, of which `unit` corresponds to 1 in
    the paper's [-1, 1]; z: (R, latent). z_penalty_div: the penalty is divided by the number of latent
    dimensions (the code) or of pixels (Eq. 15)."""
    error = ((made - x) / unit).flatten(1).square()
    divisor = z.shape[1] if z_penalty_div == "z" else error.shape[1]
    return error.mean(1) + weight * z.square().sum(1) / divisor


def project(
    generator: nn.Module,
    x: Tensor,
    classes: Tensor,
    weight: float,
    steps: int = 600,
    regularised_steps: int = 150,
    lr: float = 0.1,
    z_penalty_div: Literal["z", "x"] = "z",
) -> tuple[Tensor, Tensor]:
    """Projections (R, *shape) of x (R, *shape) to the classes (R,), and their final losses L (R,), with
    lambda.

    generator: (z, classes) -> images in the data's range, frozen and in eval mode; `latent`: dimensions of z;
    `scale`: half the width of the data's range, the unit of the loss. weight: lambda. Computed in the
    precision of x, mixed precision off.
    """
    options = {"z_penalty_div": z_penalty_div, "unit": float(generator.scale)}
    z = torch.zeros(len(x), generator.latent, dtype=x.dtype, device=x.device, requires_grad=True)
    # Weights divided by their norm (spectral normalisation) do not change here: they are computed once.
    with full_precision(x.device), parametrize.cached():
        for count, penalty in ((steps, 0.0), (regularised_steps, weight)):
            optimizer = build_optimizer(Adam(name="adam", lr=lr), [z])
            for _ in range(count):
                with torch.enable_grad():
                    total = projection_loss(generator(z, classes), x, z, penalty, **options).sum()
                (z.grad,) = torch.autograd.grad(total, z)
                optimizer.step()
        with torch.no_grad():
            made = generator(z, classes)
            return made, projection_loss(made, x, z, weight, **options)
