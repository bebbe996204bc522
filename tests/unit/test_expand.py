import hashlib
import subprocess
import sys

import pytest
from tiny import Tiny

from pagrepro.errors import ConfigError
from pagrepro.outcome import input_hashes


@pytest.fixture
def tiny():
    return Tiny()


def failure(tiny, root):
    with pytest.raises(ConfigError) as caught:
        tiny.jobs(root)
    return str(caught.value)


def test_grids_become_named_runs_with_every_default_in_their_spec(tiny, tmp_path):
    found = tiny.expand(tmp_path)
    assert sorted(found.runs) == [f"line_{m}_s{s}" for m in ("aligned", "plain") for s in range(3)]
    spec = found.runs["line_aligned_s1"].spec
    assert spec["fit"]["schedule"]["name"] == "constant"
    assert spec["task"]["objective"]["gradient_of"] == "logit"
    assert spec["inputs"]["targets"]["hash"] == found.fields["line_near_s1"].hash
    assert spec["dataset"]["seed"] == 1
    assert len(found.evaluations) == 12


def test_only_the_edited_run_changes_its_identity(tiny, tmp_path):
    before = tiny.expand(tmp_path)
    tiny.paper["runs"]["aligned"]["task"]["objective"]["weight"] = 0.7
    after = tiny.expand(tmp_path)
    changed = {name for name in before.runs if before.runs[name].hash != after.runs[name].hash}
    assert changed == {f"line_aligned_s{s}" for s in range(3)}
    measured = {k for k in before.evaluations if before.evaluations[k].hash != after.evaluations[k].hash}
    assert measured == {(f"line_aligned_s{s}", e) for s in range(3) for e in ("clean", "pgd")}


def test_cost_and_labels_are_no_part_of_the_identity(tiny, tmp_path):
    before = tiny.expand(tmp_path)
    tiny.paper["runs"]["plain"] |= {"cost": {"minutes": 7}, "labels": {"method": "other"}}
    after = tiny.expand(tmp_path)
    assert {n: r.hash for n, r in before.runs.items()} == {n: r.hash for n, r in after.runs.items()}


def test_a_change_of_a_field_reaches_the_runs_that_use_it(tiny, tmp_path):
    before = tiny.expand(tmp_path)
    tiny.paper["fields"]["near"]["field"]["pool"] = 10
    after = tiny.expand(tmp_path)
    changed = {name for name in before.runs if before.runs[name].hash != after.runs[name].hash}
    assert changed == {f"line_aligned_s{s}" for s in range(3)}


def test_rows_that_are_left_out_are_part_of_the_identity(tiny, tmp_path):
    before = tiny.expand(tmp_path)
    line = tiny.datasets["datasets"]["line"]
    line["splits"] = {**line["splits"], "some": {"part": "train", "without": "rows.txt"}}
    (tmp_path / "rows.txt").write_text("3\n5\n")
    after = tiny.expand(tmp_path)
    # A split that leaves nothing out is what it was.
    assert {n: r.hash for n, r in before.runs.items()} == {n: r.hash for n, r in after.runs.items()}
    assert after.runs["line_plain_s0"].spec["split"].keys() == {"name", "part", "indices", "sha256"}

    def resolved():
        run = tiny.expand(tmp_path).runs["line_plain_s0"]
        return run.spec["split"], run.hash

    tiny.paper["runs"]["plain"]["split"] = "some"
    split, first = resolved()
    digest = hashlib.sha256(b"3\n5\n").hexdigest()
    assert split == {
        "name": "some", "part": "train", "indices": None, "without": "rows.txt", "sha256": digest
    }  # fmt: skip
    assert input_hashes(tiny.expand(tmp_path).runs["line_plain_s0"].spec) == {"split:rows.txt": digest}
    (tmp_path / "rows.txt").write_text("3\n")
    assert resolved()[1] != first
    (tmp_path / "rows.txt").unlink()
    with pytest.raises(ConfigError, match=r"rows.txt\n.*a file of the repository"):
        tiny.expand(tmp_path)


def test_parts_of_unknown_size_are_accepted(tiny, tmp_path):
    tiny.datasets["datasets"]["line"]["parts"] = {}
    found = tiny.expand(tmp_path)
    assert found.runs["line_plain_s0"].spec["dataset"]["parts"] == {}


