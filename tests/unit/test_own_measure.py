"""A model of one's own is measured as runs of the workflow are, and the page says what was found."""

import json
import re
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from made_up_models import Changed
from torch import nn

import pagrepro
from pagrepro import own_choices, own_measure
from pagrepro.errors import UserError
from pagrepro.layout import Layout
from pagrepro.load import build_network
from pagrepro.measuring import measure_run
from pagrepro.own_choices import Catalogue
from pagrepro.own_inputs import Missing, OwnInputs
from pagrepro.own_model import ModelError
from pagrepro.storage import save_tensors, write_json

ROOT = Path(__file__).parents[2]
RUN, ENCODER, GENERATOR = "digits_rn18w4_vanilla_s0", "digits_autoencoder", "digits_gan_s100"


@cache
def catalogue():
    return Catalogue("demo", ROOT)


@pytest.fixture(autouse=True)
def _one_catalogue(monkeypatch):
    """Reading all paper files takes seconds; they are the same for all tests."""
    monkeypatch.setattr(own_measure, "Catalogue", lambda tier, root: catalogue())


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def measured(model, measurements, **more):
    return pagrepro.measure(model, "digits", measurements, tier="demo", root=ROOT, device="cpu", **more)


def write_run(layout, name):
    """A run as a finished fit leaves it, with weights drawn instead of fitted."""
    catalogue().choices("digits")
    run = catalogue().resolver.get("run", name)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        data = run.spec["dataset"]
        model = build_network(run.spec["task"], tuple(data["shape"]), data["classes"])
    save_tensors(layout.weights(name), model.state_dict())
    if (run.spec["fit"] or {}).get("ema"):
        save_tensors(layout.weights(name, "ema"), model.state_dict())
    content = {"spec": run.spec, "spec_hash": run.hash, "status": "complete"}
    write_json(layout.run_json(name), content)


def test_files_hold_what_is_returned(tmp_path):
    content = measured(network(), "clean,natural_maps", out=tmp_path / "out", examples=6)
    stored = json.loads((tmp_path / "out" / "measurements.json").read_text())
    assert stored == content
    entry = content["measurements"]["ganz2022.clean"]
    assert entry["status"] == "measured"
    assert entry["values"]["accuracy"] in {k / 6 for k in range(7)}
    assert "Ganz et al. 2022" in entry["source"]
    assert content["settings"]["tier"] == "demo"
    html = (tmp_path / "out" / "index.html").read_text()
    assert f"{entry['values']['loss']:.4g}" in html
    assert "data:image/png;base64," in html
    assert not re.search(r"(src|href)=.?(https?:)?//", html), "the page opens without a network"
    assert "<script" not in html


def test_a_run_is_measured_as_the_workflow_measures_it(tmp_path):
    layout = Layout(tmp_path / "results" / "demo")
    write_run(layout, RUN)
    catalogue().choices("digits")
    spec = catalogue().resolver.get("evaluation", RUN, "pgd_linf").spec
    content = measured(layout.run_folder(RUN), "pgd_linf", results=layout.results)
    assert content["measurements"]["ganz2022.pgd_linf"]["values"] == measure_run(spec, RUN, layout).values
    assert content["model"]["run"] == RUN
    assert content["model"]["input_range"] == [0, 1], "known of every run, not to be guessed"


def test_what_needs_finished_runs_takes_them_from_results_or_is_not_measured(tmp_path):
    layout = Layout(tmp_path / "results" / "demo")
    write_run(layout, ENCODER)
    without = measured(network(), "sensitivity")["measurements"]["srinivas2023.sensitivity"]
    assert without["status"] == "not measured"
    assert f"needs run {ENCODER} (autoencoder)" in without["reason"]
    found = measured(network(), "sensitivity,alignment_teacher_l2", results=layout.results, examples=20)
    entries = found["measurements"]
    assert entries["srinivas2023.sensitivity"]["status"] == "measured"
    assert entries["srinivas2023.sensitivity"]["values"]["rank"] > 0
    assert "which is not finished in" in entries["ganz2022.alignment_teacher_l2"]["reason"]


def test_what_is_made_from_the_model_is_made_from_this_one(tmp_path, monkeypatch):
    """Projections to the closest classes: closest to this model, not to the run in whose place it is."""
    layout = Layout(tmp_path / "results" / "demo")
    write_run(layout, GENERATOR)
    shown = []
    real = own_measure.take

    def watched(spec, loaded, loader, inputs, **more):
        shown.append(inputs)
        return real(spec, loaded, loader, inputs, **more)

    monkeypatch.setattr(own_measure, "take", watched)
    entry = measured(network(), "lanfredi2020.alignment", results=layout.results)["measurements"]
    values = entry["lanfredi2020.alignment"]["values"]
    assert -1 <= values["alpha_dx"] <= 1
    assert values["missing_direction"] == 0, "a projection for the very class that is closest for this model"
    assert "targets" in shown[0]
    alone = measured(network(), "lanfredi2020.alignment")["measurements"]["lanfredi2020.alignment"]
    assert "alpha_dx" not in alone["values"]
    assert f"needs run {GENERATOR}" in alone["without"]["targets"]


