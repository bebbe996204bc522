"""Signed maps (gradients, scores, noise) as bytes, each by a scale of its own. Torch-free."""

import numpy as np

REVISION = 1

STANDARD_DEVIATIONS = 3
QUANTILE = 0.99

# Purple and orange: told apart by colour-blind readers, white at 0.
DIVERGING = "PuOr_r"


def unit(image: np.ndarray, scaling: str) -> np.ndarray:
    """A map (channels, h, w) within [-1, 1]; one without a scale becomes zeros.

    scaling: "max_abs", divided by its largest magnitude; "three_std", clipped at three standard
    deviations of all its values, and divided by them; "quantile", likewise with the 0.99 quantile of
    magnitudes (the largest, where that is 0). Values that are not finite become 0.
    """
    image = np.nan_to_num(np.asarray(image, float), nan=0.0, posinf=0.0, neginf=0.0)
    limit = np.abs(image).max()
    if scaling == "three_std":
        limit = STANDARD_DEVIATIONS * image.std()
    elif scaling == "quantile":
        limit = np.quantile(np.abs(image), QUANTILE) or limit
    return np.clip(image / limit, -1, 1) if limit > 0 else np.zeros_like(image)


def bytes_of(image: np.ndarray) -> np.ndarray:
    """Values v in [-1, 1] as uint8, 127.5 v + 128 without its decimals: 0 is grey, 128."""
    return np.clip(np.floor(127.5 * image + 128), 0, 255).astype(np.uint8)
