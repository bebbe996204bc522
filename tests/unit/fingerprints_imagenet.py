"""Fingerprints of the ImageNet networks, at small sizes."""

from collections.abc import Callable

from fingerprint_tools import Cases, model_cases

SWIN = {"patch": 2, "window": 2, "embed_dim": 4, "depths": [2, 1], "heads": [2, 1]}


def swin() -> Cases:
    variants = {
        "shifted windows": {"size": SWIN},
        "fused": {"size": SWIN, "fused_attention": True, "mean": [0.4], "std": [0.2]},
        "padded windows": {"size": {**SWIN, "window": 3, "depths": [2], "heads": [1]}},
    }
    return model_cases("swin", (3, 8, 8), variants)


def imagenet_resnet50() -> Cases:
    variants = {
        "relu": {"width": 2},
        "gelu, batch statistics": {"width": 2, "depths": [1, 2], "activation": "gelu", "bn": "train"},
        "silu": {"width": 2, "depths": [2], "activation": "silu", "mean": [0.4], "std": [0.2]},
    }
    return model_cases("imagenet_resnet50", (3, 16, 16), variants)


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "models.imagenet_resnet50": imagenet_resnet50,
    "models.swin": swin,
}
