"""A tiny but complete configuration, written to a folder, for tests of expansion and of the workflow."""

import copy
from pathlib import Path
from typing import Any

import yaml

from pagrepro import configuration, expand, pack
from pagrepro.expansion import Expansion

DATASETS: dict[str, Any] = {
    "sources": {
        "archive": {
            "description": "an archive", "filename": "a.tar.gz", "hash": "sha256:" + "0" * 64,
            "needs": "network", "offline": "a/a.tar.gz", "how": "download it", "urls": ["http://127.0.0.1:9/a"],
        },
        "weights": {"description": "weights", "filename": "w.pt", "needs": "user_path", "how": "set paths.weights"},
    },
    "datasets": {
        "line": {
            "label": "toy line", "data": {"name": "toy_line", "per_mode_train": 40, "per_mode_test": 10},
            "classes": 2, "shape": [2], "low": None, "high": None, "seeded": True,
            "parts": {"train": 240, "test": 60}, "splits": {"train": {"part": "train"}, "test": {"part": "test"}},
        },
        "remote": {
            "label": "remote images", "data": {"name": "cifar10"}, "sources": {"archive": "archive"},
            "classes": 10, "shape": [3, 32, 32], "parts": {"train": 50000, "test": 10000},
            "splits": {"train": {"part": "train"}, "test": {"part": "test"}},
        },
    },
}  # fmt: skip

TASK = {
    "name": "classifier", "model": {"name": "toy_mlp", "hidden": [8]},
    "objective": {"name": "cross_entropy"}, "optimizer": {"name": "adam", "lr": 0.01},
}  # fmt: skip

PAPER: dict[str, Any] = {
    "title": "A paper", "citation": "Somebody, 2022",
    "settings": {"seeds": [0, 1, 2], "epochs": 2, "weight": 0.5, "far": {"epochs": 1}},
    "fields": {
        "near": {
            "grid": {"seed": "$seeds"}, "name": "line_near_s{seed}", "dataset": "line", "seed": "$seed",
            "field": {"name": "nearest_neighbour", "pool": "all", "coordinates": "raw"},
        },
    },
    "runs": {
        "plain": {
            "grid": {"seed": "$seeds"}, "name": "line_plain_s{seed}", "task": TASK, "dataset": "line",
            "fit": {"epochs": "$epochs", "batch_size": 60}, "seed": "$seed", "labels": {"method": "plain"},
        },
        "aligned": {
            "grid": {"seed": "$seeds"}, "name": "line_aligned_s{seed}",
            "task": {**TASK, "objective": {"name": "cosine_alignment", "weight": "$weight", "batchnorm": "eval"}},
            "dataset": "line", "fit": {"epochs": "$epochs", "batch_size": 60}, "seed": "$seed",
            "inputs": {"targets": {"field": "line_near_s{seed}"}}, "labels": {"method": "aligned"},
        },
        "far": {
            "name": "remote_plain_s0", "task": {**TASK, "model": {"name": "cifar_resnet18", "width": 4}},
            "dataset": "remote", "fit": {"epochs": "$far.epochs", "batch_size": 64}, "seed": 0,
        },
    },
    "evaluations": {
        "clean": {"groups": ["*"], "measure": {"name": "accuracy"}},
        "pgd": {
            "groups": ["plain", "aligned"],
            "measure": {
                "name": "pgd_accuracy",
                "attack": {"name": "pgd", "norm": "l2", "eps": 15, "steps": 3, "step_size": 5, "start": "zero"},
            },
        },
    },
    "artifacts": {
        "table1": {
            "number": "Table 1", "title": "Accuracies", "caption": "Accuracies.",
            "groups": ["plain", "aligned", "far"], "evaluations": ["clean", "pgd"],
            "table": {
                "name": "accuracy",
                "rows": [{"label": "Plain", "group": "plain"}, {"label": "Aligned", "group": "aligned"},
                         {"label": "Far", "group": "far"}],
                "columns": [{"label": "Clean", "evaluation": "clean"}, {"label": "PGD", "evaluation": "pgd"}],
            },
        },
    },
    "claims": {
        "K1": {
            "statement": "Alignment helps.", "place": "Table 1", "published": "75.5 against 0",
            "parts": [{
                "label": "PGD", "rule": {"name": "difference", "above": 0},
                "select": {
                    "high": {"groups": ["aligned"], "evaluation": "pgd", "value": "accuracy"},
                    "low": {"groups": ["plain"], "evaluation": "pgd", "value": "accuracy"},
                },
            }],
        },
        "K2": {
            "statement": "Far.", "place": "Table 1", "published": "1",
            "parts": [{
                "label": "far", "rule": {"name": "difference", "above": 0},
                "select": {
                    "high": {"groups": ["far"], "evaluation": "clean", "value": "accuracy"},
                    "low": {"groups": ["plain"], "evaluation": "clean", "value": "accuracy"},
                },
            }],
        },
    },
}  # fmt: skip

TIER: dict[str, Any] = {
    "description": "tiny", "needs": "nothing", "planned_minutes": 1, "unavailable": ["archive"],
    "settings": {}, "packs": [{"name": "plain", "stage": "train", "match": ["tiny.plain"], "size": 2}],
}  # fmt: skip


class Tiny:
    """The configuration above as dicts that a test may change before `write` or `expand`."""

    def __init__(self) -> None:
        self.datasets, self.paper, self.tier = map(copy.deepcopy, (DATASETS, PAPER, TIER))
        self.others: dict[str, dict[str, Any]] = {}
        self.config: dict[str, Any] = {"papers": ["tiny"], "tier": "tiny"}

    def write(self, root: Path) -> Path:
        files = {"datasets": self.datasets, "papers/tiny": self.paper, "tiers/tiny": self.tier}
        files |= {f"papers/{name}": content for name, content in self.others.items()}
        files["config"] = {key: value for key, value in self.config.items() if key != "tier"}
        for name, content in files.items():
            path = root / "config" / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content, sort_keys=False))
        return root

    def load(self, root: Path) -> configuration.Configuration:
        return configuration.load(self.config, self.write(root))

    def expand(self, root: Path) -> Expansion:
        return expand.expand_loaded(self.load(root), root)

    def jobs(self, root: Path) -> list[pack.Job]:
        loaded = self.load(root)
        return pack.jobs(expand.expand_loaded(loaded, root), loaded)
