"""Planned against actual, on sidecars that are made up."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import Tiny

from pagrepro import actual, expand
from pagrepro.estimate import Estimate, Rows
from pagrepro.layout import Layout

COUNTS = SimpleNamespace(step=lambda spec: 7.0, passes=lambda spec: (10.0, 1.0))
FIT = 7 * 240 * 2


def write(path: Path, spec_hash: str, seconds: float, peak: float = 100.0) -> None:
    made = {"wall_s": seconds, "peak_mb": peak, "device": {"type": "cpu", "name": "a processor"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"spec_hash": spec_hash, "provenance": made}))


@pytest.fixture
def tier(tmp_path):
    tiny = Tiny()
    loaded = tiny.load(tmp_path)
    expansion = expand.expand_loaded(loaded, tmp_path)
    return loaded, expansion, Estimate(expansion, COUNTS, Rows(tmp_path)), Layout(tmp_path / "results")


def found(tier):
    lines = actual.lines(*tier)
    frame = actual.table(lines)
    return lines, {(r.paper, r.rule): r for r in frame.itertuples()}


def test_nothing_is_finished_at_first(tier):
    lines, table = found(tier)
    expansion = tier[1]
    assert len(lines) == len(expansion.runs) + len(expansion.fields) + len(expansion.evaluations)
    assert table["all", "all"].members == len(lines)
    assert table["all", "all"].finished == 0
    assert actual.devices(lines) == []


def test_finished_members_are_summed_by_rule(tier):
    _, expansion, _, layout = tier
    for seed, seconds in ((0, 30.0), (1, 50.0)):
        run = expansion.runs[f"line_plain_s{seed}"]
        write(layout.run_json(run.name), run.hash, seconds, peak=100 + seed)
    clean = expansion.evaluations["line_aligned_s0", "clean"]
    write(layout.result("line_aligned_s0", "clean"), clean.hash, 2.0)
    near = expansion.fields["line_near_s0"]
    write(layout.field_json(near.name), near.hash, 1.0)
    lines, table = found(tier)
    packed = table["tiny", "train (packs)"]
    assert (packed.members, packed.finished, packed.flops, packed.seconds) == (3, 2, 2 * FIT, 80.0)
    assert packed.peak_mb == 101
    assert table["tiny", "evaluate"].finished == 1
    assert table["all", "all"].seconds == 83.0
    assert actual.devices(lines) == ["a processor"]


def test_work_of_another_spec_is_not_finished(tier):
    layout = tier[-1]
    write(layout.run_json("line_plain_s0"), "0123456789abcdef", 30.0)
    layout.run_json("line_plain_s1").parent.mkdir(parents=True)
    layout.run_json("line_plain_s1").write_text('{"spec_hash": "')
    assert found(tier)[1]["all", "all"].finished == 0


def test_text_has_planned_and_actual_hours(tier):
    _, expansion, _, layout = tier
    run = expansion.runs["line_plain_s0"]
    write(layout.run_json(run.name), run.hash, 2 * 3600.0)
    frame = actual.table(actual.lines(*tier))
    line = next(line for line in actual.text(frame, FIT / 3600).splitlines() if "train (packs)" in line)
    # One of three, planned for an hour, took two.
    assert line.split()[3:8] == ["3", "1", "1", "2", "2"]
