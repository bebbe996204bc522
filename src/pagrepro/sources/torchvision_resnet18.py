"""ImageNet weights of torchvision's ResNet-18 (IMAGENET1K_V1, resnet18-f37072fd.pth), read without executing
them.

What the image classifiers of Lanfredi et al. (2020) start from. The file is a state dict with the names of
`torchvision.models.resnet18`; here they become those of `models/resnet18.py`, which differ by a prefix.
"""

from pathlib import Path

import torch
from torch import Tensor

from pagrepro.models import resnet18
from pagrepro.options import Strict
from pagrepro.sources._compare import check_weights
from pagrepro.weights_file import read_tensors

REVISION = 1

PREFIX = "network."
CLASSES = 1000
COUNTER = "num_batches_tracked"


class Config(Strict):
    """The network is `models/resnet18.py`; there is nothing to choose."""


def convert(config: Config, path: Path) -> dict[str, Tensor]:
    """State dict of `models/resnet18.py` for 1,000 classes, last layer included.

    Raises DataError when the file is no state dict, or one of another network. Counters of batch
    normalisation, which older files lack, are 0 then; no output depends on them.
    """
    weights = {PREFIX + key: value for key, value in read_tensors(path).items()}
    with torch.device("meta"):  # names and shapes are all that is needed
        wanted = resnet18.build(resnet18.Config(), (3, 224, 224), CLASSES).state_dict()
    for key in wanted.keys() - weights.keys():
        if key.endswith(COUNTER):
            weights[key] = torch.zeros((), dtype=torch.int64)
    check_weights(weights, wanted, path, "ResNet-18")
    return {key: weights[key].detach().clone() for key in wanted}
