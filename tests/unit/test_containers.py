"""Container recipes: the Makefile's install of the same lock file, and nothing that is not there.

No container is built here: what the recipes say is taken apart, and what can be done without one is done.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_envs import LOCK, ROOT, environments

DOCKERFILE = (ROOT / "envs/Dockerfile").read_text()
APPTAINER = (ROOT / "envs/apptainer.def").read_text()
PAGE = (ROOT / "docs/housekeeping.md").read_text()


def docker(word: str) -> list[str]:
    """What follows an instruction of the Dockerfile, once per use; continued lines are joined."""
    return re.findall(rf"^{word} (.*)$", DOCKERFILE.replace("\\\n", ""), re.MULTILINE)


def section(name: str) -> list[str]:
    """Lines of a section of the Apptainer recipe."""
    body = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", APPTAINER, re.MULTILINE | re.DOTALL)[1]
    return [line.strip() for line in body.splitlines() if line.strip() and not line.strip().startswith("#")]


def docker_steps() -> list[str]:
    return [step for run in docker("RUN") for step in run.split(" && ")]


def installs(lines: list[str]) -> list[str]:
    """What `pip install` is asked for, without options that change nothing that is installed."""
    idle = r" --quiet| --compile-bytecode| --no-cache-dir| --python \S+"
    found = [re.search(r"pip install(.*)", re.sub(idle, "", line)) for line in lines]
    return [match[1].strip() for match in found if match]


def python_versions() -> dict[str, str]:
    """Where a version of Python is said -> the version."""
    found = {"requirements.lock": re.search(r"--python-version (\S+)", LOCK.read_text())[1]}
    for name, text in (("Dockerfile", docker("FROM")[0]), ("apptainer.def", APPTAINER)):
        found[name] = re.search(r"python:(3\.\d+)-", text)[1]
    for name in ("torch", "plots"):
        (found[name],) = re.findall(r"- python=(\S+)", (ROOT / f"envs/{name}.yaml").read_text())
    return found


def test_one_version_of_python():
    assert set(python_versions().values()) == {environments.PYTHON}
    lowest = re.search(r'requires-python = ">=(.*)"', (ROOT / "pyproject.toml").read_text())[1]
    assert lowest == environments.PYTHON, "the lock file is made for the oldest Python that is promised"


def test_recipes_install_what_the_makefile_installs():
    wanted = ["-r requirements.lock", "--no-deps -e ."]
    assert [line for line in installs((ROOT / "Makefile").read_text().splitlines()) if line != "uv"] == wanted
    assert installs(docker_steps()) == wanted
    assert installs(section("post")) == wanted


def test_the_page_and_the_workflow_install_the_same():
    (plain,) = re.findall(r"^(python -m pip install -r .*)$", PAGE, re.MULTILINE)
    assert installs(plain.split(" && ")) == ["-r requirements.lock", "--no-deps -e ."]
    message = re.search(r"\(or: (.*?)\)", (ROOT / "workflow/rules/common.smk").read_text())[1]
    assert installs(message.split(" && ")) == ["-r requirements.lock", "--no-deps -e ."]


def test_the_readme_uses_no_other_lock_file():
    named = re.findall(r"install .*?-r (\S+)", (ROOT / "README.md").read_text())
    made = re.findall(r"requirements\.lock > (\S+)", (ROOT / "README.md").read_text())
    assert set(named) <= {"requirements.lock", *made}


def test_recipes_pin_nothing_themselves():
    """Else there were two places for a version."""
    for text in (DOCKERFILE, APPTAINER):
        assert not re.search(r"==|>=|~=", "\n".join(x for x in text.splitlines() if not x.startswith("#")))


def test_both_recipes_are_one_container():
    assert docker("FROM")[0] == re.search(r"^From: (.*)$", APPTAINER, re.MULTILINE)[1]
    in_docker = [tuple(line.split()) for line in docker("COPY")]
    in_apptainer = [tuple(line.split()) for line in section("files")]
    assert [(a, f"/pagrepro/{b}") for a, b in in_docker] == in_apptainer
    variables = dict(re.findall(r"(\w+)=(\S+)", docker("ENV")[0]))
    for line in section("environment"):
        key, _, value = line.removeprefix("export ").partition("=")
        assert variables[key] == value
    assert variables["OMP_NUM_THREADS"] == re.search(
        r"OMP_NUM_THREADS := (\d+)", (ROOT / "Makefile").read_text()
    )[1]  # fmt: skip


def test_what_is_copied_is_in_the_repository_and_allowed():
    copied = [line.split()[0] for line in docker("COPY")]
    tracked = subprocess.run(["git", "ls-files", "--", *copied], cwd=ROOT, capture_output=True, text=True)
    tops = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    if tracked.returncode == 0:
        assert set(copied) == tops
    allowed = (ROOT / "envs/Dockerfile.dockerignore").read_text().splitlines()
    assert allowed[0] == "*"
    assert [line[1:] for line in allowed if line.startswith("!")] == copied


def test_what_is_copied_is_enough_to_build_and_to_expand(tmp_path):
    for name in ("requirements.lock", *environments.COPIED):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    project = (tmp_path / "pyproject.toml").read_text()
    for file in re.findall(r'^(?:readme = |license-files = \[)"(.*?)"', project, re.MULTILINE):
        assert (tmp_path / file).is_file(), file
    program = (
        "from pagrepro import configuration, expand, plugins\n"
        "config = configuration.read_yaml(__import__('pathlib').Path('config/config.yaml'))\n"
        "assert expand.expand(config | {'tier': 'demo'}).runs\n"
        "assert str(plugins.PACKAGE).startswith(__import__('os').getcwd())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    # What starts by itself is a profile that is there.
    assert (tmp_path / environments.COMMAND[-1] / "profile.yaml").is_file()


def test_conda_files_have_no_pin_that_the_container_lacks():
    """The container installs all of the lock file, so it is enough that pins are lines of it."""
    lines = set(LOCK.read_text().splitlines())
    for name in ("torch", "plots"):
        *_, pip = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())["dependencies"]
        assert set(pip["pip"]) <= lines


def test_nobody_has_to_be_root():
    assert docker("USER") == ["pagrepro"]
    assert any(step.startswith("chmod -R a+rwX /pagrepro") for step in docker_steps())


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
def test_runscript_and_steps_are_valid_shell():
    texts = ["\n".join(section(name)) for name in ("post", "environment", "runscript", "test")]
    for text in (*texts, *docker_steps(), (ROOT / "envs/in_image/python").read_text()):
        assert subprocess.run(["sh", "-n"], input=text, text=True).returncode == 0, text


@pytest.mark.parametrize("name", ["python", "torchrun"])
def test_jobs_in_the_image_get_their_arguments_and_folder(name, tmp_path):
    """With an `apptainer` that only says how it was called."""
    fake = tmp_path / "bin/apptainer"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    folder = tmp_path / "a checkout"
    shutil.copytree(ROOT / "envs", folder / "envs", symlinks=True)
    path = f"{folder}/envs/in_image:{fake.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", f"{name} workflow/scripts/train.py --spec '[{{\"a\": 1}}]'"],
        cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *options, image, program, script, flag, spec = done.stdout.splitlines()
    assert options == ["exec", "--nv", "--bind", str(folder), "--pwd", str(folder)]
    assert Path(image).resolve() == folder / "image.sif"
    assert (program, script, flag, spec) == (name, "workflow/scripts/train.py", "--spec", '[{"a": 1}]')


def test_recipes_do_not_change_with_a_version(tmp_path):
    """A new pin reaches them by the lock file, which they copy."""
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK.read_text().replace("torch==", "torch==99."))
    changed = {Path(path).name for path in environments.outdated(lock, ROOT / "envs")}
    assert changed == {"torch.yaml"}
