"""A mistake in any configuration file ends in one message: file, key path, found, allowed; no traceback."""

from collections.abc import Callable
from typing import Any

import pytest
from sandbox import Sandbox


def unknown_key(tiny: Any) -> None:
    tiny.config["ofline_dir"] = "/data"


def unknown_paper(tiny: Any) -> None:
    tiny.config["papers"] = ["tiny", "huge"]


def no_rows_of_that_name(tiny: Any) -> None:
    tiny.datasets["datasets"]["line"]["splits"]["train"]["part"] = "training"


def unknown_source(tiny: Any) -> None:
    tiny.tier["unavailable"] = ["archives"]


def unknown_setting(tiny: Any) -> None:
    tiny.tier["settings"] = {"tiny": {"epoch": 3}}


def claims_in_a_tier(tiny: Any) -> None:
    tiny.tier["claims"] = {}


def pack_of_nobody(tiny: Any) -> None:
    tiny.tier["packs"].append({"name": "nobody", "stage": "train", "match": ["tiny.nobody"]})


def unknown_option(tiny: Any) -> None:
    tiny.paper["runs"]["aligned"]["task"]["objective"]["wieght"] = 1


def unknown_plugin(tiny: Any) -> None:
    tiny.paper["evaluations"]["pgd"]["measure"]["attack"]["name"] = "pdg"


def wrong_type(tiny: Any) -> None:
    tiny.paper["runs"]["plain"]["fit"]["epochs"] = "many"


MISTAKES: list[tuple[Callable[[Any], None], str, str, str, str]] = [
    (unknown_key, "config/config.yaml", "ofline_dir", "unknown key", "offline_dir"),
    (unknown_paper, "config/papers/huge.yaml", "(file)", "no such file", "tiny"),
    (
        no_rows_of_that_name,
        "config/datasets.yaml",
        "datasets.line.splits.train.part",
        "training",
        "train, test",
    ),
    (unknown_source, "config/tiers/tiny.yaml", "unavailable", "archives", "archive, weights"),
    (unknown_setting, "config/tiers/tiny.yaml", "settings.tiny", "epoch: unknown", "config/papers/tiny.yaml"),
    (claims_in_a_tier, "config/tiers/tiny.yaml", "claims", "unknown key", "packs"),
    (pack_of_nobody, "config/tiers/tiny.yaml", "packs.nobody", "tiny.nobody", "match something"),
    (
        unknown_option,
        "config/papers/tiny.yaml",
        "runs.aligned.task.objective.wieght",
        "unknown key",
        "weight",
    ),
    (unknown_plugin, "config/papers/tiny.yaml", "evaluations.pgd.measure.attack.name", "pdg", "pgd"),
    (wrong_type, "config/papers/tiny.yaml", "runs.plain.fit.epochs", "many", "integer"),
]


@pytest.mark.parametrize(
    ("change", "file", "key", "found", "allowed"), MISTAKES, ids=[case[0].__name__ for case in MISTAKES]
)
def test_a_mistake_is_one_message(
    finished: Sandbox, change: Callable[[Any], None], file: str, key: str, found: str, allowed: str
) -> None:
    with finished.edited() as tiny:
        change(tiny)
        ended = finished.dry()
    assert ended.status == 1
    assert "Traceback" not in ended.text
    assert ended.text.count("found: ") == 1
    head, _, rest = ended.text.partition("\n  found:   ")
    assert head.splitlines()[-1].endswith(f"{file}: {key}")
    said, _, permitted = rest.partition("\n  allowed: ")
    assert found in said
    assert allowed in permitted


@pytest.mark.parametrize("chosen", [("papers=[tiny]",), ("tier=medium",)], ids=["none", "unknown"])
def test_without_a_known_tier_the_profiles_are_listed(finished: Sandbox, chosen: tuple[str, ...]) -> None:
    ended = finished.dry("--config", *chosen)
    assert ended.status == 1
    assert "Traceback" not in ended.text
    for profile in ("profiles/demo", "profiles/local", "profiles/slurm"):
        assert profile in ended.text
    assert "--config tier=<one of tiny>" in ended.text
