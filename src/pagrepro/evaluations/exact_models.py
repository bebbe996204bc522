"""Lemma 1 and Theorem 1 on linear models, and the optimally robust model of Spheres: known numbers.

Lanfredi et al. (2020), section 2.1. Nothing of the measured run is used but its data: the models below are
built here, in float64, on the dimension of the data. Distances are compared with bisections that know
nothing of Lemma 1:
    Lemma 1     min_c |d_c| is the distance to the decision boundary,
    Theorem 1   rho(x_i) + rho(x_j) = ||x_j - x_i|| cos(x_j - x_i, grad logit_j - grad logit_i),
    Eq. 2       logits (-(||x|| - t), ||x|| - t), t half-way between two spheres: alignment 1, robustness
                half of the gap; any other t between them moves margins from one class to the other.
rho is signed (Eq. 1): negative where the prediction is wrong.
"""

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pagrepro import seeding
from pagrepro.closest_class import (
    class_distances,
    closest_class,
    ell_gradient,
    exact_cosine,
    linearised,
)
from pagrepro.options import Number, Strict
from pagrepro.predictions import batches, logits, predicted
from pagrepro.request import Measurement, MeasureRequest

REVISION = 1

# What it says does not depend on the model that is measured.
OF_MODEL = False

# The result is the numbers; there is nothing per example.
ARRAYS = False

BISECTIONS = 60
DOUBLINGS = 60


class Config(Strict):
    """classes: of the linear model (a second one has two); points: examples drawn for each. radii: of the
    spheres of class 0 and class 1; threshold: t of Eq. 2; shifted: other thresholds, strictly between the
    spheres."""

    classes: Annotated[int, Field(ge=3)] = 5
    points: Annotated[int, Field(ge=2)] = 32
    radii: tuple[Number, Number] = (1.0, 1.3)
    threshold: Number = 1.15
    shifted: tuple[Number, ...] = (1.05, 1.25)

    @model_validator(mode="after")
    def _between(self):
        if not all(self.radii[0] < t < self.radii[1] for t in (self.threshold, *self.shifted)):
            raise ValueError("threshold, shifted: strictly between the two radii, the smaller one first")
        return self


class Linear(nn.Module):
    """logits = W x + b for flattened examples; drawn so that logits of normal examples are about 1."""

    def __init__(self, classes: int, inputs: int, generator: torch.Generator):
        super().__init__()
        options = {"generator": generator, "dtype": torch.float64, "device": generator.device}
        self.weight = torch.randn(classes, inputs, **options) / inputs**0.5
        self.bias = 0.3 * torch.randn(classes, **options)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


class Sphere(nn.Module):
    """Eq. 2: logits (-(||x|| - t), ||x|| - t), class 1 outside of the radius t."""

    def __init__(self, t: float):
        super().__init__()
        self.t = t

    def forward(self, x: Tensor) -> Tensor:
        outside = torch.linalg.vector_norm(x, dim=1) - self.t
        return torch.stack([-outside, outside], 1)


def measure(config: Config, request: MeasureRequest) -> Measurement:
    """values: lemma1_error, theorem1_error, the largest absolute deviations over all points (in the unit of
    normal coordinates), also with two classes. For two classes of vectors (n,) on spheres of the given
    radii, with the examples of the request: optimal_alpha, the mean alignment with the directions to the
    other sphere; optimal_rho, the mean signed robustness by bisection along the gradient of ell, each class
    counting one half (with t not half-way the classes' robustness differs); optimal_alpha_error,
    optimal_rho_error, the largest deviations of an example from 1 and from the distance of its sphere to t;
    threshold_rho_error, the largest deviation of that mean from half of the gap over all thresholds. Data on
    no such spheres leave these out, with a flag."""
    inputs = request.x[0].numel()
    lemma, theorem = zip(*(_linear(config, request, classes, inputs) for classes in (config.classes, 2)))
    values = {"lemma1_error": max(lemma), "theorem1_error": max(theorem)}
    if not _on_spheres(config, request):
        return Measurement(values, flags=["not_spheres"])
    return Measurement(values | _spheres(config, request))


