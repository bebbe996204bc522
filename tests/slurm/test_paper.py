"""A paper of the demo tier through `profiles/slurm`, as a site would run it."""

import re

import pandas as pd
import pytest
from cluster import output
from heads import PAPER, demo_paper


@pytest.fixture(scope="session")
def finished(demo):
    folder, ended = demo.result()
    assert ended.returncode == 0, ended.stdout[-5000:]
    return folder, ended.stdout


def test_all_artifacts_and_claims_of_the_paper_are_there(finished):
    folder, _ = finished
    declared = re.findall(
        r"^  (table|figure)(\w*):$", (folder / f"config/papers/{PAPER}.yaml").read_text(), re.M
    )
    assert len(declared) > 10
    for kind, rest in declared:
        suffix = "csv" if kind == "table" else "png"
        path = folder / f"results/demo/{kind}s/{PAPER}/{kind}{rest}.{suffix}"
        assert path.stat().st_size > 0
    claims = pd.read_csv(folder / f"results/demo/claims/{PAPER}.csv")
    assert set(claims["verdict"]) <= {"confirmed", "contradicted", "inconclusive", "not testable"}
    assert len(claims) > 10


def test_fits_fields_and_measurements_were_jobs_and_all_succeeded(finished):
    _, text = finished
    submitted = re.findall(r"submitted with SLURM jobid (\d+)", text)
    states = dict(line.split() for line in output("squeue", "-h", "-t", "all", "-o", "%i %T").splitlines())
    assert {states[job] for job in submitted} == {"COMPLETED"}
    rules = re.findall(r"^rule (\w+):", text, re.M)
    assert len(submitted) == len(rules) >= 7
    assert {name.split("_pack_")[0] for name in rules} == {"train", "make_field", "evaluate"}


def test_tables_figures_and_claims_stay_on_the_login_node(finished):
    _, text = finished
    local = re.findall(r"^localrule (\w+):", text, re.M)
    assert {"draw_table", "draw_figure", "judge_claims"} <= set(local)


def test_a_second_call_has_nothing_to_do(finished):
    folder, _ = finished
    _, ended = demo_paper(folder)
    assert ended.returncode == 0
    assert "Nothing to be done" in ended.stdout
    assert "submitted" not in ended.stdout


def test_plan_of_the_full_tier_submits_nothing(planned):
    ended = planned.result()
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert re.search(r"^paper +rule +jobs", ended.stdout, re.M)
    assert "SLURM jobid" not in ended.stdout
