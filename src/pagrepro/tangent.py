"""Tangent spaces of a decoder's image, and projection onto them.

Srinivas, Bordt and Lakkaraju (2023), section 4: at an image x with latent z the tangent space is the span
of the columns of J = d decode(z) / dz. Their public code takes one backward pass per pixel; the same J
needs one forward derivative per latent dimension, all of them in one pass. The basis are the left singular
vectors of J whose singular value exceeds a share of the largest one; P = Q Q^T weighs them equally,
whatever their singular values.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pagrepro.errors import DataError
from pagrepro.precision import full_precision

REVISION = 1


def decoder_jacobian(decode: Callable[[Tensor], Tensor], z: Tensor, chunk: int = 32) -> Tensor:
    """J (B, latent, *shape): derivatives of decode(z) with respect to each latent dimension, at z (B,
    latent).

    decode: (B, latent) -> (B, *shape), example by example (batch normalisation in eval mode). chunk: latent
    dimensions per pass. In the precision of z, mixed precision off.
    """
    from torch.func import jvp, vmap

    def along(direction: Tensor) -> Tensor:
        return jvp(decode, (z,), (direction.expand_as(z),))[1]

    directions = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    with torch.no_grad(), full_precision(z.device):
        return vmap(along, chunk_size=chunk)(directions).transpose(0, 1)


def rank_threshold(threshold: float | None, latent: int, pixels: int) -> float:
    """The share of the largest singular value below which directions count as none. None: machine precision
    of float32 times the longer side of J, as in `scipy.linalg.orth`, which the public code uses."""
    return torch.finfo(torch.float32).eps * max(latent, pixels) if threshold is None else threshold


def tangent_basis(jacobian: Tensor, threshold: float | None = None) -> tuple[Tensor, Tensor]:
    """Orthonormal basis (B, k, *shape) of the span of a Jacobian (B, latent, *shape), by falling singular
    value, and all singular values (B, k); k = min(latent, pixels). Rows beyond the rank are exactly zero.

    Computed and returned in float64. threshold: see `rank_threshold`. Raises DataError for a Jacobian that
    is not finite.
    """
    columns = jacobian.flatten(2).double().transpose(1, 2)  # (B, pixels, latent)
    if not bool(columns.isfinite().all()):
        raise DataError("tangent spaces: the derivative of the decoder is not finite")
    # QR first: singular vectors are then only needed of a small matrix.
    q, r = torch.linalg.qr(columns)
    u, singular, _ = torch.linalg.svd(r, full_matrices=False)
    limit = rank_threshold(threshold, columns.shape[2], columns.shape[1])
    kept = singular > limit * singular[:, :1]
    basis = (q @ u).transpose(1, 2) * kept[:, :, None]
    return basis.unflatten(2, jacobian.shape[2:]), singular


def project(basis: Tensor, u: Tensor) -> Tensor:
    """P u, in the precision of u: the part of u (B, *shape) in the span of an orthonormal basis (B, k,
    *shape)."""
    rows = basis.flatten(2).to(u.dtype)
    coefficients = rows @ u.flatten(1)[:, :, None]  # (B, k, 1)
    return (rows.transpose(1, 2) @ coefficients).squeeze(2).view_as(u)


def rank(basis: Tensor) -> Tensor:
    """Dimensions (B,) int64 of the spans: rows of a basis (B, k, *shape) that are not zero."""
    return (basis.flatten(2) != 0).any(2).sum(1)
