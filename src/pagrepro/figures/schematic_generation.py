"""How residuals to the closest other class are generated: block diagrams of the two methods.

Bigolin Lanfredi et al. (2020), section 2.3: directly (Figure 2, equations 10 to 13), and indirectly, by
projection to the manifold of a conditional GAN (Figure 3, equations 14 to 16). Drawings, no results.
"""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from pagrepro import palette
from pagrepro.artifact import FigureResult
from pagrepro.figures import _style as style
from pagrepro.options import Strict
from pagrepro.results import Context

REVISION = 1

NUMBERS = False


class Config(Strict):
    """which: of the two methods."""

    which: Literal["direct", "indirect"]


Point = tuple[float, float]


def draw(config: Config, context: Context) -> FigureResult:
    """Networks in blue, images and codes in white, losses in orange; dashed: what the loss changes."""
    figure = style.figure(6.8, 3.3)
    axes = figure.subplots()
    axes.set(xlim=(0, 13.6), ylim=(-0.1, 6.4), aspect="equal")
    axes.axis("off")
    (_direct if config.which == "direct" else _indirect)(axes)
    return FigureResult(figure)


def _direct(axes: Axes) -> None:
    x, change = (0.9, 3.2), (0.9, 1.3)
    _value(axes, x, "$x$")
    _value(axes, change, r"$\neg y$")
    _network(axes, (3.2, 2.2), "$G$")
    _arrow(axes, (1.4, 3.2), (2.6, 2.5))
    _arrow(axes, (1.4, 1.3), (2.6, 1.9))
    _arrow(axes, (3.8, 2.2), (4.9, 2.2))
    _value(axes, (5.4, 2.2), r"$\widehat{\Delta x}$")
    _arrow(axes, (5.4, 1.7), (5.4, 1.1))
    _loss(axes, (5.4, 0.7), "$L_{RegG}$")
    _sum(axes, (7.1, 2.2), "+")
    _arrow(axes, (5.9, 2.2), (6.85, 2.2))
    _arrow(axes, (1.4, 3.35), (6.95, 2.43), bend=-0.18)
    _arrow(axes, (7.35, 2.2), (8.1, 2.2))
    _value(axes, (8.6, 2.2), r"$\hat{x}'$")
    _network(axes, (10.5, 2.2), "$D$")
    _arrow(axes, (9.1, 2.2), (9.9, 2.2))
    _arrow(axes, (11.1, 2.35), (11.95, 2.8))
    _arrow(axes, (11.1, 2.05), (11.95, 1.4))
    _loss(axes, (12.65, 2.9), r"$L_{D\hat{x}'}$: $y$")
    _loss(axes, (12.65, 1.3), r"$L_G$: $\neg y$")
    _network(axes, (10.5, 5.0), "$D$")
    axes.plot([10.5, 10.5], [2.8, 4.4], color=palette.GREY, lw=1, ls=":")
    axes.text(10.65, 3.6, "same network", fontsize=7, color=palette.GREY, va="center")
    _arrow(axes, (0.9, 3.7), (9.9, 5.0), bend=-0.14)
    _arrow(axes, (11.1, 5.0), (11.95, 5.0))
    _loss(axes, (12.65, 5.0), "$L_{Dx}$: $y$")


def _indirect(axes: Axes) -> None:
    _value(axes, (1.2, 3.8), "$z$")
    _value(axes, (1.2, 2.0), "$c$")
    _network(axes, (3.8, 2.9), "$G$\ncGAN")
    _arrow(axes, (1.7, 3.8), (3.2, 3.2))
    _arrow(axes, (1.7, 2.0), (3.2, 2.6))
    _arrow(axes, (4.4, 2.9), (6.15, 2.9))
    _value(axes, (6.9, 2.9), "$G(z, c)$", wide=1.5)
    _value(axes, (11.1, 2.9), "$x$")
    _loss(axes, (9.0, 4.6), r"$L_{proj} = \|x - G(z, c)\|_2^2/n + \lambda_{Regz}\|z\|_2^2/n$", wide=6.4)
    _arrow(axes, (6.9, 3.4), (6.9, 4.2))
    _arrow(axes, (11.1, 3.4), (11.1, 4.2))
    _arrow(axes, (9.0, 5.0), (1.2, 4.3), bend=0.2, dashed=True)
    axes.text(5.1, 5.75, "update $z$, until $z_c^*$", ha="center", va="center", color=palette.VERMILION)
    _sum(axes, (9.0, 1.75), "−")
    _arrow(axes, (7.65, 2.55), (8.77, 1.87))
    _arrow(axes, (10.6, 2.55), (9.23, 1.87))
    _arrow(axes, (9.0, 1.5), (9.0, 1.0))
    _value(axes, (9.0, 0.5), r"$\widehat{\Delta x} = G(z_c^*, \tilde{c}) - x$", wide=3.4)


def _box(axes: Axes, centre: Point, words: str, wide: float, high: float, face: str, edge: str) -> None:
    corner = (centre[0] - wide / 2, centre[1] - high / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner, wide, high, boxstyle="round,pad=0,rounding_size=0.12", fc=face, ec=edge, lw=1.3
        )
    )
    axes.text(*centre, words, ha="center", va="center", fontsize=9)


def _value(axes: Axes, centre: Point, words: str, wide: float = 1.0) -> None:
    _box(axes, centre, words, wide, 1.0, "white", "black")


def _network(axes: Axes, centre: Point, words: str) -> None:
    _box(axes, centre, words, 1.2, 1.2, "#d6e9f8", palette.BLUE)


def _loss(axes: Axes, centre: Point, words: str, wide: float = 1.4) -> None:
    _box(axes, centre, words, wide, 0.8, "#fdebc8", palette.ORANGE)


def _sum(axes: Axes, centre: Point, sign: str) -> None:
    axes.add_patch(Circle(centre, 0.25, fc="white", ec="black", lw=1.2))
    axes.text(*centre, sign, ha="center", va="center", fontsize=10)


def _arrow(axes: Axes, tail: Point, tip: Point, bend: float = 0.0, dashed: bool = False) -> None:
    arrow = FancyArrowPatch(
        tail, tip, arrowstyle="-|>", mutation_scale=10, lw=1.2, shrinkA=0, shrinkB=0,
        connectionstyle=f"arc3,rad={bend}", color=palette.VERMILION if dashed else "black",
        linestyle="--" if dashed else "-",
    )  # fmt: skip
    axes.add_patch(arrow)
