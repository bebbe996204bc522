"""Benchmarks of training steps and attacks: quick runs meet their bars, broken formulations do not."""

import pytest
import torch
from benchmark_modules import FOLDER, load

from pagrepro import configuration

CPU = torch.device("cpu")


def test_gradient_norm_is_the_equation_with_fewer_operations():
    """Section 6 of the specification: passes 1 and 1, 1 and 2, 4 and 4; operations 0.33, 0.67 and 1 times
    PGD-3, and a third more where the attack computes gradients of weights. Times are not judged."""
    step = load("gradient_norm")
    result = step.run(CPU, quick=True)
    assert [row["variant"] for row in result["rows"]] == [step.PLAIN, step.OURS, step.ATTACKED, step.WASTEFUL]
    assert [(row["forward"], row["backward"]) for row in result["rows"]] == [(1, 1), (1, 2), (4, 4), (4, 4)]
    shares = [row["FLOP ratio"] for row in result["rows"]]
    assert shares == pytest.approx([0.33, 0.68, 1, 1.33], abs=0.02)
    assert all(bar["met"] for bar in result["bars"])
    assert all(row["seconds"] > 0 for row in result["rows"])
    plain, ours, attacked, wasteful = result["rows"]
    wrong = [{**ours, "error": 1e-9, "FLOP ratio": 0.71}, attacked, {**wasteful, "FLOP ratio": 1.2}]
    assert [bar["met"] for bar in step.bars([plain, *wrong])] == [False, False, False]


def test_gradient_norm_tells_another_penalty(monkeypatch):
    """One in the data's coordinates, where a normalisation is not undone."""
    step = load("gradient_norm")
    monkeypatch.setattr(step, "NORM", {**step.NORM, "space": "data"})
    assert step.errors(CPU, 8, compiled=False)[step.OURS] > 0.1


def test_prepared_network_has_the_same_logits():
    prepared = load("prepared_network")
    result = prepared.run(CPU, quick=True)
    assert [row["network"] for row in result["rows"]] == [n for n in prepared.NETWORKS for _ in range(6)]
    assert all(row["images per s"] > 0 for row in result["rows"])
    assert all(bar["met"] for bar in result["bars"])
    ready = next(r for r in result["rows"] if r["variant"] == f"forward: {prepared.PREPARED}")
    assert 0 < ready["difference"] < prepared.LOGIT_LIMIT  # another network, which rounds otherwise
    wrong = {**ready, "difference": 2e-5, "other class": 1}
    assert [bar["met"] for bar in prepared.bars([wrong])] == [False, False]


def test_adversarial_training_takes_the_same_steps_without_weight_gradients():
    """Of 33 units the attack by loss.backward() wastes 10. Times are not judged."""
    training = load("adversarial_training")
    result = training.run(CPU, quick=True)
    plain, ours, wasteful = result["rows"]
    assert [(row["forward"], row["backward"]) for row in result["rows"]] == [(1, 1), (11, 11), (11, 11)]
    assert ours["FLOP ratio"] == pytest.approx(23 / 33, abs=0.02)
    assert plain["FLOP ratio"] == pytest.approx(3 / 33, abs=0.01)
    assert wasteful["FLOP ratio"] == 1
    assert all(bar["met"] for bar in result["bars"])
    wrong = {**ours, "error": 1e-9, "FLOP ratio": 0.8}
    assert [bar["met"] for bar in training.bars([plain, wrong, wasteful])] == [False, False]


def test_adversarial_training_tells_another_attack():
    training = load("adversarial_training")
    other = {**training.ATTACK, "steps": training.STEPS - 1}
    assert training.error(CPU, 8, training.project_objective("adversarial_training", attack=other)) > 1e-4


def test_throughput_has_every_step_in_both_precisions():
    throughput = load("throughput")
    result = throughput.run(CPU, quick=True)
    names = list(throughput.losses())
    assert [row["variant"] for row in result["rows"]] == [name for name in names for _ in range(2)]
    assert all(row["images per s"] > 0 and row["GFLOP"] > 0 for row in result["rows"])
    single, half = result["rows"][::2], result["rows"][1::2]
    assert all(row["error"] == 0 for row in single)
    assert all(1e-4 < row["error"] < 2 for row in half)