# --- linear models ---------------------------------------------------------------------------------


def _linear(config: Config, request: MeasureRequest, classes: int, inputs: int) -> tuple[float, float]:
    """Errors of Lemma 1 and Theorem 1 on one model."""
    generator = seeding.generator(request.seed, "exact_models", classes, device=request.device)
    model = Linear(classes, inputs, generator)
    x = torch.randn(config.points, inputs, generator=generator, dtype=torch.float64, device=request.device)
    return _lemma1(model, x, generator), _theorem1(model, x, generator)


def _lemma1(model: Linear, x: Tensor, generator: torch.Generator) -> float:
    """Largest deviation of d_c~ from the distance by bisection, and of the minimiser from the boundary.

    Labels are predictions, and with two classes any label: a wrong one of more than two classes is at a
    corner of its region's boundary more often than not, which no d_c is the distance of.
    """
    y = predicted(model(x))
    if len(model.weight) == 2:
        y = torch.randint(2, y.shape, generator=generator, device=y.device)
    z, gradients = linearised(model, x)
    distances = class_distances(z, gradients, y)
    c, shortest = closest_class(distances, y), distances.amin(1)
    by_bisection = (shortest - _signed(_radius(model, x), predicted(z) == y)).abs()
    slope = model.weight[c] - model.weight[y]
    norm = slope.norm(dim=1)
    there = model(x + (shortest / norm)[:, None] * slope)
    # On the boundary the label's logit equals the largest other one.
    others = there.scatter(1, y[:, None], -torch.inf).amax(1)
    off_boundary = (there.gather(1, y[:, None]).squeeze(1) - others).abs() / norm
    return torch.cat([by_bisection, off_boundary]).max().item()


def _radius(model: Linear, x: Tensor) -> Tensor:
    """Distance (B,) to the nearest change of prediction: a class's region is the intersection of
    half-spaces, so it lies along one of their normals."""
    here = predicted(model(x))
    found = []
    for c in range(len(model.weight)):
        normal = model.weight[c] - model.weight[here]
        other = here != c
        towards = torch.nn.functional.normalize(normal, dim=1)
        found.append(torch.full_like(x[:, 0], torch.inf))
        found[-1][other] = _crossing(model, x[other], towards[other], 1.0)
    return torch.stack(found).amin(0)


def _theorem1(model: Linear, x: Tensor, generator: torch.Generator) -> float:
    """Largest |rho_i + rho_j - ||x_j - x_i|| alpha| over pairs that meet the theorem's assumption.

    x_j lies across the nearest boundary of x_i or before it, moved aside a little; which of the two has
    which label is drawn, so that right and wrong predictions occur. NaN when no pair is left.
    """
    here, nearest, z_gradients = _two_classes(model, x)
    slope = ell_gradient(z_gradients, here, nearest)
    distance = _radius(model, x)
    draws = {"generator": generator, "dtype": x.dtype, "device": x.device}
    factor = 0.3 + 2 * torch.rand(len(x), 1, **draws)
    aside = torch.nn.functional.normalize(torch.randn(x.shape, **draws), dim=1)
    step = factor * torch.nn.functional.normalize(slope, dim=1) + 0.2 * aside
    x_j = x + distance[:, None] * step
    here_j, nearest_j, gradients_j = _two_classes(model, x_j)
    meets = ((here_j == here) & (nearest_j == nearest)) | ((here_j == nearest) & (nearest_j == here))
    swapped = torch.rand(len(x), **draws) < 0.5
    i, j = torch.where(swapped, nearest, here), torch.where(swapped, here, nearest)
    rho = _signed(distance, here == i) + _signed(_radius(model, x_j), here_j == j)
    gap = x_j - x
    alphas = (
        exact_cosine(gap, ell_gradient(z_gradients, i, j)),
        exact_cosine(-gap, ell_gradient(gradients_j, j, i)),
    )
    errors = torch.stack([(rho - gap.norm(dim=1) * alpha).abs() for alpha in alphas])[:, meets]
    return errors.max().item() if errors.numel() else float("nan")


