"""A sweep shares what it is measured with: one more strength costs its fits and their measurements.

Srinivas et al. (2023), Figure 2: autoencoder, tangent spaces, denoiser and score maps are those of the data.
"""

import shutil
from pathlib import Path

import pytest
import yaml

from pagrepro import configuration, expand

ROOT = Path(__file__).parents[2]
KINDS = ("gn", "sm", "rs", "at")


def expanded(root: Path) -> expand.Expansion:
    given = {"tier": "demo", "papers": ["srinivas2023"]}
    config = configuration.read_yaml(root / "config/config.yaml") | given
    return expand.expand_loaded(configuration.load(config, root), root)


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    path = tmp_path / "config/tiers/demo.yaml"
    tier = yaml.safe_load(path.read_text())
    tier["settings"] = {"srinivas2023": tier["settings"]["srinivas2023"]}
    tier["packs"] = []
    path.write_text(yaml.safe_dump(tier))
    return tmp_path, tier, path


@pytest.mark.parametrize("kind", KINDS)
def test_one_more_strength(copy, kind):
    root, tier, path = copy
    before = expanded(root)
    grid = tier["settings"]["srinivas2023"]["c"]["grids"][kind]
    grid.append({"index": 29, "value": 12345.0})
    path.write_text(yaml.safe_dump(tier))
    after = expanded(root)
    new = after.runs.keys() - before.runs.keys()
    assert len(new) == 3  # seeds
    assert all(f"_{kind}_12345.0_" in name for name in new)
    assert after.fields.keys() == before.fields.keys()
    measured = after.evaluations.keys() - before.evaluations.keys()
    assert {run for run, _ in measured} == new
    known = {name: (run.hash, run.spec) for name, run in before.runs.items()}
    assert all((after.runs[name].hash, after.runs[name].spec) == known[name] for name in known)
