"""Losses of a class-conditional GAN whose discriminator has K + 1 classes, the last one "made".

Kavalerov, Czaja, Chellappa (2021), "A multi-class hinge loss for conditional GANs", as used by Bigolin
Lanfredi et al. (2020), section 2.3.2. With scores s_0..s_K and the multi-class hinge of Crammer and Singer
(2001),
    h(s, t) = max(0, 1 + max_{j != t} s_j - s_t),
    D minimises   mean h(D(x), y) + mean h(D(G(z, y)), K)
    G minimises   mean_k |mean phi_k(G(z, y)) - mean phi_k(x)| + 0.05 mean h(D(G(z, y)), y),
with phi the features before the last layer of D, and the inner means over the batch.
"""

import torch.nn.functional as F
from torch import Tensor

REVISION = 1


def multi_hinge(scores: Tensor, target: Tensor) -> Tensor:
    """h(s, t) per example (B,), for scores (B, M) and target (B,) int64."""
    target = target[:, None]
    own = scores.gather(1, target)[:, 0]
    others = scores.scatter(1, target, float("-inf")).max(1).values
    return F.relu(1 + others - own)


def feature_distance(made: Tensor, real: Tensor) -> Tensor:
    """Mean over the features of |difference of their batch means|; made (B, M), real (B', M)."""
    return (made.mean(0) - real.mean(0)).abs().mean()