def test_a_field_is_not_made_without_one_of_its_inputs(monkeypatch):
    """Without its pairs, a projection would silently be one to all classes."""
    inputs = OwnInputs(catalogue(), network(), loader=None, results=None)
    monkeypatch.setattr(inputs, "of", lambda *given: ({}, {"pairs": "no pairs"}))
    catalogue().choices("digits")
    name = f"{RUN.replace('vanilla', 'baseline')}_projection"
    with pytest.raises(Missing, match="no pairs"):
        inputs._field(name, "another run")


def test_values_of_the_papers_own_runs_stand_beside(tmp_path):
    layout = Layout(tmp_path / "results" / "demo")
    catalogue().choices("digits")
    for run, accuracy in ((RUN, 0.8), (RUN.replace("s0", "s1"), 0.6)):
        evaluation = catalogue().resolver.get("evaluation", run, "clean")
        stored = {"status": "complete", "spec_hash": evaluation.hash, "values": {"accuracy": accuracy}}
        write_json(layout.result(run, "clean"), stored)
    other = layout.result(RUN.replace("vanilla", "class_mean_l0.4"), "clean")
    write_json(other, {"status": "complete", "spec_hash": "f" * 16, "values": {"accuracy": 0.0}})
    content = measured(network(), "clean", results=layout.results, out=tmp_path / "out")
    runs = {row["group"]: row for row in content["measurements"]["ganz2022.clean"]["runs"]}
    assert runs["ganz2022.main_vanilla"]["runs"] == 2
    assert runs["ganz2022.main_vanilla"]["values"]["accuracy"] == pytest.approx(0.7)
    assert len(runs) == 1, "what was measured otherwise does not count"
    assert "ganz2022.main_vanilla" in (tmp_path / "out" / "index.html").read_text()


def test_one_failure_spares_the_others(monkeypatch, capsys):
    def buggy(config, request):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("pagrepro.evaluations.pgd_accuracy.measure", buggy)
    entries = measured(network(), "clean,pgd_linf", examples=4)["measurements"]
    assert entries["ganz2022.pgd_linf"]["status"] == "failed"
    assert entries["ganz2022.pgd_linf"]["reason"] == "ZeroDivisionError: oops"
    assert entries["ganz2022.clean"]["status"] == "measured"
    assert "Traceback" in capsys.readouterr().err


def test_models_that_cannot_be_measured_are_refused():
    with pytest.raises(ModelError, match="probabilities"):
        measured(Changed(network(), after=lambda z: z.softmax(1)), "clean")
    with pytest.raises(ModelError, match=r"takes \[-1, 1\].*whose forward returns 2 \* x - 1"):
        measured(network(), "clean", input_range=(-1, 1))
    with pytest.raises(ModelError, match="expected input"):
        measured(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10)), "clean")


def test_a_network_is_given_back_in_its_mode():
    model = network().train()
    measured(model, "clean", examples=4)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_signs_of_masked_gradients_are_gathered(tmp_path):
    """PGD that finds nothing, where a set of attacks finds much: gradients of a rounding network."""
    entries = {
        "a.pgd": entry("pgd_accuracy", {"attack": BALL}, 0.9),
        "a.aa": entry("autoattack", {**BALL, "version": "standard"}, 0.2, ["square_stronger"]),
        "a.transfer": entry("transfer_accuracy", {"attack": BALL}, 0.5),
        "a.none": {"status": "not measured", "reason": "", "plugin": "autoattack"},
    }
    flags = {flag.name for flag in own_measure.own_after.masking(entries)}
    assert flags == {"square_stronger", "pgd_overestimates", "transfer_stronger"}
    entries["a.pgd"]["options"] = {"attack": {**BALL, "eps": 0.2}}
    assert {flag.name for flag in own_measure.own_after.masking(entries)} == {"square_stronger"}


BALL = {"name": "pgd", "norm": "linf", "eps": 0.1}


def entry(plugin, options, accuracy, flags=()):
    return {
        "status": "measured", "plugin": plugin, "options": options, "split": "test", "flags": list(flags),
        "values": {"accuracy": accuracy, "clean_accuracy": 0.95},
    }  # fmt: skip


def test_a_tier_has_to_be_said_where_there_are_several(tmp_path):
    with pytest.raises(UserError, match=r"mnist: measured at tiers full, mnist, small"):
        own_choices.place("mnist", None, None, ROOT)
    (tmp_path / "small" / "models").mkdir(parents=True)
    assert own_choices.place("mnist", None, tmp_path / "small", ROOT)[0] == "small"
    with pytest.raises(UserError, match="no folder of results"):
        own_choices.place("mnist", None, tmp_path, ROOT)


def test_the_script_lists_measures_and_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    import runpy

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["measure.py", *words])
        monkeypatch.chdir(ROOT)
        runpy.run_path(str(ROOT / "workflow/scripts/measure.py"), run_name="__main__")
        return capsys.readouterr().out

    assert "srinivas2023.sensitivity" in call("--list", "--tier", "demo")
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\nbuild = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    words = ["--model", f"{file}:build", "--tier", "demo", "--out", str(tmp_path / "out"), "--device", "cpu"]
    out = call(*words, "--measurements", "clean", "--examples", "5")
    assert "1 of 1 measured" in out
    assert "not checked: input_range" in out
    with pytest.raises(SystemExit):
        call(*words[2:])
    with pytest.raises(SystemExit):
        call("--model", f"{file}:nobody", *words[2:])
    assert "has no 'nobody'" in capsys.readouterr().err
