"""Conda environments: the lock file's versions, all that the scripts import, no torch for plots."""

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest
import yaml

from pagrepro import plugins
from pagrepro.errors import UserError

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
CHEAP = ("claims", "tables", "figures")
DISTRIBUTIONS = {"yaml": "pyyaml", "PIL": "pillow", "sklearn": "scikit-learn"}

SPEC = importlib.util.spec_from_file_location(
    "script_environments", ROOT / "workflow/scripts/environments.py"
)
environments = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(environments)


def pins(name: str) -> dict[str, str]:
    """Package -> version in an environment file."""
    content = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    *conda, pip = content["dependencies"]
    assert conda == ["python=3.11", "pip"]
    return dict(re.match(r"([a-z0-9._-]+)==([^ ;]+)", line).groups() for line in pip["pip"])


def locked() -> dict[str, set[str]]:
    """Package -> versions in the lock file (a newer Python may have another)."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ ;\n]+)", LOCK.read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def imported(files: list[Path]) -> set[str]:
    """Distributions from outside that these files import, anywhere in them."""
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    outside = found - set(sys.stdlib_module_names) - {"pagrepro"}
    return {DISTRIBUTIONS.get(name, name) for name in outside}


def of_kinds(kinds: tuple[str, ...]) -> list[str]:
    return [f"{kind}.{name}" for kind in kinds for name in plugins.names(kind)]


@pytest.mark.parametrize("name", ["torch", "plots"])
def test_every_pin_is_that_of_the_lock_file(name):
    found, lock = pins(name), locked()
    assert len(found) > 20
    for package, version in found.items():
        assert version in lock[package], package


def test_files_are_those_the_script_writes():
    assert environments.outdated(LOCK, ROOT / "envs") == []


def test_changed_version_is_noticed(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK.read_text().replace("pandas==", "pandas==99."))
    assert environments.outdated(lock, ROOT / "envs") == [str(ROOT / "envs/plots.yaml")]


def test_plots_have_no_torch_and_torch_no_plotting():
    assert not {"torch", "torchvision", "timm", "triton"} & set(pins("plots"))
    # Else a new version of one of these would train everything again.
    assert not {"matplotlib", "pandas", "snakemake"} & set(pins("torch"))


def test_plots_hold_what_cheap_scripts_import():
    modules = ("artifact", "judge", "preview", "expand", "download", *of_kinds(CHEAP))
    assert imported(list(plugins.closure(*modules))) <= set(pins("plots"))


def test_torch_holds_what_expensive_scripts_import():
    kinds = tuple(kind for kind in plugins.KINDS if kind not in CHEAP)
    files = plugins.closure("fit", "measuring", "make_field", "load_data", *of_kinds(kinds))
    assert "torch" in imported(list(files))
    assert imported(list(files)) <= set(pins("torch"))


def test_closure_follows_the_lock_file(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "a==1\n    # via pagrepro (pyproject.toml)\n"
        "b==2 ; python_full_version < '3.12'\n    # via\n    #   a\n    #   z\n"
        "b==3 ; python_full_version >= '3.12'\n    # via\n    #   a\n    #   z\n"
        "c==4\n    # via b\n"
        "z==5\n    # via pagrepro (pyproject.toml)\n"
    )
    assert environments.closure(environments.read_lock(lock), ("a",)) == [
        "a==1", "b==2 ; python_full_version < '3.12'", "c==4",
    ]  # fmt: skip
    with pytest.raises(UserError, match="nothing_like_it"):
        environments.closure(environments.read_lock(lock), ("nothing_like_it",))
