"""Colours that colour-blind readers can tell apart, in figures and on pages. Torch-free."""

import hashlib

# Okabe and Ito (2008).
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
)  # fmt: skip
GREY = "#999999"

# The same objective has the same colour everywhere, by the name of its plugin or a paper's name for it.
OBJECTIVES = {
    "cross_entropy": BLACK, "vanilla": BLACK, "baseline": BLACK, "natural": BLACK,
    "cosine_alignment": ORANGE, "one_image": ORANGE, "class_mean": SKY,
    "nearest_neighbour": GREEN, "nearest_neighbor": GREEN,
    "adversarial_training": BLUE, "pgd": BLUE, "pgd-3": BLUE, "fgsm_with_a_random_start": PURPLE,
    "gradient_norm": VERMILION, "smoothing": PURPLE, "smoothness": PURPLE,
    "gaussian_noise": SKY, "randomized_smoothing": SKY,
    "alignment": GREEN, "alignment_penalty": GREEN, "penalty": GREEN, "edge": GREEN, "edge_alignment": YELLOW,
}  # fmt: skip
OTHERS = (ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE)

# Equally strong, and never red against green.
VERDICTS = {
    "confirmed": BLUE,
    "contradicted": VERMILION,
    "inconclusive": "#b58900",
    "not testable": "#666666",
}


def of_objective(name: str) -> str:
    """Colour of an objective; one that is not in the list gets a colour from its name, always the same."""
    digest = hashlib.sha256(name.encode()).digest()[0]
    return OBJECTIVES.get(name.lower().replace(" ", "_"), OTHERS[digest % len(OTHERS)])
