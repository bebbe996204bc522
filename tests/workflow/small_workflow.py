"""The tiny configuration of the unit tests, cut and extended for tests that really run it."""

from typing import Any

from tiny import TASK, Tiny

FIGURE: dict[str, Any] = {
    "number": "Figure 2", "title": "Regions", "caption": "Regions.", "groups": ["plain", "aligned"],
    "evaluations": ["map", "pgd"],
    "figure": {
        "name": "decision_regions", "map": "map", "attacked": "pgd",
        "panels": [{"label": "Plain", "group": "plain"}, {"label": "Aligned", "group": "aligned"}],
    },
}  # fmt: skip


def small() -> Tiny:
    """Two plain runs and one that diverges in one pack, one aligned run with its field, measurements of each,
    a table, a figure and claims; one group that depends on a source that the tier calls unavailable."""
    tiny = Tiny()
    paper = tiny.paper
    paper["settings"] |= {"seeds": [0], "members": [{"seed": 0, "lr": 0.01}, {"seed": 1, "lr": 0.01}]}
    task = {**TASK, "optimizer": {"name": "adam", "lr": "$member.lr"}}
    paper["runs"]["plain"] |= {
        "grid": {"member": "$members"}, "name": "line_plain_s{member.seed}", "seed": "$member.seed",
        "task": task,
    }  # fmt: skip
    paper["runs"]["wild"] = {
        "name": "line_wild_s0", "task": {**TASK, "optimizer": {"name": "sgd", "lr": 1e30}}, "dataset": "line",
        "fit": {"epochs": "$epochs", "batch_size": 60}, "seed": 0, "labels": {"method": "wild"},
    }  # fmt: skip
    table = paper["artifacts"]["table1"]
    table["groups"].append("wild")
    table["table"]["rows"].append({"label": "Wild", "group": "wild", "without": ["PGD"]})
    paper["evaluations"]["map"] = {
        "groups": ["plain", "aligned"], "measure": {"name": "decision_map", "resolution": 20},
    }  # fmt: skip
    paper["artifacts"]["figure2"] = FIGURE
    tiny.tier["packs"] = [
        {"name": "plain", "stage": "train", "match": ["tiny.plain", "tiny.wild"]},
        {"name": "plain_results", "stage": "evaluate", "match": ["tiny.plain", "tiny.wild"]},
    ]
    return tiny
