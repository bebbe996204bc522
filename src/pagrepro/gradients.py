"""Class-conditional input gradients and their cosines.

Ganz et al. (2022), eq. 1 and 2: v_t = d f(x)_t / dx for every class t, compared with g(x, t) by a
cosine. The C cosines are nonlinear in each gradient, so the gradients are needed separately: one
vector-Jacobian product per class. For a batch, one product of sum_i f(x_i)_t gives v_t of all examples
(in train-mode batch norm it holds cross-example terms, as in the public code).
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

REVISION = 1

GradientOf = Literal["logit", "log_probability"]
Floor = Literal["each", "product"]
Method = Literal["loop", "batched", "recompute"]

COSINE_EPS = 1e-12


def single(values: Tensor) -> Tensor:
    """In float32 where they are of half precision (mixed precision); else as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def scores(logits: Tensor, gradient_of: GradientOf) -> Tensor:
    """(B, C) logits -> the (B, C) scalars that are differentiated: logits or log-probabilities. Those of half
    precision come back in float32."""
    logits = single(logits)
    if gradient_of == "logit":
        return logits
    if gradient_of == "log_probability":
        return logits.log_softmax(1)
    raise ValueError(f"gradient_of {gradient_of!r}; allowed: logit, log_probability")


def input_gradient(values: Tensor, x: Tensor, create_graph: bool = False) -> Tensor:
    """Gradient (B, *shape) of per-example scalars `values` (B,) with respect to x, through which they were
    computed. No gradient of weights is computed. The graph of `values` is kept only for create_graph."""
    return torch.autograd.grad(values, x, torch.ones_like(values), create_graph=create_graph)[0]


def class_gradients(
    model: Callable[[Tensor], Tensor] | Tensor,
    x: Tensor,
    gradient_of: GradientOf = "logit",
    classes: Tensor | None = None,
    create_graph: bool = False,
    method: Literal["loop", "batched"] = "loop",
) -> Tensor:
    """Gradients (B, K, *shape) of K class scores with respect to x (B, *shape).

    model: a network (called as it is: set eval mode first), or logits (B, C) already computed from an x
    that requires grad; then their graph is kept. classes: (K,) int64, the same for all examples;
    default all C. method: "loop" is the reference, one vector-Jacobian product per class; "batched"
    does them in one vectorised backward pass.
    """
    if isinstance(model, Tensor):
        values = scores(model, gradient_of)
    else:
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            values = scores(model(x), gradient_of)
    chosen = range(values.shape[1]) if classes is None else classes.tolist()
    if method == "batched":
        return _batched(values, x, list(chosen), create_graph)
    if method != "loop":
        raise ValueError(f"method {method!r}; allowed: loop, batched")
    return torch.stack([_one_class(values, x, t, create_graph) for t in chosen], 1)


def _one_class(values: Tensor, x: Tensor, t: int, create_graph: bool) -> Tensor:
    # retain_graph: the graph from x to the scores serves the other classes too. A scalar, because explicit
    # output gradients make torch import its symbolic-shape machinery (2.5 s of CPU in every process).
    with torch.enable_grad():
        score = values[:, t].sum()
    return torch.autograd.grad(score, x, create_graph=create_graph, retain_graph=True)[0]


def _batched(values: Tensor, x: Tensor, classes: list[int], create_graph: bool) -> Tensor:
    # One-hot output gradients, (K, B, C); only the backward pass is vectorised, so layers that
    # update running statistics in their forward pass are safe.
    one_hot = torch.eye(values.shape[1], dtype=values.dtype, device=values.device)[classes]
    outputs = one_hot[:, None].expand(-1, len(values), -1)
    gradients = torch.autograd.grad(
        values, x, outputs, create_graph=create_graph, retain_graph=True, is_grads_batched=True
    )[0]
    return gradients.transpose(0, 1)


def cosine(
    v: Tensor, u: Tensor, batch_dims: int = 1, floor: Floor = "each", eps: float = COSINE_EPS
) -> Tensor:
    """Cosine between v and u over all dimensions after the first `batch_dims`, which the result keeps.

    floor: "each" divides v by max(||v||, eps) and u by max(||u||, eps); "product" is eq. 2 literally,
    v.u / max(||v|| ||u||, eps). The two differ only for vanishing vectors. A zero vector gives 0.
    Half-precision inputs are computed in fp32.
    """
    v, u = (single(z.flatten(batch_dims)) for z in (v, u))
    v_norm, u_norm = (torch.linalg.vector_norm(z, dim=-1) for z in (v, u))
    if floor == "product":
        return (v * u).sum(-1) / (v_norm * u_norm).clamp_min(eps)
    if floor != "each":
        raise ValueError(f"cosine floor {floor!r}; allowed: each, product")
    # Normalised before the product, so that small vectors do not underflow in it.
    v_unit = v / v_norm.clamp_min(eps).unsqueeze(-1)
    u_unit = u / u_norm.clamp_min(eps).unsqueeze(-1)
    return (v_unit * u_unit).sum(-1)


def class_cosines(
    values: Tensor,
    x: Tensor,
    targets: Tensor,
    classes: Tensor,
    floor: Floor = "each",
    eps: float = COSINE_EPS,
    method: Method = "loop",
) -> Tensor:
    """Differentiable cosines (B, K) between the gradients of K class scores and their targets.

    values: (B, C) scores computed from x (B, *shape), which requires grad; targets: (B, K, *shape)
    directions for `classes` (K,). method: "loop" is the reference; "batched" is one vectorised pass;
    "recompute" keeps the double-backward graph of one class at a time and computes each class's
    gradient a second time in the backward pass: about half the memory, the same numbers.
    """
    if method == "batched":
        return cosine(_batched(values, x, classes.tolist(), True), targets, 2, floor, eps)
    if method not in ("loop", "recompute"):
        raise ValueError(f"method {method!r}; allowed: loop, batched, recompute")

    def one(values: Tensor, x: Tensor, position: int, t: int) -> Tensor:
        return cosine(_one_class(values, x, t, True), targets[:, position], 1, floor, eps)

    columns = []
    for position, t in enumerate(classes.tolist()):
        if method == "loop":
            columns.append(one(values, x, position, t))
        else:
            # No randomness inside, so its state need not be kept.
            column = checkpoint(one, values, x, position, t, use_reentrant=False, preserve_rng_state=False)
            columns.append(column)
    return torch.stack(columns, 1)
