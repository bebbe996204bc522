"""Small autoencoders for tests, and tangent spaces by hand."""

import torch
from torch import nn

from pagrepro.autoencoder_networks import Autoencoder, autoencoder
from pagrepro.load import freeze
from pagrepro.request import LoadedField

SHAPE = (1, 7, 6)


def small_autoencoder(shape=SHAPE, latent=5, network="small_conv", seed=0, **options) -> Autoencoder:
    """Untrained, float64, frozen; batch statistics far from 0 and 1, so that eval mode matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = autoencoder(network, shape, latent, 4, **options).double()
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.05, 0.3)
    return freeze(made)


def fixed_basis(basis, **spec) -> LoadedField:
    """A tangent field that gives `basis` (N, k, *shape) by row."""
    return LoadedField("tangent", lambda rows, x: basis[rows].to(x), spec)


def coordinates(n, shape, chosen) -> torch.Tensor:
    """The same basis for n examples: unit vectors along the chosen pixels."""
    pixels = torch.Size(shape).numel()
    return torch.eye(pixels, dtype=torch.float64)[list(chosen)].view(-1, *shape).expand(n, -1, *shape)
