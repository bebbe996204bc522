"""Published values are in the figures: open diamonds in the colour of their objective, named in a legend."""

import json

import numpy as np
import pytest
from made_up import context, group, put
from matplotlib.colors import to_hex

from pagrepro import artifact, palette
from pagrepro.layout import Layout

GROUPS = {
    "at": group("at_s0", objective="adversarial_training"),
    "gn": group("gn_s0", objective="gradient_norm"),
}
LINES = [{"label": "AT", "group": "at"}, {"label": "GN", "group": "gn"}]
BLUE, RED = (palette.OBJECTIVES[name].colour for name in ("adversarial_training", "gradient_norm"))


def draw(results, figure, groups=GROUPS):
    return artifact.draw(context(results, groups, figure=figure)).figure


def marks(axes):
    """(colour, x, y) of every open diamond; the one of the legend has no place."""
    diamonds = [line for line in axes.get_lines() if line.get_marker() == "D"]
    assert all(to_hex(line.get_markerfacecolor()) == "#ffffff" for line in diamonds)
    found = [(to_hex(line.get_color()), *np.transpose(line.get_data()).tolist()) for line in diamonds]
    return [mark for mark in found if len(mark) > 1]


def legend(figure):
    boxes = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [t.get_text() for box in boxes if box is not None for t in box.get_texts()]


def curves(results):
    arrays = {"eps": np.array([0.0, 1, 2]), "accuracy": np.array([0.9, 0.5, 0.1])}
    for name in GROUPS:
        put(results, f"{name}_s0", "search", {}, arrays)
    panel = {"label": "a", "evaluation": "search", "x": "eps", "y": "accuracy", "xlabel": "x", "ylabel": "y"}
    return {"name": "mean_curves", "lines": LINES, "panels": [panel]}


def test_mean_curves(tmp_path):
    figure = curves(tmp_path)
    assert "published" not in legend(draw(tmp_path, figure))
    figure["panels"][0]["published"] = {"GN": {"x": [0], "y": [0.8]}}
    drawn = draw(tmp_path, figure)
    assert marks(drawn.axes[0]) == [(RED, [0, 0.8])]
    assert legend(drawn) == ["AT", "GN", "published"]


def test_monitor_curves(tmp_path):
    for name in GROUPS:
        path = Layout(tmp_path).history(f"{name}_s0")
        path.parent.mkdir(parents=True)
        lines = [{"epoch": e, "metrics": {}, "monitor": {"m": {"accuracy": 0.1 * e}}} for e in (1, 2, 3)]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    panel = {"label": "a", "monitor": "m", "value": "accuracy", "scale": 100, "ylabel": "%",
             "published": {"AT": 59.4, "GN": 57.8}}  # fmt: skip
    drawn = draw(tmp_path, {"name": "monitor_curves", "lines": LINES, "panels": [panel]})
    # What a fit of another length ended with stands above our last epoch.
    assert marks(drawn.axes[0]) == [(BLUE, [3, 59.4]), (RED, [3, 57.8])]
    assert "at the end of the published fits" in " ".join(drawn.get_supxlabel().split())


def test_histograms(tmp_path):
    for name in GROUPS:
        put(tmp_path, f"{name}_s0", "g", {}, {"l1": np.array([1.0, 10, 100])})
    figure = {"name": "histograms", "lines": LINES, "evaluation": "g", "array": "l1", "xlabel": "x",
              "bins": 4, "panels": [{"label": "all", "published": {"AT": 2000}}]}  # fmt: skip
    (axes,) = draw(tmp_path, figure).axes
    assert marks(axes) == [(BLUE, [2000, 0])]
    assert axes.get_xlim()[1] > 2000
    # Our means are the marks of the objectives, on the same axis.
    means = {
        line.get_marker(): line.get_xdata()[0]
        for line in axes.get_lines()
        if line.get_label() in ("AT", "GN")
    }
    assert means == {"^": pytest.approx(37), "s": pytest.approx(37)}


def test_accuracy_curves(tmp_path):
    for name in GROUPS:
        arrays = {"grid": np.array([0.0, 0.1, 1]), "error": np.array([0.1, 0.5, 1])}
        put(tmp_path, f"{name}_s0", "eps50", {}, arrays)
    told = {"AT": {"Linf": [7, 0.1], "L2": [9, 1]}, "GN": {"L2": [8, 1]}}
    figure = {"name": "accuracy_curves", "methods": ["AT", "GN"],
              "columns": [{"label": "Linf", "evaluation": "eps50", "published": "Linf"}],
              "rows": [{"label": "d", "groups": {"AT": "at", "GN": "gn"}, "published": told}]}  # fmt: skip
    drawn = draw(tmp_path, figure)
    assert marks(drawn.axes[0]) == [(BLUE, [7, 0.5])]
    assert drawn.axes[0].get_xlim()[1] > 7
    assert legend(drawn) == ["AT", "GN", "published"]


def test_alignment_scatter(tmp_path):
    runs = [{"run": "at_s0", "seed": 0, "labels": {"eps": 0.1}}]
    put(tmp_path, "at_s0", "eps50", {"eps50": 0.3})
    put(tmp_path, "at_s0", "alignment", {"alpha": 0.5})
    quantity = {"label": "alpha", "evaluation": "alignment", "value": "alpha", "published": "a"}
    told = {"r": [0.6, 0.1], "a": [0.9, 0.1]}
    figure = {"name": "alignment_scatter", "series": [quantity],
              "panels": [{"label": "d", "group": "at", "published": told}],
              "across": {**quantity, "evaluation": "eps50", "value": "eps50", "published": "r"}}  # fmt: skip
    drawn = draw(tmp_path, figure, {"at": {**GROUPS["at"], "runs": runs}})
    ((_, point),) = marks(drawn.axes[0])
    assert point == [0.6, 0.9]
    assert "published" in legend(drawn)
