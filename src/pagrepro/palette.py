"""One colour and one mark for each training objective, the same in every figure, table and page.

Seven colours are those of Okabe and Ito (2008), "Color Universal Design"; the eighth is a dark brown. Tests
simulate protanopia, deuteranopia and tritanopia and ask for a distance between every two of them. Needs
nothing beyond the standard library: figures, the report and the browser page all read it.
"""

from dataclasses import dataclass

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
)  # fmt: skip
BROWN, GREY, DARK_GREY = "#5b3a1e", "#999999", "#666666"

# Equally strong, dark enough for white words, and never red against green.
VERDICTS = {
    "confirmed": BLUE,
    "contradicted": VERMILION,
    "inconclusive": "#8a6d00",
    "not testable": DARK_GREY,
}


@dataclass(frozen=True)
class Look:
    """colour: `#rrggbb`; marker: matplotlib's code of the mark."""

    colour: str
    marker: str


# By the name of the objective's module, which is its name in a specification. Diamonds are published values.
OBJECTIVES = {
    "cross_entropy": Look(BLACK, "o"),
    "adversarial_training": Look(BLUE, "^"),
    "gradient_norm": Look(VERMILION, "s"),
    "cosine_alignment": Look(GREEN, "p"),
    "alignment_penalty": Look(PURPLE, "v"),
    "gaussian_noise": Look(SKY, "P"),
    "smoothness": Look(ORANGE, "X"),
    "edge_alignment": Look(BROWN, "*"),
}
# Weights from outside, whose training is not a specification here, and objectives that are not in the table.
OTHER = Look(DARK_GREY, "h")


def of_objective(name: str) -> Look:
    """Look of the objective with this name; `OTHER` for one that has no line in `OBJECTIVES`."""
    return OBJECTIVES.get(name, OTHER)