def _two_classes(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted class m(x), closest class c*(x) to it, gradients (B, C, n)."""
    z, gradients = linearised(model, x)
    here = predicted(z)
    return here, closest_class(class_distances(z, gradients, here), here), gradients


# --- spheres ---------------------------------------------------------------------------------------


def _on_spheres(config: Config, request: MeasureRequest) -> bool:
    if request.x.dim() != 2 or request.classes != 2:
        return False
    norms = torch.linalg.vector_norm(request.x.double(), dim=1)
    radii = torch.tensor(config.radii, dtype=torch.float64, device=norms.device)[request.y.to(norms.device)]
    # Data are stored in single precision.
    return bool(((norms - radii).abs() < 1e-5).all()) and len(request.y.unique()) == 2


def _spheres(config: Config, request: MeasureRequest) -> dict[str, float]:
    """The values of Eq. 2's model on the request's examples."""
    means, first = [], None
    for t in (config.threshold, *config.shifted):
        alpha, rho, y = (torch.cat(part) for part in zip(*_along_gradient(config, request, t)))
        means.append((rho[y == 0].mean() + rho[y == 1].mean()).item() / 2)
        first = first or (alpha, rho, y)
    alpha, rho, y = first
    inner, outer = config.radii
    expected = alpha.new_tensor([config.threshold - inner, outer - config.threshold])[y]
    return {
        "optimal_alpha": alpha.mean().item(),
        "optimal_rho": means[0],
        "optimal_alpha_error": (alpha - 1).abs().max().item(),
        "optimal_rho_error": (rho - expected).abs().max().item(),
        "threshold_rho_error": max(abs(mean - (outer - inner) / 2) for mean in means),
    }


def _along_gradient(
    config: Config, request: MeasureRequest, t: float
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(alignment, signed robustness, labels) of every batch for the model with threshold t."""
    model, (inner, outer) = Sphere(t), config.radii
    for _, x, y in batches(request):
        x = x.double()
        z, gradients = linearised(model, x)
        slope = ell_gradient(gradients, y, 1 - y)
        # To the point of the other sphere on the same ray from the origin.
        direction = x * x.new_tensor([outer / inner - 1, inner / outer - 1])[y][:, None]
        right = predicted(z) == y
        towards = _signed(torch.nn.functional.normalize(slope, dim=1), right[:, None])
        rho = _signed(_crossing(model, x, towards, outer - inner), right)
        yield exact_cosine(slope, direction), rho, y


# --- bisection -------------------------------------------------------------------------------------


def _signed(values: Tensor, positive: Tensor) -> Tensor:
    return torch.where(positive, values, -values)


def _crossing(model: nn.Module, x: Tensor, towards: Tensor, reach: float) -> Tensor:
    """Radius (B,) at which the prediction changes on the way from x (B, n) along unit vectors, by bisection;
    `reach` is doubled where it is too short; infinite where nothing changes however far."""
    here = predicted(logits(model, x, max(len(x), 1)))

    def changed(radius: Tensor) -> Tensor:
        return predicted(model(x + radius[:, None] * towards)) != here

    outer = torch.full_like(x[:, 0], reach)
    for _ in range(DOUBLINGS):
        beyond = changed(outer)
        if bool(beyond.all()):
            break
        outer = torch.where(beyond, outer, 2 * outer)
    outer = outer.where(changed(outer), torch.inf)
    inner = torch.zeros_like(outer)
    for _ in range(BISECTIONS):
        middle = (inner + outer) / 2
        beyond = changed(middle)
        inner, outer = torch.where(beyond, inner, middle), torch.where(beyond, middle, outer)
    return outer
