"""Fingerprints of measurements that compare input gradients with scores."""

from collections.abc import Callable

from fingerprint_tools import Cases, image_request, measured, pattern
from networks import IMAGE

from pagrepro.request import LoadedField


def scores(side: int) -> dict[str, LoadedField]:
    maps = 2 * pattern(6, IMAGE[0], side, side) - 1
    return {"score": LoadedField("score", lambda rows, x: maps[rows], {})}


def score_similarity() -> Cases:
    variants = {"sum": {"similarities": ["cosine", "ssim", "lpips_random"]}}
    for of in ("label_logit", "predicted_logit", "logsumexp", "label_log_probability", "loss"):
        variants[of] = {"gradient": of, "similarities": ["cosine"]}
    cases = measured("score_similarity", image_request(inputs=scores(IMAGE[1])), variants)
    smaller = {"resized": {"resize": 4, "similarities": ["cosine", "ssim"]}}
    return cases | measured("score_similarity", image_request(inputs=scores(4)), smaller)


def gradient_maps() -> Cases:
    cases = measured("gradient_maps", image_request(), {"no scores": {"gradient": "predicted_logit"}})
    variants = {"cosine": {}, "ssim": {"similarity": "ssim"}}
    cases |= measured("gradient_maps", image_request(inputs=scores(IMAGE[1])), variants)
    return cases | measured("gradient_maps", image_request(inputs=scores(4)), {"resized": {"resize": 4}})


FINGERPRINTS: dict[str, Callable[[], Cases]] = {
    "evaluations.gradient_maps": gradient_maps,
    "evaluations.score_similarity": score_similarity,
}
