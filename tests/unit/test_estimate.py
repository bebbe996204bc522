"""Operations of a tier: passes times examples times epochs, with a device that is easy to count on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import Tiny

from pagrepro import estimate, expand, plan
from pagrepro.estimate import Estimate, Rows

# Each training step of an example costs 7, a forward pass 10, a backward pass 1.
COUNTS = SimpleNamespace(step=lambda spec: 7.0, passes=lambda spec: (10.0, 1.0))


def made(tiny: Tiny, root: Path) -> Estimate:
    return Estimate(tiny.expand(root), COUNTS, Rows(root))


def fit_flops(tiny: Tiny, root: Path) -> float:
    found = made(tiny, root)
    return found.of(found.expansion.runs["line_plain_s0"])


def test_a_fit_is_steps_times_examples_times_epochs(tmp_path):
    # 240 rows, 2 epochs
    assert fit_flops(Tiny(), tmp_path) == 7 * 240 * 2


def test_twice_the_epochs_are_twice_the_operations(tmp_path):
    tiny = Tiny()
    tiny.paper["settings"]["epochs"] = 4
    assert fit_flops(tiny, tmp_path) == 2 * 7 * 240 * 2


@pytest.mark.parametrize(
    ("fit", "examples"),
    [
        ({"batch_size": 100}, 200), ({"batch_size": 100, "drop_last": False}, 240),
        ({"batch_size": 20, "steps_per_epoch": 3}, 60),
    ],
)  # fmt: skip
def test_examples_of_an_epoch(tmp_path, fit, examples):
    tiny = Tiny()
    tiny.paper["runs"]["plain"]["fit"] = {"epochs": 1, **fit}
    assert fit_flops(tiny, tmp_path) == 7 * examples


def test_measurements_are_passes_times_rows(tmp_path):
    found = made(Tiny(), tmp_path)
    evaluations = found.expansion.evaluations
    assert found.of(evaluations["line_plain_s0", "clean"]) == 60 * 10
    # Three steps of PGD, the result and the clean image.
    assert found.of(evaluations["line_plain_s0", "pgd"]) == 60 * (3 * 11 + 2 * 10)
    assert found.of(found.expansion.fields["line_near_s0"]) == 0
    assert found.uncounted == {}


def test_measurements_during_a_fit_count_with_it(tmp_path):
    tiny = Tiny()
    monitor = {"name": "clean", "measure": {"name": "accuracy"}, "split": "test", "every": 2}
    tiny.paper["settings"]["epochs"] = 5
    tiny.paper["runs"]["plain"]["monitor"] = [monitor]
    # After epochs 2, 4 and 5.
    assert fit_flops(tiny, tmp_path) == 7 * 240 * 5 + 3 * 60 * 10


def test_seeds_multiply(tmp_path):
    def total(seeds):
        tiny = Tiny()
        tiny.paper["settings"]["seeds"] = seeds
        found = made(tiny, tmp_path / str(len(seeds)))
        expansion = found.expansion
        return sum(map(found.of, [*expansion.runs.values(), *expansion.evaluations.values()]))

    assert total([0, 1, 2, 3, 4, 5]) == 2 * total([0, 1, 2])


def test_what_is_not_known_is_listed_with_its_limit(tmp_path, monkeypatch):
    monkeypatch.delitem(estimate.passes.MEASURES, "accuracy")
    tiny = Tiny()
    tiny.paper["evaluations"]["clean"]["cost"] = {"minutes": 20}
    found = made(tiny, tmp_path)
    of_clean = [e for e in found.expansion.evaluations.values() if e.name == "clean"]
    assert sum(map(found.of, of_clean)) == sum(map(found.of, of_clean)) == 0
    assert found.uncounted == {"measure accuracy": pytest.approx(len(of_clean) / 3)}


def test_data_of_unknown_size_are_listed(tmp_path):
    tiny = Tiny()
    tiny.datasets["datasets"]["line"]["parts"] = {}
    found = made(tiny, tmp_path)
    assert found.of(found.expansion.runs["line_plain_s0"]) == 0
    assert list(found.uncounted) == ["data set line of unknown size"]


def test_projections_count_the_pairs_that_a_measurement_names():
    measured = SimpleNamespace(spec={"measure": {"name": "closest_class", "most": 2}})
    generator = SimpleNamespace(spec={"task": {"name": "conditional_gan", "latent": 4}})
    expansion = SimpleNamespace(runs={"gan": generator}, evaluations={("r", "closest"): measured})
    found = Estimate(expansion, COUNTS, SimpleNamespace(of=lambda spec: 100))
    projection = {"name": "gan_projection", "steps": 3, "regularised_steps": 1}
    inputs = {"generator": {"run": "gan", "weights": "ema"}, "pairs": {"run": "r", "evaluation": "closest"}}

    def of(inputs):
        spec = {"field": projection, "dataset": {"classes": 10}, "inputs": inputs}
        network, each, rows = found._field(SimpleNamespace(spec=spec))
        return network, rows * (10 * each.forward + each.backward)

    assert of(inputs) == (generator.spec, 100 * 2 * (5 * 10 + 4))
    assert of({"generator": inputs["generator"]}) == (generator.spec, 100 * 9 * (5 * 10 + 4))


def test_planned_hours_are_operations_over_throughput(tmp_path):
    tiny = Tiny()
    tiny.paper["runs"]["aligned"]["cost"] = {"minutes": 90, "gpus": 1, "threads": 4}
    loaded = tiny.load(tmp_path)
    expansion = expand.expand_loaded(loaded, tmp_path)
    found = Estimate(expansion, COUNTS, Rows(tmp_path))
    items = plan.items(loaded, expansion, lambda spec: 0, tmp_path, found, throughput=7 * 240 * 2 / 3600)
    trained = [item for item in items if item.rule == "train"]
    assert [(i.gpu_planned, i.cpu_planned, i.gpu_hours) for i in trained] == [(1.0, 4.0, 1.5)] * 3
    (line,) = [r for r in plan.table(items).itertuples() if r.rule == "train"]
    assert (line.flops, line.gpu_planned) == (3 * 7 * 240 * 2, 3.0)


def test_the_largest_kind_of_fit(tmp_path):
    tiny = Tiny()
    tiny.paper["runs"]["aligned"]["fit"]["epochs"] = 50
    assert made(tiny, tmp_path).largest().name == "line_aligned_s0"


def test_measurements_that_may_end_early_are_told(tmp_path):
    tiny = Tiny()
    attack = {
        "name": "pgd",
        "norm": "l2",
        "eps": 0,
        "steps": 3,
        "step_size": 5,
        "keep": "worst",
        "box": "none",
    }
    measure = {"name": "eps50", "attack": attack, "grid": [1, 2, 3], "mode": "crossing"}
    tiny.paper["evaluations"]["search"] = {"groups": ["plain"], "measure": measure}
    found = made(tiny, tmp_path)
    # The clean image; two budgets, of three steps, the start, the last point and the result.
    assert found.at_most() == {"eps50": 3 * 60 * (10 + 2 * (3 * 11 + 3 * 10))}
