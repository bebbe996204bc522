import json

import pytest
from tiny import Tiny

from pagrepro import expand, pack, plugins
from pagrepro.errors import ConfigError
from pagrepro.layout import Layout
from pagrepro.targets import Files, JobTable, alias, alone


@pytest.fixture
def tiny():
    return Tiny()


def test_packs_take_their_runs_and_the_rest_have_jobs_of_their_own(tiny, tmp_path):
    found = tiny.jobs(tmp_path)
    fits = {job.name: [m.name for m in job.members] for job in found if job.stage == "train"}
    assert fits["plain_0"] == ["line_plain_s0", "line_plain_s1"]
    assert fits["plain_1"] == ["line_plain_s2"]
    assert [name for name in fits if name.startswith("line_aligned")] == [
        f"line_aligned_s{s}" for s in range(3)
    ]
    suites = [job for job in found if job.stage == "evaluate"]
    assert len(suites) == 6
    assert all([m.name for m in job.members] == ["clean", "pgd"] for job in suites)


def test_every_member_has_exactly_one_job(tiny, tmp_path):
    tiny.tier["packs"].append({"name": "all", "stage": "train", "match": ["tiny.*"]})
    members = [m.name for job in tiny.jobs(tmp_path) if job.stage == "train" for m in job.members]
    assert sorted(members) == sorted(set(members))
    assert len(members) == 6


def test_evaluation_packs_keep_the_suite_of_a_run_together(tiny, tmp_path):
    tiny.tier["packs"] = [{"name": "results", "stage": "evaluate", "match": ["tiny.*"]}]
    (job,) = [job for job in tiny.jobs(tmp_path) if job.stage == "evaluate"]
    assert [m.run for m in job.members][:2] == ["line_plain_s0", "line_plain_s0"]
    assert len(job.members) == 12


def test_members_of_a_pack_must_not_need_each_other(tiny, tmp_path):
    field = {"field": {"name": "teacher_gradient"}, "dataset": "line", "seed": 0, "name": "line_teacher"}
    tiny.paper["fields"]["teacher"] = {**field, "inputs": {"teacher": {"run": "line_plain_s0"}}}
    student = {**tiny.paper["runs"]["aligned"], "grid": {}, "name": "line_student", "seed": 0}
    tiny.paper["runs"]["student"] = {**student, "inputs": {"targets": {"field": "line_teacher"}}}
    tiny.tier["packs"] = [{"name": "both", "stage": "train", "match": ["tiny.*"]}]
    with pytest.raises(ConfigError, match=r"line_student and line_plain_s0, which it needs"):
        tiny.jobs(tmp_path)


def test_inputs_and_outputs_of_jobs_fit_together(tiny, tmp_path):
    expansion = tiny.expand(tmp_path)
    files = Files(expansion, Layout(tmp_path / "results"))
    jobs = tiny.jobs(tmp_path)
    made = {path for job in jobs for path in files.outputs(job)}
    needed = {path for job in jobs for path in files.of_job(job)}
    assert needed <= made
    assert set(files.of_artifact("tiny", "table1")) <= made
    (aligned,) = [job for job in jobs if job.name == "line_aligned_s0" and job.stage == "train"]
    assert files.of_job(aligned) == files.field_outputs("line_near_s0", ("shards=1",))


def test_jobs_are_found_by_their_wildcard(tiny, tmp_path):
    tiny.paper["runs"]["aligned"]["fit"] = {
        "epochs": 2,
        "batch_size": 60,
        "ema": {"decay": 0.9},
        "keep_epochs": [1],
    }
    table = JobTable(tiny.jobs(tmp_path))
    (plain,) = table.shapes("train")
    assert plain == ("ema", "epoch:1")
    assert table.of("train", "line_aligned_s0").name == "line_aligned_s0"
    files = Files(tiny.expand(tmp_path), Layout(tmp_path))
    names = [path.rsplit("/", 1)[1] for path in files.run_outputs("x", plain)]
    assert names == [
        "model.safetensors",
        "ema.safetensors",
        "epoch_001.safetensors",
        "run.json",
        "history.jsonl",
    ]


def test_only_timings_are_alone_on_the_machine(tiny, tmp_path):
    roles = {"plain": "line_plain_s0", "adversarial": "line_plain_s1"}
    tiny.paper["evaluations"]["cost"] = {
        "groups": ["aligned"],
        "measure": {"name": "step_cost"},
        "inputs": {role: {"run": run} for role, run in roles.items()},
    }
    jobs = [job for job in tiny.jobs(tmp_path) if job.stage == "evaluate"]
    assert len([job for job in jobs if alone(job)]) == 3
    assert all(alone(job) == (job.members[0].name == "cost") for job in jobs)
    names = plugins.names("evaluations")
    timings = [name for name in names if plugins.constant("evaluations", name, "ALONE")]
    # Beside the other measurements of its run a timing would not be alone.
    assert "step_cost" in timings
    assert all(plugins.constant("evaluations", name, "APART") for name in timings)


def test_the_spec_of_a_job_says_all_and_fits_into_an_argument(tiny, tmp_path):
    for job in tiny.jobs(tmp_path):
        members = json.loads(pack.job_json(job))
        assert len(members) == len(job.members)
        assert all(
            "objectives.cosine_alignment" in m["revisions"] for m in members if "aligned" in m.get("name", "")
        )


def test_revisions_cover_the_import_closure_and_nothing_else(tiny, tmp_path):
    found = tiny.expand(tmp_path)
    plain = pack.revisions_of("train", found.runs["line_plain_s0"].spec)
    aligned = pack.revisions_of("train", found.runs["line_aligned_s0"].spec)
    assert {"fit", "models.toy_mlp", "objectives.cross_entropy", "data.toy_line"} <= set(plain)
    assert "gradients" in aligned
    assert not {"gradients", "attacks.pgd", "measure"} & set(plain)


def test_configs_read_from_source_are_those_of_the_modules():
    for kind in plugins.KINDS:
        for name in plugins.names(kind):
            module = plugins.load(kind, name)
            parsed = plugins.config_class(kind, name)
            assert parsed.model_json_schema() == module.Config.model_json_schema(), (kind, name)
            assert plugins.roles(kind, name) == getattr(module, "ROLES", {})
            assert isinstance(module.REVISION, int), (kind, name)
            assert module.__doc__, (kind, name)


def test_aliases_read_like_the_paper():
    assert alias("ganz2022", "figure3") == "ganz2022_fig3"
    assert alias("lanfredi2020", "figure_s8") == "lanfredi2020_fig_s8"
    assert alias("lanfredi2020", "table_s1") == "lanfredi2020_table_s1"


def test_packs_and_settings_of_papers_that_were_not_chosen_are_ignored(tiny, tmp_path):
    tiny.tier["packs"] = [{"name": "other", "stage": "train", "match": ["other.plain"]}]
    tiny.tier["settings"] = {"other": {"epochs": 1}}
    tiny.others["other"] = {"settings": {"epochs": 2}}
    loaded = tiny.load(tmp_path)
    assert not loaded.complete
    assert pack.jobs(expand.expand_loaded(loaded, tmp_path), loaded)


def test_settings_of_a_paper_without_a_file_are_an_error(tiny, tmp_path):
    tiny.tier["settings"] = {"other": {"epochs": 1}}
    with pytest.raises(ConfigError, match=r"settings\.other"):
        tiny.jobs(tmp_path)
