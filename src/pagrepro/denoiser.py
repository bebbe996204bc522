"""Denoisers: D(x, sigma) = E[x0 | x0 + sigma n = x], n standard normal, x0 in the coordinates [-1, 1].

Karras et al. (2022), Table 1, column "Ours": a network F is trained as
    D(x, sigma) = c_skip x + c_out F(c_in x, c_noise),                c_noise = ln(sigma) / 4,
    c_skip = s^2 / (sigma^2 + s^2),  c_out = sigma s / sqrt(sigma^2 + s^2),  c_in = 1 / sqrt(sigma^2 + s^2),
with s = sigma_data, so that its input and its target have unit variance. Srinivas et al. (2023), section 4.2,
take the score of the data from such a network (`score.py`). For a mixture of Gaussians D is known exactly.

All have `denoise(x, sigma, y=None)`, `shape` (of one example) and `classes` (0: takes no labels).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pagrepro.denoiser_options import Adm, Ddpmpp, Unet2d
from pagrepro.edm_layers import PositionalEmbedding
from pagrepro.edm_networks import Adm as AdmNetwork
from pagrepro.edm_networks import DdpmPlusPlus
from pagrepro.errors import DataError
from pagrepro.layers import image_shape

REVISION = 1

SIGMA_DATA = 0.5


def _levels(sigma: Tensor | float, x: Tensor) -> Tensor:
    """sigma as (B, 1, ...), broadcast against x (B, *shape)."""
    sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(len(x))
    return sigma.view(-1, *[1] * (x.dim() - 1))


def check_labels(classes: int, y: Tensor | None) -> None:
    """Raise DataError for labels given to a denoiser without classes, or none to one with classes."""
    if bool(classes) != (y is not None):
        have = f"a denoiser for {classes} classes" if classes else "a denoiser without classes"
        raise DataError(f"{have} was given {'no labels' if y is None else 'labels'}")


class EdmPreconditioned(nn.Module):
    """D from `network(x, c_noise, labels)`: (B, *shape), (B,), one-hot (B, classes) or None; (B, *shape)."""

    def __init__(
        self, network: nn.Module, shape: tuple[int, ...], classes: int = 0, sigma_data: float = SIGMA_DATA
    ):
        super().__init__()
        self.network, self.shape, self.classes, self.sigma_data = network, tuple(shape), classes, sigma_data

    def forward(self, x: Tensor, sigma: Tensor | float, y: Tensor | None = None) -> Tensor:
        check_labels(self.classes, y)
        sigma = _levels(sigma, x)
        c_noise = sigma.flatten().log() / 4
        variance, s = sigma.square() + self.sigma_data**2, self.sigma_data
        labels = None if y is None else F.one_hot(y, self.classes).to(x.dtype)
        # With mixed precision only the network is computed in it.
        out = self.network(x / variance.sqrt(), c_noise, labels).to(x.dtype)
        return s**2 / variance * x + sigma * s / variance.sqrt() * out

    def denoise(self, x: Tensor, sigma: Tensor | float, y: Tensor | None = None) -> Tensor:
        """E[x0 | x] (B, *shape); x (B, *shape) and sigma (one number, or (B,)) in coordinates [-1, 1]; y (B,)
        int64. Raises DataError as `check_labels`."""
        return self(x, sigma, y)


class GaussianMixture(nn.Module):
    """The exact denoiser of sum_k w_k N(m_k, v_k I), for tests and as a reference, in float64.

    means: (K, *shape), in coordinates [-1, 1]; variance: one number or (K,); weights: (K,), any positive
    numbers. conditional: component k is class k, and y chooses it.
    """

    def __init__(
        self,
        means: Tensor,
        variance: Tensor | float,
        weights: Tensor | None = None,
        conditional: bool = False,
    ):
        super().__init__()
        means = means.double()
        count = len(means)
        weights = torch.ones(count) if weights is None else weights
        self.shape, self.classes = tuple(means.shape[1:]), count if conditional else 0
        self.register_buffer("means", means)
        variance = torch.as_tensor(variance, dtype=torch.float64)
        self.register_buffer("variance", variance.expand(count).clone().to(means.device))
        self.register_buffer("log_weights", (weights.double() / weights.double().sum()).log())

    def log_density(self, x: Tensor, sigma: Tensor | float, y: Tensor | None = None) -> Tensor:
        """Log density (B,) of x = x0 + sigma n; given its class where y is given."""
        return self._joint(x.double(), sigma, y).logsumexp(1)

    def denoise(self, x: Tensor, sigma: Tensor | float, y: Tensor | None = None) -> Tensor:
        """E[x0 | x] (B, *shape) in the dtype of x, from float64; arguments as in `EdmPreconditioned`."""
        check_labels(self.classes, y)
        found = x.double()
        posterior = self._joint(found, sigma, y).softmax(1)  # (B, K)
        share = self.variance / (self.variance + _levels(sigma, found).view(-1, 1).square())  # (B, K)
        # E[x0 | x, k] = m_k + share_k (x - m_k)
        shape = (-1, *[1] * len(self.shape))
        means = torch.einsum("bk,k...->b...", posterior * (1 - share), self.means)
        return ((posterior * share).sum(1).view(shape) * found + means).to(x.dtype)

    def _joint(self, x: Tensor, sigma: Tensor | float, y: Tensor | None) -> Tensor:
        """ln w_k N(x; m_k, (v_k + sigma^2) I) (B, K); with y, that of y alone without its weight."""
        variance = self.variance + _levels(sigma, x).view(-1, 1).square()  # (B, K)
        squares = (x[:, None] - self.means).flatten(2).square().sum(2)
        log_normal = -squares / (2 * variance) - math.prod(self.shape) / 2 * (2 * math.pi * variance).log()
        if y is None:
            return self.log_weights + log_normal
        others = torch.arange(len(self.means), device=x.device) != y[:, None]
        return log_normal.masked_fill(others, -torch.inf)


class _Unet2dNetwork(nn.Module):
    """UNet2DModel of diffusers as a `network(x, c_noise, labels)`."""

    def __init__(self, options: Unet2d, shape: tuple[int, int, int], classes: int):
        super().__init__()
        # Costs more to import than torch: only for those who use it.
        from diffusers.models.unets.unet_2d import UNet2DModel

        levels, last = len(options.channels), "Attn" if options.attention else ""
        if any(side % 2 ** (levels - 1) for side in shape[1:]):
            raise DataError(f"unet2d: images of {shape[1]}x{shape[2]} cannot be halved {levels - 1} times")
        self.unet = UNet2DModel(
            sample_size=shape[1:],
            in_channels=shape[0],
            out_channels=shape[0],
            block_out_channels=options.channels,
            layers_per_block=options.layers,
            down_block_types=("DownBlock2D",) * (levels - 1) + (f"{last}DownBlock2D",),
            up_block_types=(f"{last}UpBlock2D",) + ("UpBlock2D",) * (levels - 1),
            norm_num_groups=math.gcd(32, *options.channels),
            num_class_embeds=classes or None,
            add_attention=options.attention,
        )
        # The library's own computes in single precision whatever it is given.
        self.unet.time_proj = PositionalEmbedding(options.channels[0])

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor | None) -> Tensor:
        y = None if labels is None else labels.argmax(1)
        return self.unet(x, c_noise, class_labels=y, return_dict=False)[0]


def build_denoiser(
    options: Unet2d | Ddpmpp | Adm, shape: tuple[int, ...], classes: int, sigma_data: float = SIGMA_DATA
) -> EdmPreconditioned:
    """Untrained denoiser of images (C, H, W); classes: 0 without labels. Initial weights come from the global
    generator. Raises DataError for images that the network cannot halve as often as it has levels."""
    shape = image_shape(shape, f"denoiser {options.name}")
    if isinstance(options, Unet2d):
        network: nn.Module = _Unet2dNetwork(options, shape, classes)
    else:
        kind = DdpmPlusPlus if isinstance(options, Ddpmpp) else AdmNetwork
        network = kind(shape, classes, **options.model_dump(exclude={"name"}))
    return EdmPreconditioned(network, shape, classes, sigma_data)
