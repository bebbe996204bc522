"""What the page of a tier shows: measurements that keep pictures, what the plot begins with. Torch-free."""

from pagrepro.expansion import Evaluation, Expansion

# Measurement -> signed maps that it keeps beside the array `images`, those of the network first.
MAPS: dict[str, tuple[str, ...]] = {
    "gradient_maps": ("gradients", "scores"),
    "gradient_shape": ("gradients",),
    "natural_maps": ("loss_gradients", "class_gradients", "perturbations"),
    "signal_share": ("gradients",),
}

# Measurement -> values of it that tell how accurate or robust, and how aligned a network is. All other values
# can be chosen on the page, too.
ACCURACY: dict[str, tuple[str, ...]] = {
    "accuracy": ("accuracy",),
    "pgd_accuracy": ("accuracy",),
    "autoattack": ("apgd_ce_t_accuracy", "accuracy"),
    "smoothed_accuracy": ("accuracy",),
    "eps50": ("eps50",),
    "minimal_distance": ("median",),
}
ALIGNMENT: dict[str, tuple[str, ...]] = {
    "score_similarity": ("cosine", "ssim", "lpips", "lpips_random"),
    "alignment": ("cosine",),
    "direction_alignment": ("alpha_x", "alpha_dx"),
    "edge_correlation": ("saliency", "loss_gradient"),
    "off_manifold_alignment": ("rho1", "rho2"),
}


def pictured(expansion: Expansion) -> dict[str, tuple[str, ...]]:
    """Run -> its measurements that keep maps, of those that an artifact or a claim reads: the others need not
    have been made."""
    readers = (*expansion.artifacts.values(), *expansion.claims.values())
    read = {pair for reader in readers for pair in reader.results}
    found: dict[str, tuple[str, ...]] = {}
    for (run, name), evaluation in expansion.evaluations.items():
        if (run, name) in read and keeps_maps(evaluation):
            found[run] = (*found.get(run, ()), name)
    return found


def keeps_maps(evaluation: Evaluation) -> bool:
    """Whether a measurement keeps maps of images; those of data that are no images cannot be shown."""
    measure = evaluation.spec["measure"]
    # gradient_shape keeps as many as its option says, and none without it.
    kept = measure.get("images", 1) > 0
    return measure["name"] in MAPS and kept and len(evaluation.spec["dataset"]["shape"]) == 3
