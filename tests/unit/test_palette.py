"""Colours of objectives: one for each, told apart by colour-blind readers and from white paper."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from pagrepro import palette, plugins

ROOT = Path(__file__).parents[2]

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip
TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
# CIE76 distance; about 2.3 is just noticeable side by side.
APART, FROM_WHITE = 15, 35


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB under D65 of linear RGB."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.0888])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(first: str, second: str, sight: str) -> float:
    seen = [lab(np.array(SIGHT[sight]) @ linear(colour)) for colour in (first, second)]
    return float(np.linalg.norm(seen[0] - seen[1]))


LOOKS = {**palette.OBJECTIVES, "other": palette.OTHER}


def test_the_simulation_knows_what_is_confused():
    # An olive and Okabe's orange are one colour to protanopes, and far apart for everybody else.
    assert distance("#aaaa00", palette.ORANGE, "protanopia") < 2
    assert distance("#aaaa00", palette.ORANGE, "normal") > 30


@pytest.mark.parametrize("sight", SIGHT)
def test_objectives_differ_for_every_kind_of_sight(sight):
    for (a, first), (b, second) in itertools.combinations(LOOKS.items(), 2):
        found = distance(first.colour, second.colour, sight)
        assert found >= APART, f"{a} and {b} are {found:.1f} apart under {sight}"


@pytest.mark.parametrize("name", LOOKS)
def test_objectives_are_seen_on_white(name):
    assert distance(LOOKS[name].colour, "#ffffff", "normal") >= FROM_WHITE


def test_every_objective_of_a_paper_has_a_look_and_a_mark_of_its_own():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "config/papers").glob("*.yaml"))
    used = {
        name for name in plugins.names("objectives") if f"{{name: {name}" in text or f"name: {name}\n" in text
    }
    assert len(used) >= 8
    assert used <= palette.OBJECTIVES.keys() <= set(plugins.names("objectives"))
    assert len({look.marker for look in LOOKS.values()}) == len(LOOKS)
    assert palette.of_objective("never heard of") is palette.OTHER