def test_equal_specs_under_two_names_are_one_run(tiny, tmp_path):
    row = {**tiny.paper["runs"]["plain"], "name": "line_row_e{epochs}_s{seed}"}
    row["grid"] = {"epochs": [1, 2], "seed": [0]}
    tiny.paper["runs"]["row"] = {**row, "fit": {"epochs": "$epochs", "batch_size": 60}}
    found = tiny.expand(tmp_path)
    assert found.aliases == {"line_row_e2_s0": "line_plain_s0"}
    assert [m["run"] for m in found.groups["tiny.row"].runs] == ["line_row_e1_s0", "line_plain_s0"]


def test_what_depends_on_an_unavailable_source_is_not_testable(tiny, tmp_path):
    found = tiny.expand(tmp_path)
    assert "remote_plain_s0" in found.removed
    group = found.groups["tiny.far"]
    assert not group.runs
    assert "archive" in group.not_testable
    assert "download it" in group.not_testable
    parts = {c["claim"]: c["parts"][0]["not_testable"] for c in found.claims["tiny"].content["claims"]}
    assert parts["K1"] is None
    assert "archive" in parts["K2"]
    tiny.tier["unavailable"] = []
    found = tiny.expand(tmp_path)
    assert found.runs["remote_plain_s0"].spec["dataset"]["files"]["archive"]["source"] == "archive"


def test_private_sources_count_as_unavailable_until_a_path_is_set(tiny, tmp_path):
    tiny.datasets["datasets"]["remote"]["sources"]["archive"] = "weights"
    tiny.tier["unavailable"] = []
    assert "set paths.weights" in tiny.expand(tmp_path).removed["remote_plain_s0"]
    tiny.config["paths"] = {"weights": "/data/w.pt"}
    found = tiny.expand(tmp_path)
    assert "remote_plain_s0" in found.runs


