"""What an edit makes Snakemake do again: what depends on it, and nothing else."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sandbox import Ended, Sandbox

COSTLY = ("train", "make_field", "evaluate", "convert", "download", "prepare")


def costly(ended: Ended) -> list[str]:
    """Rules of the announced jobs that fit, attack or fetch something."""
    assert ended.status == 0, ended.text
    return [rule for rule in ended.rules if rule.startswith(COSTLY)]


def nothing(ended: Ended) -> bool:
    return ended.status == 0 and "Nothing to be done" in ended.text and not ended.jobs


def files(sandbox: Sandbox, run: str) -> dict[str, tuple[int, int]]:
    """Identity of every file of a run: (inode, time of the last change of the content or place)."""
    folder = sandbox.results / "models" / run
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


# --- nothing to do


def test_a_second_run_starts_no_job(finished: Sandbox) -> None:
    assert nothing(finished.snakemake())


def test_touching_every_source_script_rule_and_configuration_file_does_nothing(finished: Sandbox) -> None:
    for folder in ("src", "workflow", "config", "profiles", "envs", "Snakefile"):
        place = finished.root / folder
        for path in [place, *place.rglob("*")]:
            os.utime(path)
    assert nothing(finished.dry())


def test_switching_to_a_branch_and_back_does_nothing(finished: Sandbox, tmp_path: Path) -> None:
    sandbox = finished.copy(tmp_path)
    here = Git(tmp_path)
    (tmp_path / ".gitignore").write_text("results\nresources\n.snakemake\nsnakemake.txt\n__pycache__\n")
    here("init", "--quiet", "--initial-branch=main")
    here("add", ".")
    here("commit", "--quiet", "--message=start")
    here("checkout", "--quiet", "-b", "other")
    for name, old, new in (
        ("src/pagrepro/objectives/cosine_alignment.py", "REVISION", "# a comment\nREVISION"),
        ("src/pagrepro/fit.py", "REVISION", "# a comment\nREVISION"),
        ("src/pagrepro/figures/decision_regions.py", "REVISION", "# a comment\nREVISION"),
        ("workflow/rules/train.smk", "for shape", "# a comment\nfor shape"),
        ("workflow/scripts/train.py", "if __name__", "# a comment\nif __name__"),
    ):
        path = tmp_path / name
        path.write_text(path.read_text().replace(old, new, 1))
    here("commit", "--quiet", "--all", "--message=comments")
    # The cheap figure follows the text of its plugin, the costly rules follow revisions.
    assert sandbox.dry().rules == ["all", "draw_figure", "page", "report"]
    here("checkout", "--quiet", "main")
    assert nothing(sandbox.dry())


class Git:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str) -> None:
        who = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "core.hooksPath=/dev/null")
        subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True)


# --- edits of the code


def test_a_reformatted_costly_plugin_schedules_nothing(finished: Sandbox) -> None:
    path = "objectives/cosine_alignment.py"
    with finished.changed_source(path, "def build(config: Config):", "def build(\n    config: Config,\n):"):
        assert nothing(finished.dry())


def test_a_bumped_revision_schedules_exactly_its_users(finished: Sandbox) -> None:
    with finished.changed_source("objectives/cosine_alignment.py", "REVISION = 1", "REVISION = 2"):
        ended = finished.dry()
    assert costly(ended) == ["evaluate", "train"]
    assert ended.made("models") == ended.made("evaluations") == {"line_aligned_s0"}


def test_a_bumped_revision_of_a_field_also_schedules_the_runs_that_read_it(finished: Sandbox) -> None:
    with finished.changed_source("fields/nearest_neighbour.py", "REVISION = 1", "REVISION = 2"):
        ended = finished.dry()
    assert costly(ended) == ["evaluate", "make_field", "train"]
    assert ended.made("fields") == {"line_near_s0"}
    assert ended.made("models") == {"line_aligned_s0"}


def test_a_bumped_revision_of_a_measurement_trains_nothing(finished: Sandbox) -> None:
    with finished.changed_source("evaluations/pgd_accuracy.py", "REVISION = 1", "REVISION = 2"):
        ended = finished.dry()
    assert costly(ended) == ["evaluate", "evaluate_pack_plain_results_0"]


@pytest.mark.parametrize(
    ("module", "rules"),
    [
        ("figures/decision_regions.py", ["all", "draw_figure", "page", "report"]),
        ("tables/accuracy.py", ["all", "draw_table", "page", "report"]),
        ("claims/difference.py", ["all", "gather_claims", "judge_claims", "page", "report"]),
    ],
)
def test_an_edited_cheap_plugin_redraws_only_what_it_draws(
    finished: Sandbox, module: str, rules: list[str]
) -> None:
    with finished.changed_source(module, "REVISION", "# a comment\nREVISION"):
        ended = finished.dry()
    assert (ended.status, ended.rules) == (0, rules)


# --- edits of the configuration


def test_an_edited_hyperparameter_schedules_that_run_alone(finished: Sandbox) -> None:
    with finished.edited() as tiny:
        tiny.paper["settings"]["weight"] = 0.25
        ended = finished.dry()
    assert ended.rules == [
        "all", "draw_figure", "draw_table", "evaluate", "gather_claims", "judge_claims", "page", "report",
        "train",
    ]  # fmt: skip
    assert ended.made("models") == {"line_aligned_s0"}


def test_an_edited_member_of_a_pack_is_fitted_and_the_others_are_put_back(
    finished: Sandbox, tmp_path: Path
) -> None:
    sandbox = finished.copy(tmp_path)
    before = {run: files(sandbox, run) for run in ("line_plain_s0", "line_plain_s1", "line_aligned_s0")}
    weights = sandbox.results / "models" / "line_plain_s0" / "model.safetensors"
    content = weights.read_bytes()
    sandbox.tiny.paper["settings"]["members"][1]["lr"] = 0.02

    target = "results/tiny/evaluations/line_plain_s1/clean.json"
    ended = sandbox.snakemake(target)

    assert ended.status == 0, ended.text
    assert costly(ended) == ["evaluate_pack_plain_results_0", "train_pack_plain_0"]
    assert files(sandbox, "line_aligned_s0") == before["line_aligned_s0"]
    log = sandbox.log("train/pack_plain_0")
    assert "line_plain_s0: unchanged, kept from an earlier job" in log
    assert "line_plain_s1: unchanged" not in log
    kept = next((sandbox.results / "kept" / "models" / "line_plain_s0").glob("*/model.safetensors"))
    assert kept.samefile(weights)
    assert weights.read_bytes() == content
    measured = sandbox.log("evaluate/pack_plain_results_0")
    assert "line_plain_s0/clean: kept from an earlier job" in measured
    assert "line_plain_s1/clean: kept" not in measured
    assert nothing(sandbox.dry(target))


def test_a_new_run_is_the_only_one_trained(finished: Sandbox) -> None:
    with finished.edited() as tiny:
        tiny.paper["settings"]["seeds"] = [0, 1]
        ended = finished.dry()
    assert costly(ended) == ["evaluate", "make_field", "train"]
    assert ended.made("models") == {"line_aligned_s1"}
    assert ended.made("fields") == {"line_near_s1"}


def test_a_removed_run_is_left_out_of_the_artifacts_and_nothing_is_trained(finished: Sandbox) -> None:
    with finished.edited() as tiny:
        tiny.paper["runs"]["aligned"]["grid"]["seed"] = []
        ended = finished.dry()
    assert costly(ended) == []
    assert {"draw_figure", "draw_table", "judge_claims"} <= set(ended.rules)


def test_cost_and_threads_schedule_nothing(finished: Sandbox) -> None:
    with finished.edited() as tiny:
        cost = {"minutes": 7, "memory_mb": 1234, "gpus": 0, "threads": 2}
        for section in ("runs", "fields", "evaluations"):
            for declared in tiny.paper[section].values():
                declared["cost"] = cost
        tiny.tier["packs"][0] |= {"minutes": 3, "memory_mb": 999}
        assert nothing(finished.dry())


def test_choices_of_the_machine_schedule_nothing(finished: Sandbox) -> None:
    with finished.edited() as tiny:
        tiny.config |= {"offline_dir": "/nowhere", "device": "cpu", "save_every_s": 5}
        assert nothing(finished.dry())


def test_labels_redraw_and_train_nothing(finished: Sandbox) -> None:
    with finished.edited() as tiny:
        tiny.paper["runs"]["plain"]["labels"] = {"method": "not aligned"}
        ended = finished.dry()
    assert costly(ended) == []
    assert {"draw_figure", "draw_table", "judge_claims"} <= set(ended.rules)


def test_a_deleted_artifact_is_drawn_again_without_training(finished: Sandbox, tmp_path: Path) -> None:
    sandbox = finished.copy(tmp_path)
    shutil.rmtree(sandbox.results / "figures")
    ended = sandbox.dry("tiny_fig2")
    assert (ended.status, ended.rules) == (0, ["draw_figure", "tiny_fig2"])
