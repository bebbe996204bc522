"""Tangent spaces of an autoencoder, by which directions on and off the manifold are told apart.

Srinivas, Bordt and Lakkaraju (2023), section 4 (`tangent.py`): z = encode(x), and an orthonormal basis of
the span of d decode(z) / dz. It is the tangent space at the reconstruction, and used at x.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from pagrepro.autoencoder_networks import Autoencoder
from pagrepro.checks import check_range
from pagrepro.dataset import to_float
from pagrepro.errors import DataError
from pagrepro.options import Number, Strict
from pagrepro.request import FieldRequest
from pagrepro.tangent import decoder_jacobian, tangent_basis

REVISION = 1

# Axes of what is stored, for the estimate of disk space; the second is an option of a run's task.
STORES = ("rows", "autoencoder.latent", "pixels")

ROLES = {"autoencoder": "run"}

# Roles whose run has to be fitted on the very data set of the field.
SAME_DATA = ("autoencoder",)


class Config(Strict):
    """threshold: singular values up to this share of the largest one belong to no direction; by default
    machine precision of float32 times the longer side of the Jacobian. dtype: of the stored basis (float16
    is orthonormal to 1e-3 only). batch: images at a time; chunk: latent dimensions at a time."""

    threshold: Number | None = Field(None, ge=0, lt=1)
    dtype: Literal["float32", "float16"] = "float32"
    batch: int = Field(16, ge=1)
    chunk: int = Field(32, ge=1)


def compute(config: Config, request: FieldRequest) -> dict[str, Tensor]:
    """basis (n, k, *shape), k = min(latent, pixels): orthonormal, zero beyond the rank; singular_values (n,
    k) float32. Raises DataError when the run is no autoencoder."""
    network = request.inputs["autoencoder"].model
    if not isinstance(network, Autoencoder):
        raise DataError("tangent: role autoencoder: expected a run of task autoencoder")
    bases, values = [], []
    for rows in request.rows.split(config.batch):
        x = to_float(request.x[rows].to(request.device))
        check_range(x, request.low, request.high, "images given to the autoencoder")
        with torch.no_grad():
            z = network.encode(x)
        basis, singular = tangent_basis(decoder_jacobian(network.decode, z, config.chunk), config.threshold)
        bases.append(basis.to("cpu", getattr(torch, config.dtype)))
        values.append(singular.to("cpu", torch.float32))
    return {"basis": torch.cat(bases), "singular_values": torch.cat(values)}


def read(config: Config, tensors: dict[str, Tensor], rows: Tensor, x: Tensor) -> Tensor:
    """The stored basis (B, k, *shape) in the dtype of x, whatever version of these rows x is."""
    return tensors["basis"][rows.to(tensors["basis"].device)].to(x)
