"""docs/adding.md, followed to the letter in a copy of the repository: files, commands, figure and verdict."""

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import CODE, LEFT_OUT, REPOSITORY

PAGE = (REPOSITORY / "docs/adding.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = [
    line
    for block in re.findall(r"<!-- run -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
# Made by the run, beside the files that the page adds.
MADE = ("results", ".snakemake", "__pycache__")


def contents(root: Path) -> dict[str, str]:
    """Path -> hash of every file that a commit could hold."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not set(MADE) & set(path.relative_to(root).parts)
    }


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adding")
    for name in (*CODE, "config"):
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, root / name, ignore=LEFT_OUT)
        else:
            shutil.copy2(REPOSITORY / name, root / name)
    return root


def test_the_page_leads_to_a_figure_and_a_verdict(copy):
    before = contents(copy)
    assert not before.keys() & FILES.keys(), "the page adds files; it changes none"
    for name, content in FILES.items():
        (copy / name).write_text(content, encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PAGREPRO", "SNAKEMAKE"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = kept | {"PATH": path, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
    for command in COMMANDS:
        done = subprocess.run(
            ["bash", "-c", command], cwd=copy, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert re.search(r"^drucker1992 D1 +confirmed +The penalty makes", done.stdout, re.MULTILINE), done.stdout
    results = copy / "results/tutorial"
    assert (results / "figures/drucker1992/figure1.png").read_bytes().startswith(b"\x89PNG")
    with (results / "claims.csv").open(encoding="utf-8") as file:
        (claim,) = csv.DictReader(file)
    assert (claim["verdict"], claim["n_seeds"]) == ("confirmed", "3")
    with (results / "figures/drucker1992/figure1.csv").open(encoding="utf-8") as file:
        assert sorted(row["method"] for row in csv.DictReader(file)) == ["penalty"] * 3 + ["plain"] * 3
    changed = contents(copy).items() ^ before.items()
    assert {name for name, _ in changed} == set(FILES), "files that the page does not name have changed"


def test_the_page_names_the_file_of_every_block():
    for name in FILES:
        assert f"`{name}`" in PAGE, name
    assert len(FILES) == 5
    assert len(COMMANDS) == 3
