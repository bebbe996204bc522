"""Progress is read off sidecars and logs: what is done, what runs, how long the rest takes."""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import pytest
from tiny import Tiny

from pagrepro import epoch_line, pack, progress
from pagrepro.expand import expand_loaded
from pagrepro.layout import Layout

LINE = {
    "epoch": 3, "steps": 30, "lr": 0.1, "metrics": {"loss": 0.5234, "gradient_norm": float("nan")},
    "monitor": {"validation": {"accuracy": 0.91}}, "images_per_s": 913.4, "wall_s": 6.0,
}  # fmt: skip
USED = "used: 12.3 s of CPU, 550 MB\n"


@pytest.fixture
def tiny(tmp_path):
    """(configuration, expansion, layout): three plain runs in packs of two, three aligned ones."""
    loaded = Tiny().load(tmp_path)
    return loaded, expand_loaded(loaded, tmp_path), Layout(tmp_path / "results/tiny")


def finish(layout, member, seconds=2.0, digest=None):
    path = progress.sidecars.path_of(member, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"spec_hash": digest or member.hash, "provenance": {"wall_s": seconds}}))


def log(layout, job, text):
    path = progress.log_of(job, layout)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x" * 300_000 + "\n" + text)
    return path


def job_of(survey, name):
    return next(state for state in survey.jobs if state.job.name == name)


# --- lines of a log


def test_a_line_of_the_log_is_read_back():
    line = epoch_line.log_line(LINE, 10)
    assert line == (
        "epoch 3/10  step 30  lr 0.1  loss 0.5234  gradient_norm nan  validation.accuracy 0.91  913 images/s"
        "  6.0 s  14 s left"
    )
    assert epoch_line.read(line) == epoch_line.Epoch(3, 10, 0.5234, 0.91, 913.0, 14.0)
    assert epoch_line.read(line).text == "epoch 3/10, loss 0.523, accuracy 0.91, 913 images/s, 14 s left"


def test_the_last_epoch_has_no_time_left():
    line = epoch_line.log_line({**LINE, "epoch": 10, "images_per_s": None}, 10)
    assert line.endswith("  6.0 s")
    assert epoch_line.read(line).left_s == 0


@pytest.mark.parametrize(
    "text", ["", "run_1: starts at step 0 of 10", "epoch 3 of 10", "used: 1 s of CPU, 5 MB"]
)
def test_other_lines_are_no_epochs(text):
    assert epoch_line.read(text) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (150, "2 min"), (6000, "1.7 h"), (260000, "3.0 days")]
)
def test_durations(seconds, text):
    assert epoch_line.duration(seconds) == text


def test_there_is_a_bar_on_a_terminal_only(monkeypatch):
    assert epoch_line.bar(range(3), "run", 4, 10, [LINE]) == range(3)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = epoch_line.bar(range(3), "run", 4, 10, [LINE])
    assert (shown.desc, shown.postfix) == ("run 4/10", epoch_line.read(epoch_line.log_line(LINE, 10)).text)
    assert list(shown) == [0, 1, 2]
    assert not epoch_line.bar(range(3), "run", 1, 10, []).postfix


def test_the_demo_tells_the_time_after_snakemakes_steps():
    path = Path(__file__).parents[2] / "workflow/scripts/demo.py"
    spec = importlib.util.spec_from_file_location("script_demo", path)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    told = demo.timed("3 of 132 steps (2%) done\n", 132.0, 15.0)
    assert told == "3 of 132 steps (2%) done, 2.2 of 15 planned minutes\n"
    assert demo.timed("rule train_pack_toy_0:\n", 132.0, 15.0) == "rule train_pack_toy_0:\n"


# --- jobs


def test_nothing_is_done_at_first(tiny):
    found = progress.survey(*tiny)
    assert not found.running
    assert not found.complete
    jobs = len(found.jobs)
    first, *_ = progress.text(found, None).splitlines()
    assert first == f"tier tiny: 0 of {jobs} jobs done, 0 running, {jobs} left"


def test_members_with_a_sidecar_of_this_spec_are_done(tiny):
    _, expansion, layout = tiny
    finish(layout, expansion.runs["line_plain_s0"])
    finish(layout, expansion.runs["line_plain_s1"], digest="another")
    finish(layout, expansion.runs["line_aligned_s2"], seconds=5.0)
    found = progress.survey(*tiny)
    assert job_of(found, "plain_0").done == {0: 2.0}
    assert not job_of(found, "plain_0").finished
    assert job_of(found, "line_aligned_s2").finished
    assert "2 of 6 fits" in progress.text(found, None)