def test_autoattack_has_the_passes_of_the_library():
    """Times are not judged."""
    autoattack = load("autoattack")
    result = autoattack.run(CPU, quick=True)
    everything, library, ours, plain, folded, ready = result["rows"]
    assert everything["accuracy"] == library["accuracy"] == ours["accuracy"]
    assert 0 < ours["accuracy"] < 1
    assert ours["forward"] <= library["forward"] < everything["forward"]
    assert plain["time ratio"] == 1
    for row in (folded, ready):
        assert row["accuracy"] == plain["accuracy"]
        # The look at the gradients of the first batch comes on top.
        assert (row["forward"], row["backward"]) == (plain["forward"], plain["backward"] + 1)
    assert all(bar["met"] for bar in result["bars"] if not bar["bar"].endswith(": time"))
    wrong = {**ours, "accuracy": ours["accuracy"] + 0.01, "forward": 1.02 * everything["forward"]}
    bad = {
        **ready,
        "accuracy": 0.5 * plain["accuracy"],
        "forward": 1.02 * plain["forward"],
        "time ratio": 0.9,
    }
    judged = autoattack.bars([library, wrong, plain, bad])
    assert [bar["met"] for bar in judged] == [False] * 5


def test_the_copy_is_what_is_attacked(monkeypatch):
    """A copy that fails every answer would be attacked with no effect on what the network says."""
    autoattack = load("autoattack")
    seen = []
    made = autoattack.COPIES[autoattack.PREPARED]
    monkeypatch.setitem(autoattack.COPIES, autoattack.PREPARED, lambda *a: seen.append(a) or made(*a))
    rows, _ = autoattack.through_a_deep_network(CPU, quick=True)
    assert len(seen) == 1
    assert [row["variant"] for row in rows] == [autoattack.PLAIN, autoattack.FOLDED, autoattack.PREPARED]


def test_eps50_meets_its_bars_and_the_full_grid_would_not():
    """The numbers of passes do not depend on the machine; times are not judged."""
    eps50 = load("eps50")
    result = eps50.run(CPU, quick=True)
    assert [row["variant"] for row in result["rows"]] == list(eps50.VARIANTS)
    assert all(bar["met"] for bar in result["bars"])
    full, *others = (row["passes ratio"] for row in result["rows"])
    assert full == 1
    assert max(others) < 1
    slow = {**result["rows"][0], "variant": eps50.SEARCH, "eps50_grid": 0.2, "curve off by": 0.1}
    rows = [slow if row["variant"] == eps50.SEARCH else row for row in result["rows"]]
    short = [bar["bar"] for bar in eps50.bars(rows) if not bar["met"]]
    assert short == [f"{eps50.SEARCH}: {what}" for what in ("passes", "eps50_grid", "curve")]


def test_validation_counts_passes_and_compares_them_with_the_training(monkeypatch):
    """Every third epoch, the crossing takes less than the training even if nobody is fooled; times are not
    judged."""
    validation = load("validation")
    monkeypatch.setitem(validation.EVERY, validation.CROSSING, 3)
    result = validation.run(CPU, quick=True)
    training, crossing, published = result["rows"]
    assert training["passes per epoch"] == 3 * 540
    # One pass for the clean image; per budget two for each step, and three forward: x, end and result.
    attack = 2 * validation.STEPS + 3
    assert published["passes per image"] == 1 + len(validation.GRID) * attack
    assert published["passes ratio"] == pytest.approx(published["passes per image"] * 60 / 1620)
    assert 1 < crossing["passes per image"] <= 1 + 4 * attack
    assert crossing["passes ratio"] == pytest.approx(crossing["passes per image"] * 10 / 3 / 1620)
    assert all(row["seconds"] > 0 for row in result["rows"])
    assert all(bar["met"] for bar in result["bars"])
    slow = {**crossing, "passes ratio": 1.1, "time ratio": 1.1}
    assert [bar["met"] for bar in validation.bars([slow])] == [False, False]


def test_validation_is_measured_as_it_is_configured():
    validation = load("validation")
    root = FOLDER.parent
    mnist = configuration.read_yaml(root / "config/papers/lanfredi2020.yaml")["settings"]["m"]
    assert mnist["val_split"] == f"val_{validation.IMAGES['subset']}"
    assert mnist["val_every"] == validation.EVERY[validation.CROSSING]
    assert tuple(mnist["grids"]["val"]) == validation.GRID
    assert mnist["val_steps"] == validation.STEPS
    assert mnist["about"]["train"] == validation.IMAGES["training"]
    assert mnist["about"]["val"] == validation.IMAGES["subset"]
    assert sum(validation.IMAGES[part] for part in ("training", "all")) == 60000  # MNIST's training images
