"""The plan of a tier: every job counted once, limits as configured, disk from sizes."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import Tiny

from pagrepro import expand, pack, plan, plugins
from pagrepro.estimate import Rows

ROOT = Path(__file__).parents[2]
WEIGHTS = 1000


def items(tiny: Tiny, root: Path) -> list[plan.Item]:
    loaded = tiny.load(root)
    return plan.items(loaded, expand.expand_loaded(loaded, root), lambda spec: WEIGHTS, root)


def of_rule(found: list[plan.Item], rule: str) -> list[plan.Item]:
    return [item for item in found if item.rule == rule]


def test_every_job_is_counted_once(tmp_path):
    tiny = Tiny()
    found = items(tiny, tmp_path)
    # Besides the jobs: one table and the claims of one paper.
    assert len(found) == len(tiny.jobs(tmp_path)) + 2
    assert sum(item.members for item in of_rule(found, "train (packs)")) == 3
    assert len(of_rule(found, "train (packs)")) == 2
    assert len(of_rule(found, "train")) == 3
    assert {item.paper for item in found} == {"tiny"}


def test_limits_are_those_of_the_configuration(tmp_path):
    tiny = Tiny()
    tiny.paper["runs"]["aligned"]["cost"] = {"minutes": 90, "gpus": 2, "threads": 4}
    tiny.tier["packs"][0] |= {"minutes": 30, "gpus": 0}
    found = items(tiny, tmp_path)
    assert [(i.gpu_hours, i.cpu_hours) for i in of_rule(found, "train")] == [(3.0, 6.0)] * 3
    assert [(i.gpu_hours, i.cpu_hours) for i in of_rule(found, "train (packs)")] == [(0.0, 0.5)] * 2


def test_disk_counts_every_set_of_weights(tmp_path):
    tiny = Tiny()
    assert [item.disk for item in of_rule(items(tiny, tmp_path), "train")] == [WEIGHTS] * 3
    tiny.paper["runs"]["aligned"]["fit"] |= {"keep_epochs": [1, 2], "ema": {"decay": 0.9}}
    assert [item.disk for item in of_rule(items(tiny, tmp_path), "train")] == [4 * WEIGHTS] * 3


def field_spec(**field) -> dict:
    return {"field": {"name": "class_mean", **field}, "dataset": {"classes": 10, "shape": [3, 4, 4]}}


@pytest.mark.parametrize(
    ("stores", "bytes_"),
    [
        (("rows", "classes", "pixels"), 7 * 10 * 48 * 4),
        (("classes", "pixels"), 10 * 48 * 4),
        (("rows",), 7 * 4),
    ],
)
def test_disk_of_a_field_follows_what_it_stores(monkeypatch, stores, bytes_):
    monkeypatch.setattr(plugins, "constant", lambda kind, name, key, default: stores)
    assert plan.field_bytes(field_spec(), 7) == bytes_
    assert plan.field_bytes(field_spec(dtype="float16"), 7) == bytes_ // 2


def test_disk_of_a_field_follows_an_option_of_the_run_it_is_made_from(monkeypatch):
    run = SimpleNamespace(spec={"task": {"name": "autoencoder", "latent": 12}})
    spec = field_spec() | {"inputs": {"autoencoder": {"run": "ae", "weights": "final", "hash": "h"}}}
    stores = ("rows", "autoencoder.latent", "pixels")
    monkeypatch.setattr(plugins, "constant", lambda kind, name, key, default: stores)
    assert plan.field_bytes(spec, 7, {"ae": run}) == 7 * 12 * 48 * 4


def test_field_that_says_nothing_counts_as_the_most(monkeypatch):
    monkeypatch.setattr(plugins, "constant", lambda kind, name, key, default: default)
    assert plan.field_bytes(field_spec(), 7) == 7 * 10 * 48 * 4


def test_fields_of_uncertain_size_are_named(tmp_path, monkeypatch):
    expansion = Tiny().expand(tmp_path)
    monkeypatch.setattr(plugins, "constant", lambda kind, name, key, default=None: default)
    assert plan.uncertain_fields(expansion) == ["nearest_neighbour"]
    monkeypatch.setattr(plugins, "constant", lambda kind, name, key, default=None: ("rows", "classes"))
    assert plan.uncertain_fields(expansion) == []


def test_rows_of_an_index_file_are_counted(tmp_path):
    (tmp_path / "rows.txt").write_text("3\n5\n8\n")
    dataset = {"parts": {"train": 240}}
    rows = Rows(tmp_path)
    assert rows.of({"dataset": dataset, "split": {"part": "train", "indices": None}}) == 240
    assert rows.of({"dataset": dataset, "split": {"part": "train", "indices": "rows.txt"}}) == 3
    without = {"part": "train", "indices": None, "without": "rows.txt"}
    assert rows.of({"dataset": dataset, "split": without}) == 237
    # A part whose size is not declared.
    for split in (without, {"part": "train", "indices": None}):
        assert rows.of({"dataset": {"parts": {}}, "split": split}) == 0


def test_work_shared_by_papers_counts_for_the_first(tmp_path):
    tiny = Tiny()
    tiny.config["papers"] = ["tiny", "other"]
    tiny.others["other"] = {
        "settings": tiny.paper["settings"],
        "runs": {"plain": tiny.paper["runs"]["plain"]},
    }
    fits = [item for item in items(tiny, tmp_path) if item.rule.startswith("train")]
    assert sum(item.members for item in fits) == 6
    assert {item.paper for item in fits} == {"tiny"}


def test_table_sums_per_paper_and_over_all():
    found = [
        plan.Item("b", "train", 1, 1, 2.0, 4.0, 10), plan.Item("a", "train", 1, 3, 1.0, 1.0, 5),
        plan.Item("b", "train", 1, 2, 0.5, 1.0, 1), plan.Item("b", "evaluate", 1, 9, 0.0, 0.5, 0),
    ]  # fmt: skip
    frame = plan.table(found)
    assert list(zip(frame["paper"], frame["rule"], strict=True)) == [
        ("b", "train"), ("b", "evaluate"), ("b", "all"), ("a", "train"), ("a", "all"), ("all", "all"),
    ]  # fmt: skip
    assert frame.iloc[2].tolist() == ["b", "all", 3, 12, 2.5, 5.5, 11, 0, 0, 0]
    assert frame.iloc[-1].tolist() == ["all", "all", 4, 15, 3.5, 6.5, 16, 0, 0, 0]
    assert len({len(line) for line in plan.text(frame).splitlines()}) == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1536, "1.5 kB"),
        (2.5e9, "2.5 GB"),
        (999_960_000, "1.0 GB"),
        (3e13, "30.0 TB"),
    ],
)
def test_sizes_for_readers(count, text):
    assert plan.size(count) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.001234, "0.00123"),
        (12.345, "12.3"),
        (99.97, "100"),
        (8083.4, "8,083"),
        (1e6, "1,000,000"),
    ],
)
def test_numbers_for_readers(number, text):
    assert plan.short(number) == text


def test_jobs_that_are_planned_for_longer_than_they_ask_for():
    def item(rule, asked, planned):
        return plan.Item("a", rule, 1, 1, 0.0, asked, 0, 1.0, 0.0, planned)

    found = [
        item("train", 2.0, 1.9),
        item("train", 2.0, 2.1),
        item("train", 1.0, 9.0),
        item("draw", 0.0, 0.0),
    ]
    assert plan.too_long(found) == {("a", "train"): 2}


def run_script(root: Path, *options: str) -> subprocess.CompletedProcess:
    script = ROOT / "workflow/scripts/plan.py"
    return subprocess.run([sys.executable, str(script), *options], cwd=root, capture_output=True, text=True)


def test_script_counts_real_networks_and_starts_nothing(tmp_path):
    tiny = Tiny()
    root = tiny.write(tmp_path)
    config = ("--config", json.dumps(tiny.config))
    done = run_script(root, *config, "--output", "plan.csv", "--flops", "1e3")
    assert done.returncode == 0, done.stderr
    line = next(row for row in (root / "plan.csv").read_text().splitlines() if row.startswith("tiny,train,"))
    # Two layers, 2 -> 8 -> 2, in float32; three runs outside the pack.
    weights = 4 * (2 * 8 + 8 + 8 * 2 + 2)
    disk, flops, gpu, cpu = line.split(",")[-4:]
    assert int(disk) == 3 * weights
    assert float(flops) > 0
    assert float(gpu) == pytest.approx(float(flops) / 1e3 / 3600)
    assert float(cpu) == pytest.approx(4 * float(gpu))
    assert "0 files from outside" in done.stdout
    assert "at 1e-09 TFLOP/s, given" in done.stdout
    assert "archive (an archive) is not at hand" in done.stdout
    assert "Finished" not in done.stdout
    assert sorted(path.name for path in root.iterdir()) == ["config", "plan.csv"]


def test_script_tells_what_finished_work_took(tmp_path):
    tiny = Tiny()
    root = tiny.write(tmp_path)
    run = tiny.expand(root).runs["line_plain_s0"]
    sidecar = root / "elsewhere/models/line_plain_s0/run.json"
    sidecar.parent.mkdir(parents=True)
    made = {"wall_s": 3600, "peak_mb": 5, "device": {"name": "a processor"}}
    sidecar.write_text(json.dumps({"spec_hash": run.hash, "provenance": made}))
    # An empty --flops is none: the rule passes on a variable that need not be set.
    done = run_script(root, "--tier", "tiny", "--flops", "", "--results", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert "Finished in elsewhere, on a processor:" in done.stdout
    assert "TFLOP/s, assumed, as no GPU is at hand" in done.stdout or "measured here" in done.stdout


def test_plan_agrees_with_the_jobs_of_the_workflow(tmp_path):
    tiny = Tiny()
    tiny.tier["packs"] = []
    loaded = tiny.load(tmp_path)
    jobs = pack.jobs(expand.expand_loaded(loaded, tmp_path), loaded)
    found = items(tiny, tmp_path)
    for stage, verb in plan.VERBS.items():
        assert sum(job.stage == stage for job in jobs) == len(of_rule(found, verb))