def test_tiers_change_settings_and_nothing_else(tiny, tmp_path):
    tiny.tier["settings"] = {"tiny": {"seeds": [5], "epochs": 1}}
    assert sorted(tiny.expand(tmp_path).runs) == ["line_aligned_s5", "line_plain_s5"]
    tiny.tier["claims"] = {}
    text = failure(tiny, tmp_path)
    assert "tiers/tiny.yaml: claims" in text
    assert "unknown key" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t.paper["runs"]["plain"]["task"]["optimizer"].update(rate=1), ["runs.plain", "task.optimizer.rate", "lr"]),
        (lambda t: t.paper["runs"]["aligned"]["task"]["objective"].update(wieght=1),
         ["papers/tiny.yaml: runs.aligned.task.objective.wieght", "unknown key", "weight"]),
        (lambda t: t.paper["runs"]["plain"]["task"].update(name="clasifier"), ["runs.plain.task.name", "clasifier", "classifier"]),
        (lambda t: t.paper["runs"]["plain"].update(dataset="lines"), ["runs.plain.dataset", "'lines'", "line, remote"]),
        (lambda t: t.paper["runs"]["plain"].update(split="val"), ["runs.plain.split", "'val'", "train, test"]),
        (lambda t: t.paper["runs"]["plain"].update(seed="$seeed"), ["runs.plain", "seeed"]),
        (lambda t: t.paper["runs"]["plain"]["fit"].update(epochs=0), ["runs.plain.fit.epochs", "0", "greater than"]),
        (lambda t: t.paper["runs"]["aligned"].update(inputs={}), ["runs.aligned.inputs.targets", "{field: NAME}"]),
        (lambda t: t.paper["runs"]["aligned"]["inputs"].update(targets={"run": "line_plain_s0"}), ["{field: NAME}"]),
        (lambda t: t.paper["runs"]["aligned"]["inputs"].update(targets={"field": "nowhere"}), ["inputs.targets.field", "nowhere"]),
        (lambda t: t.paper["runs"]["aligned"]["inputs"].update(targets={"field": "line_near_s0"}), ["made on line (train, data seed 0)"]),
        (lambda t: t.paper["runs"]["plain"].update(inputs={"targets": {"field": "line_near_s0"}}), ["not a role"]),
        (lambda t: t.paper["evaluations"]["pgd"].update(groups=["nobody"]), ["evaluations.pgd.groups", "nobody"]),
        (lambda t: t.paper["evaluations"]["clean"].update(weights="ema"), ["evaluations.clean.weights", "ema", "final"]),
        (lambda t: t.paper["artifacts"]["table1"].update(evaluations=["pdg"]), ["artifacts.table1.evaluations", "pdg", "pgd"]),
        (lambda t: t.paper["claims"]["K1"]["parts"][0]["rule"].update(name="diff"), ["claims.K1.parts.0.rule.name", "diff"]),
        (lambda t: t.paper["claims"]["K1"]["parts"][0]["select"]["low"].update(evaluation="strong"), ["evaluation", "strong"]),
        (lambda t: t.paper.update(tables={}), ["tables", "unknown section"]),
        (lambda t: t.datasets["datasets"]["line"].update(clases=3), ["datasets.yaml: datasets.line.clases", "classes"]),
        (lambda t: t.datasets["datasets"]["remote"]["sources"].update(archive="a"), ["datasets.remote.sources.archive", "weights"]),
        (lambda t: t.datasets["datasets"]["line"]["splits"]["train"].update(indices="a", without="b"),
         ["datasets.line.splits.train", "at most one of `indices` and `without`"]),
        (lambda t: t.datasets["datasets"]["line"]["splits"]["train"].update(part="val"), ["splits.train.part", "train, test"]),
        (lambda t: t.tier.update(settings={"tiny": {"epoch": 1}}), ["settings.tiny", "epoch", "epochs"]),
        (lambda t: t.tier.update(settings={"other": {}}), ["settings.other", "tiny"]),
        (lambda t: t.tier.update(unavailable=["nothing"]), ["unavailable", "nothing", "archive"]),
        (lambda t: t.tier["packs"][0].update(match=["tiny.nothing"]), ["packs.plain", "tiny.nothing"]),
        (lambda t: t.config.update(devise="cpu"), ["config.yaml: devise", "device"]),
        (lambda t: t.config.update(tier="huge"), ["tier", "huge", "profiles/demo"]),
        (lambda t: t.config.pop("tier"), ["no tier was chosen", "profiles/slurm"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_file_key_found_and_allowed(tiny, tmp_path, change, expected):
    change(tiny)
    text = failure(tiny, tmp_path)
    assert "found:" in text
    assert "allowed:" in text
    for part in expected:
        assert part in text


def test_a_cycle_of_inputs_is_told(tiny, tmp_path):
    teacher = {"name": "line_teacher_s0", "field": {"name": "teacher_gradient"}, "dataset": "line", "seed": 0}
    tiny.paper["fields"]["teacher"] = {**teacher, "inputs": {"teacher": {"run": "line_student"}}}
    student = tiny.paper["runs"]["aligned"]
    inputs = {"targets": {"field": "line_teacher_s0"}}
    tiny.paper["runs"]["student"] = {
        **student,
        "name": "line_student",
        "grid": {},
        "seed": 0,
        "inputs": inputs,
    }
    text = failure(tiny, tmp_path)
    assert "line_teacher_s0 -> line_student -> line_teacher_s0" in text


def test_one_name_has_one_meaning(tiny, tmp_path):
    tiny.paper["runs"]["again"] = {**tiny.paper["runs"]["plain"], "fit": {"epochs": 1, "batch_size": 60}}
    assert "differs in fit" in failure(tiny, tmp_path)
    del tiny.paper["runs"]["again"]
    other = {"groups": ["plain"], "name": "clean", "measure": {"name": "accuracy"}, "batch_size": 7}
    tiny.paper["evaluations"]["clean_too"] = other
    assert "one meaning per run" in failure(tiny, tmp_path)


def test_a_key_given_twice_in_yaml_is_refused(tiny, tmp_path):
    tiny.write(tmp_path)
    file = tmp_path / "config" / "tiers" / "tiny.yaml"
    file.write_text(file.read_text() + "\nneeds: again\n")
    from pagrepro import configuration

    with pytest.raises(ConfigError, match="given twice"):
        configuration.load(tiny.config, tmp_path)


def test_the_torch_free_set_imports_without_torch():
    modules = [
        "configuration", "declare", "expand", "expansion", "judge", "layout", "options", "pack", "plugins",
        "problems", "resolve", "results", "schedule", "script", "spec", "splits", "statistics", "targets", "template", "download",
    ]  # fmt: skip
    code = "import sys; sys.modules['torch'] = None; sys.modules['torchvision'] = None\n"
    code += "\n".join(f"import pagrepro.{name}" for name in modules)
    code += "\nfrom pagrepro import plugins"
    code += (
        "\nfor kind in ('claims', 'tables', 'figures'): [plugins.load(kind, n) for n in plugins.names(kind)]"
    )
    code += "\nfor kind in plugins.KINDS: [(plugins.config_class(kind, n), plugins.roles(kind, n)) for n in plugins.names(kind)]"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- examples that are drawn, and judges that have taught the judged ---------------------------------------


def test_fresh_examples_come_from_data_that_can_be_drawn(tiny, tmp_path):
    tiny.paper["runs"]["plain"]["fit"] |= {"fresh": True, "steps_per_epoch": 3}
    message = failure(tiny, tmp_path)
    assert "runs.plain.fit.fresh" in message
    assert "data set toy_line" in message
    assert "FRESH = True" in message


def spheres(tiny):
    """The tiny paper on a data set that can be drawn, with a direction that can be read anywhere."""
    data = {"name": "spheres", "dimension": 2, "train": 240, "val": 10, "test": 60}
    tiny.datasets["datasets"]["line"] |= {
        "data": data, "seeded": False, "parts": {"train": 240, "val": 10, "test": 60},
    }  # fmt: skip
    tiny.paper["fields"]["near"] |= {"field": {"name": "sphere_direction"}}
    for group in ("plain", "aligned"):
        tiny.paper["runs"][group]["fit"] |= {"fresh": True, "steps_per_epoch": 3}


def test_fresh_examples_go_with_fields_that_can_be_read_anywhere(tiny, tmp_path):
    spheres(tiny)
    assert tiny.expand(tmp_path).runs["line_aligned_s0"].spec["fit"]["fresh"]
    tiny.paper["fields"]["near"]["field"] = {"name": "nearest_neighbour", "pool": "all", "coordinates": "raw"}
    message = failure(tiny, tmp_path)
    assert "runs.aligned.inputs.targets.field" in message
    assert "ANY_ROWS" in message


def judged_by(tiny, teacher):
    """Every network measured against gradients of the run `teacher`; the aligned ones are taught by plain_s0."""
    gradients = {"field": {"name": "teacher_gradient"}, "dataset": "line", "seed": 0}
    tiny.paper["fields"] = {
        "taught": {**gradients, "name": "taught", "inputs": {"teacher": {"run": "line_plain_s0"}}},
        "judge": {**gradients, "name": "judge", "inputs": {"teacher": {"run": teacher}}, "split": "test"},
    }
    tiny.datasets["datasets"]["line"]["seeded"] = False
    tiny.paper["runs"]["aligned"]["inputs"] = {"targets": {"field": "taught"}}
    tiny.paper["evaluations"]["alpha"] = {
        "groups": ["aligned"], "measure": {"name": "direction_alignment"},
        "inputs": {"targets": {"field": "judge"}},
    }  # fmt: skip


def test_what_has_taught_a_network_does_not_judge_it(tiny, tmp_path):
    judged_by(tiny, "line_plain_s1")
    assert ("line_aligned_s2", "alpha") in tiny.expand(tmp_path).evaluations
    judged_by(tiny, "line_plain_s0")
    message = failure(tiny, tmp_path)
    assert "evaluations.alpha.inputs.targets" in message
    assert "made from line_plain_s0, which line_aligned_s0 was trained with" in message


def test_measurements_of_runs_that_wait_for_measurements_wait_too(tiny, tmp_path):
    """Else a pack of measurements would hold one that its own members are trained from."""
    judged_by(tiny, "line_plain_s1")
    tiny.paper["fields"]["taught"]["field"] = {"name": "gan_projection", "weight": 0.03}
    tiny.paper["fields"]["taught"]["inputs"] = {
        "generator": {"run": "line_plain_s0"}, "pairs": {"run": "line_plain_s0", "evaluation": "clean"},
    }  # fmt: skip
    found = tiny.expand(tmp_path)
    assert found.evaluations["line_plain_s0", "clean"].depth == 0
    assert found.evaluations["line_aligned_s0", "clean"].depth == 1
