"""Weights made elsewhere: converted by an adapter, never fitted.

The public models that the papers compare with. `convert.py` writes the same files for such a run as a fit
does, so everything downstream treats it alike.
"""

from torch import nn

from pagrepro import plugins
from pagrepro.options import Strict, plugin

REVISION = 1
ROLES = {"file": "source"}

# A run of this task has no `fit`.
CONVERTED = True


class Config(Strict):
    """adapter: what reads the file; model: the network that its weights are for."""

    adapter: plugin("sources")
    model: plugin("models")


def network(config: Config, shape: tuple[int, ...], classes: int) -> nn.Module:
    """The network that the converted weights fit into."""
    return plugins.instantiate("models", config.model, shape, classes)