def test_a_job_runs_from_the_beginning_of_its_log_to_its_last_line(tiny):
    _, expansion, layout = tiny
    job = next(job for job in pack.jobs(expansion, tiny[0]) if job.name == "plain_0")
    finish(layout, expansion.runs["line_plain_s0"])
    words = [
        "line_plain_s0: starts at step 0 of 100", epoch_line.log_line({**LINE, "epoch": 10}, 10),
        "line_plain_s1: resumes at step 20 of 100", epoch_line.log_line(LINE, 10), "",
    ]  # fmt: skip
    path = log(layout, job, "\n".join(words))
    os.utime(path, (time.time() - 600, time.time() - 600))
    (state,) = progress.survey(*tiny).running
    assert (state.job.name, state.part) == ("plain_0", 0.3)
    assert progress.text(progress.survey(*tiny), None).splitlines()[-1] == (
        "  train plain_0: 1 of 2  line_plain_s1: epoch 3/10, loss 0.523, accuracy 0.91, 913 images/s,"
        " 14 s left; silent for 10 min"
    )
    path.write_text(path.read_text() + USED)
    assert not progress.survey(*tiny).running  # it has failed


def test_a_finished_job_does_not_run_whatever_its_log_says(tiny):
    _, expansion, layout = tiny
    job = next(job for job in pack.jobs(expansion, tiny[0]) if job.name == "plain_0")
    for member in job.members:
        finish(layout, member)
    log(layout, job, "line_plain_s1: starts at step 0 of 100\n")
    assert not progress.survey(*tiny).running


def test_measurements_tell_which_was_the_last():
    about, part = progress.last_words(
        "a/clean: accuracy 0.5  (1.2 s)\nb/clean: kept from an earlier job\nx\n"
    )
    assert (about, part) == ("after b/clean", 0.0)
    assert progress.last_words("run: starts at step 50 of 100\n") == ("run: begun", 0.5)


def test_everything_done(tiny):
    loaded, expansion, layout = tiny
    for job in pack.jobs(expansion, loaded):
        for member in job.members:
            finish(layout, member)
    assert not progress.survey(*tiny).complete
    for plan in expansion.artifacts.values():
        path: Path = getattr(layout, plan.kind)(plan.paper, plan.name)
        path.parent.mkdir(parents=True)
        path.touch()
    assert progress.survey(*tiny).complete


# --- time left


def left(tiny):
    found = progress.survey(*tiny)
    return progress.seconds_left(found, progress.Pace(found, tiny[1]))


def test_nothing_is_estimated_before_anything_is_finished(tiny):
    assert left(tiny) is None


def test_what_is_left_takes_what_its_likes_took(tiny):
    """A kind is an objective, a field, a measurement, each with its network and data."""
    _, expansion, layout = tiny
    finish(layout, expansion.runs["line_plain_s0"], seconds=3.0)
    finish(layout, expansion.runs["line_aligned_s0"], seconds=8.0)
    finish(layout, expansion.evaluations["line_plain_s0", "clean"], seconds=0.5)
    finish(layout, expansion.evaluations["line_plain_s0", "pgd"], seconds=1.5)
    finish(layout, expansion.fields["line_near_s0"], seconds=7.0)
    assert left(tiny) == pytest.approx(2 * 3 + 2 * 8 + 5 * 0.5 + 5 * 1.5 + 2 * 7)


def test_without_likes_passes_count(tiny):
    """A PGD of three steps takes more passes than the accuracy, and the fits take as long as the others."""
    _, expansion, layout = tiny
    for run in ("line_plain", "line_aligned"):
        for seed in (0, 1, 2):
            finish(layout, expansion.evaluations[f"{run}_s{seed}", "clean"], seconds=1.0)
    found = progress.survey(*tiny)
    pace = progress.Pace(found, expansion)
    attack = expansion.evaluations["line_plain_s0", "pgd"]
    ratio = pace.estimate.of(attack) / pace.estimate.of(expansion.evaluations["line_plain_s0", "clean"])
    assert ratio > 5
    assert pace.seconds("evaluate", attack) == pytest.approx(ratio)
    assert pace.seconds("train", expansion.runs["line_plain_s0"]) > 0


def test_attack_steps_are_passes():
    attacked = {"task": {"objective": {"name": "adversarial_training", "attack": {"steps": 7}}}}
    assert progress.Passes().step(attacked) == 8 * progress.Passes().step({"task": {"name": "denoiser"}})


def test_the_part_of_a_fit_that_is_done_counts(tiny):
    _, expansion, layout = tiny
    finish(layout, expansion.runs["line_plain_s0"], seconds=3.0)
    before = left(tiny)
    job = next(job for job in pack.jobs(expansion, tiny[0]) if job.name == "plain_0")
    log(layout, job, "line_plain_s1: starts at step 0 of 100\n" + epoch_line.log_line(LINE, 10) + "\n")
    assert left(tiny) == pytest.approx(before - 0.3 * 3.0)
    found = progress.survey(*tiny)
    assert "about 75 s left, with 1 at a time" in progress.text(found, 75.0)
