"""Each profile's own tier, cores and resources, and every name that can be asked for on the command line."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sandbox import REPOSITORY, Ended, Sandbox, Server

TIERS = {"demo": "demo", "local": "small", "slurm": "full"}

# A dry run says nothing about cores and limits; the copy of the Snakefile prints what Snakemake made of them.
SETTINGS = """
import json as _json, sys as _sys

_given = workflow.resource_settings
_limits = {k: r.raw for k, r in (_given.resources or {}).items() if not k.startswith("_")}
_defaults = {k: r.raw for k, r in (_given.default_resources or {}).items() if k in ("mem_mb", "runtime")}
print(
    "SETTINGS",
    _json.dumps([config["tier"], _given.cores, _given.nodes, _limits, _defaults]),
    file=_sys.stderr,
)
"""

DryRun = Callable[..., Ended]


@pytest.fixture(scope="module")
def dry(server: Server, tmp_path_factory: pytest.TempPathFactory) -> DryRun:
    """Dry run of the repository's own configuration in an empty folder: all targets at once."""
    sandbox = Sandbox(tmp_path_factory.mktemp("profiles"), None, server)
    snakefile = sandbox.root / "Snakefile"
    snakefile.write_text(snakefile.read_text() + SETTINGS)

    @functools.cache
    def run(profile: str, tier: str | None = None, *targets: str) -> Ended:
        chosen = ["--config", f"tier={tier}"] if tier else []
        return sandbox.dry("--profile", f"profiles/{profile}", *chosen, "--", *(targets or target_names()))

    return run


def target_names() -> list[str]:
    """The named targets, and the alias of every artifact that a paper file declares."""
    rules = "".join(
        (REPOSITORY / "workflow" / "rules" / f"{name}.smk").read_text() for name in ("targets", "report")
    )
    names = ["all", *re.findall(r"^rule (\w+):", rules, re.MULTILINE)]
    for paper in read("config.yaml")["papers"]:
        artifacts = read("matrix.yaml" if paper == "matrix" else f"papers/{paper}.yaml")["artifacts"]
        names += [f"paper_{paper}", *(f"{paper}_{re.sub('^figure_?', figure, name)}" for name in artifacts)]
    return names


def figure(found: re.Match[str]) -> str:
    """figure3 -> fig3, figure_s8 -> fig_s8"""
    return found.group().replace("figure", "fig")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "config" / name).read_text())


def settings(ended: Ended) -> list[Any]:
    """[tier, cores, jobs at once, limits of resources, resources of a job without its own]"""
    return json.loads(re.search("^SETTINGS (.*)$", ended.text, re.MULTILINE).group(1))


@pytest.mark.parametrize("profile", TIERS)
def test_every_target_resolves_in_the_tier_of_the_profile(dry: DryRun, profile: str) -> None:
    ended = dry(profile)
    assert ended.status == 0, ended.text[-4000:]
    assert set(target_names()) <= set(ended.rules)
    folders = {"/".join(Path(path).parts[:2]) for job in ended.jobs for path in job.outputs}
    tier = f"results/{TIERS[profile]}"
    assert tier in folders
    assert folders <= {tier, "resources/sources", "resources/data"}


def test_the_demo_profile_has_two_cores_and_no_gpu(dry: DryRun) -> None:
    assert settings(dry("demo")) == ["demo", 2, None, {}, {}]
    assert all(job.threads <= 2 for job in dry("demo").jobs)
    assert {job.resources.get("gpu", "0") for job in dry("demo").jobs} == {"0"}


def test_the_local_profile_limits_jobs_by_its_gpus(dry: DryRun) -> None:
    tier, cores, _, limits, _ = settings(dry("local"))
    assert (tier, limits) == ("small", {"gpu": 1})
    assert cores >= 1
    assert {job.resources["gpu"] for job in dry("local").jobs if job.rule.startswith("train")} <= {"0", "1"}


def test_the_slurm_profile_submits_jobs_with_their_own_resources(dry: DryRun) -> None:
    assert settings(dry("slurm")) == ["full", 64, 200, {}, {"mem_mb": 4000, "runtime": 60}]
    fits = [job for job in dry("slurm").jobs if job.rule.startswith("train")]
    assert fits
    assert all(int(job.resources["mem_mb"]) > 4000 for job in fits if job.resources["gpu"] != "0")
    assert any(job.resources["gpu"] == "1" and job.threads > 1 for job in fits)
    tables = [job for job in dry("slurm").jobs if job.rule == "draw_table"]
    assert {(job.resources["mem_mb"], job.resources["runtime"]) for job in tables} == {("1000", "10")}


def test_the_command_line_chooses_another_tier_in_the_slurm_profile(dry: DryRun) -> None:
    ended = dry("slurm", "demo", "claims")
    assert ended.status == 0, ended.text[-4000:]
    assert settings(ended)[:3] == ["demo", 64, 200]
    assert {Path(path).parts[1] for job in ended.jobs for path in job.outputs} == {"demo"}


def other_tiers() -> list[str]:
    tiers = {path.stem for path in (REPOSITORY / "config" / "tiers").glob("*.yaml")}
    return sorted(tiers - set(TIERS.values()))


@pytest.mark.parametrize("tier", other_tiers())
def test_a_tier_without_a_profile_of_its_own_resolves(dry: DryRun, tier: str) -> None:
    ended = dry("local", tier, "all")
    assert ended.status == 0, ended.text[-4000:]
    assert {Path(path).parts[1] for job in ended.jobs for path in job.outputs} <= {tier, "sources", "data"}


def test_what_the_snakefile_imports_is_light() -> None:
    """Under 1 s of CPU and no torch: it is imported again for every submitted job."""
    lines = (REPOSITORY / "workflow" / "rules" / "common.smk").read_text().splitlines()
    imports = [line.strip() for line in lines if re.match(r"\s*from pagrepro", line)]
    assert len(imports) > 1
    code = ["import sys, time", *imports, "print(time.process_time(), 'torch' in sys.modules)"]
    command = [sys.executable, "-c", "\n".join(code)]
    seconds, torch = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert torch == "False"
    assert float(seconds) < 1


@pytest.mark.parametrize("profile", TIERS)
def test_snakemake_ends_soon_after_its_last_job(profile: str, tmp_path: Path) -> None:
    """It waits until the span of `max-jobs-per-timespan` is over: a long one keeps a finished run alive."""
    (tmp_path / "Snakefile").write_text('rule all:\n    output: "made"\n    shell: "touch {output}"\n')
    given = ["--profile", REPOSITORY / "profiles" / profile, "--snakefile", tmp_path / "Snakefile"]
    command = [sys.executable, "-m", "snakemake", *given, "--directory", tmp_path, "--executor", "local"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=45)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert (tmp_path / "made").exists()
