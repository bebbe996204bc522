"""A denoiser whose weights were made elsewhere: converted by an adapter, never fitted.

The public networks of Karras et al. (2022) that Srinivas et al. (2023), section 4.2, take their scores from.
"""

from pagrepro.denoiser import EdmPreconditioned, build_denoiser
from pagrepro.denoiser_options import DenoiserNetwork
from pagrepro.options import Number, Strict, plugin

REVISION = 1
ROLES = {"file": "source"}

# A run of this task has no `fit`.
CONVERTED = True


class Config(Strict):
    """network: ddpmpp or adm, of the size of the weights. conditional: it takes the class of an image;
    classes and their order are those of the run's data set. sigma_data: as it was trained with."""

    adapter: plugin("sources")
    network: DenoiserNetwork
    conditional: bool = False
    sigma_data: Number = 0.5


def network(config: Config, shape: tuple[int, ...], classes: int) -> EdmPreconditioned:
    """The denoiser that the converted weights fit into."""
    return build_denoiser(config.network, shape, classes if config.conditional else 0, config.sigma_data)
