"""AutoAttack: the library's answer, with no more work, from wherever it was interrupted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from linear_models import Linear, request
from pyautoattack import AutoAttack
from torch import nn

from pagrepro import autoattack_run, seeding
from pagrepro.autoattack_run import Stage, library_attack
from pagrepro.determinism import switches
from pagrepro.errors import DataError, RangeError
from pagrepro.evaluations import autoattack
from pagrepro.evaluations.autoattack import Config
from pagrepro.plugins import resolve
from pagrepro.problems import OptionError

IMAGE = (1, 6, 6)
LIBRARY = {"apgd_ce": "apgd-ce", "apgd_t": "apgd-t", "fab_t": "fab-t", "square": "square"}
FEW = {"version": "custom", "steps": 6, "queries": 20}


class Counting(nn.Module):
    """A network that counts the calls and examples that go through it, and may fail at a call."""

    def __init__(self, network, fail_at=None):
        super().__init__()
        self.network, self.fail_at, self.calls, self.examples = network, fail_at, 0, 0

    def forward(self, x):
        self.calls += 1
        self.examples += len(x)
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return self.network(x)


def network(classes=4, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, classes))


def images(n, seed=1):
    return torch.rand(n, *IMAGE, generator=torch.Generator().manual_seed(seed))


def asked(n=22, classes=4, model=None, **more):
    """Images with the network's own labels, but for the first two."""
    x, labeller = images(n), network(classes)
    y = labeller(x).argmax(1)
    y[:2] = (y[:2] + 1) % classes
    more = {"classes": classes, "batch_size": 5, "seed": 3, **more}
    return request(model or labeller, x, y, 0.0, 1.0, **more)


def measure(request, **options):
    options = {"eps": 0.02, **FEW, **options}
    return autoattack.measure(Config(**options), request)


# --- the library's answer -----------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.02), ("l2", 0.15)])
def test_same_answer_as_the_library_with_no_more_work(norm, eps):
    ours, theirs = Counting(network()), Counting(network())
    given = asked(model=ours)
    found = measure(given, attacks=list(LIBRARY), norm=norm, eps=eps, steps=8, queries=40)
    seed = seeding.seed_for(given.seed, "autoattack", 0)
    whole = AutoAttack(
        theirs, attacks=list(LIBRARY.values()), version="custom", eps=eps, seed=seed,
        norm={"linf": "Linf", "l2": "L2"}[norm],
    )  # fmt: skip
    parts = {"apgd": "apgd_ce", "apgd_targeted": "apgd_t", "fab": "fab_t", "square": "square"}
    for part, kind in parts.items():
        stage = Stage(kind, kind, targets=3, steps=8, queries=40)
        setattr(whole, part, library_attack(stage, theirs, norm, eps, seed, "cpu"))
    x_adv, y_adv = whole.run_standard_evaluation(given.x, given.y, batch_size=5)
    assert found.arrays["correct"].tolist() == (y_adv == given.y).tolist()
    size = (x_adv - given.x).flatten(1).norm(dim=1, p={"linf": torch.inf, "l2": 2}[norm])
    assert found.values["max_norm"] == pytest.approx(float(size.max()), rel=1e-6)
    assert 0 < found.values["custom_accuracy"] < found.values["clean_accuracy"] < 1
    assert ours.calls <= theirs.calls
    assert ours.examples <= theirs.examples


@pytest.mark.parametrize("version", ["standard", "plus"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_versions_are_the_library_s(version, norm):
    model = network(10)
    whole = AutoAttack(model, version=version, eps=0.1, seed=5, norm={"linf": "Linf", "l2": "L2"}[norm])
    stages = autoattack.stages(Config(version=version, norm=norm, eps=0.1), 10)
    assert [stage.name for stage in stages] == [name.replace("-", "_") for name in whole.attacks_to_run]
    for stage in stages:
        theirs = {
            "apgd_t": whole.apgd_targeted, "square": whole.square, "apgd_ce": whole.apgd,
            "apgd_dlr": whole.apgd, "fab": whole.fab, "fab_t": whole.fab,
        }[stage.kind]  # fmt: skip
        # What the library sets when it comes to an attack.
        if stage.kind.startswith("fab"):
            theirs.targeted = stage.kind == "fab_t"
            theirs.n_restarts = 1 if theirs.targeted else theirs.n_restarts
        elif stage.kind in ("apgd_ce", "apgd_dlr"):
            theirs.loss = stage.kind.removeprefix("apgd_")
        ours = library_attack(stage, model, norm, 0.1, 5, "cpu")
        skip = ("logger", "model", "predict")
        assert type(ours) is type(theirs)
        assert {k: v for k, v in vars(ours).items() if k not in skip} == {
            k: v for k, v in vars(theirs).items() if k not in skip
        }


def test_more_steps_move_the_checkpoints_too():
    """n_iter alone would leave the step sizes on the schedule of 100."""
    ours = library_attack(Stage("a", "apgd_ce", steps=200), network(), "linf", 0.1, 0, "cpu")
    assert (ours.n_iter, ours.n_iter_orig, ours.n_iter_2, ours.n_iter_min, ours.size_decr) == (
        200,
        200,
        44,
        12,
        6,
    )


@pytest.mark.parametrize(("norm", "eps", "dual"), [("linf", 0.13, 1), ("l2", 0.62, 2)])
def test_linear_network_in_closed_form(norm, eps, dual):
    """Robust where every other class is further away than eps; images far from the ends of the range."""
    weight = torch.randn(4, 36, generator=torch.Generator().manual_seed(0))
    x = 0.3 + 0.4 * images(40)
    scores = x.flatten(1) @ weight.T
    y = scores.argmax(1)
    gap = scores.gather(1, y[:, None]) - scores
    distance = gap / (weight[y][:, None] - weight).norm(dim=2, p=dual)
    distance = distance.scatter(1, y[:, None], torch.inf).amin(1)
    given = request(Linear(weight), x, y, 0.0, 1.0, classes=4, batch_size=16)
    found = measure(given, attacks=["apgd_ce", "apgd_t"], norm=norm, eps=eps, steps=20)
    clear = (distance / eps - 1).abs() > 0.02
    assert clear.sum() > 30
    assert 0.1 < (distance > eps).double().mean() < 0.9
    assert found.arrays["correct"][clear].tolist() == (distance > eps)[clear].tolist()
    assert eps * 0.9 < found.values["max_norm"] <= eps * (1 + 1e-5) + 1e-6


# --- values -------------------------------------------------------------------------------------------


def test_values_and_arrays_agree():
    found = measure(asked(), attacks=["square", "apgd_ce", "apgd_t"], eps=0.04)
    assert list(found.values) == [
        "custom_accuracy", "clean_accuracy", "after_square", "after_apgd_ce", "after_apgd_t", "max_norm",
    ]  # fmt: skip
    broken_by = found.arrays["broken_by"]
    assert broken_by.dtype == np.int8
    assert found.arrays["correct"].dtype == bool
    assert broken_by[:2].tolist() == [0, 0]
    for k, name in enumerate(["clean_accuracy", "after_square", "after_apgd_ce", "after_apgd_t"]):
        assert found.values[name] == ((broken_by < 0) | (broken_by > k)).mean()
    assert found.values["custom_accuracy"] == found.arrays["correct"].mean() == (broken_by < 0).mean()
    assert {0, 1, -1} < set(broken_by.tolist())


def test_a_cheap_set_is_not_called_autoattack():
    found = autoattack.measure(Config(version="apgd_ce_t", eps=0.02, steps=5), asked())
    assert "accuracy" not in found.values
    assert list(found.values)[:1] == ["apgd_ce_t_accuracy"]
    assert list(found.values)[2:4] == ["after_apgd_ce", "after_apgd_t"]
    assert [autoattack.accuracy_name(v) for v in ("standard", "plus", "custom")] == [
        "accuracy", "accuracy", "custom_accuracy",
    ]  # fmt: skip


def test_nothing_left_to_attack():
    model = Counting(network())
    found = measure(asked(model=model), attacks=["apgd_ce", "square"], eps=1)
    assert found.values["custom_accuracy"] == found.values["after_square"] == 0
    assert set(found.arrays["broken_by"].tolist()) == {0, 1}


def test_broken_images_are_attacked_no_more():
    counts = []
    for attacks in (["apgd_ce"], ["apgd_ce", "apgd_dlr"]):
        model = Counting(network())
        found = measure(asked(model=model), attacks=attacks, eps=0.04)
        counts.append(model.examples)
    standing = round(22 * found.values["after_apgd_ce"])
    assert 0 < standing < 20
    # First look, start, 6 steps, and the verdict.
    assert counts[1] - counts[0] == standing * (1 + 1 + 6 + 1)


def test_seed_decides_and_nothing_global_moves():
    torch.manual_seed(11)
    before = torch.get_rng_state()
    options = {"attacks": ["square"], "queries": 5, "eps": 0.05}
    one, again, other = (measure(asked(60, seed=seed), **options).arrays["broken_by"] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.tolist() == again.tolist()
    assert one.tolist() != other.tolist()


def test_more_budget_is_never_less():
    shares = [
        measure(asked(), attacks=["apgd_ce"], eps=eps, steps=20).values["custom_accuracy"]
        for eps in (0.005, 0.02, 0.05)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


# --- interrupted --------------------------------------------------------------------------------------

ALL = {"attacks": ["apgd_ce", "apgd_t", "fab_t", "square"], "eps": 0.02, "queries": 8, "steps": 3}


def test_killed_anywhere_it_goes_on(tmp_path):
    straight = Counting(network())
    expected = measure(asked(model=straight), **ALL)
    assert straight.calls > 180
    for fail_at in [3, *range(40, straight.calls, 70), straight.calls]:
        scratch = tmp_path / str(fail_at)
        first, second = Counting(network(), fail_at), Counting(network())
        with pytest.raises(KeyboardInterrupt):
            measure(asked(model=first, scratch=scratch), **ALL)
        found = measure(asked(model=second, scratch=scratch), **ALL)
        assert found.values == expected.values
        assert found.flags == expected.flags
        for name in ("correct", "broken_by"):
            assert found.arrays[name].tolist() == expected.arrays[name].tolist()
        # At most the batch that was interrupted is done twice.
        assert second.calls <= straight.calls
        assert first.calls + second.calls <= straight.calls + 40
    assert second.calls < 40


@pytest.mark.parametrize(
    "change", [{"eps": 0.03}, {"norm": "l2"}, {"steps": 4}, {"attacks": ["square", "apgd_ce"]}]
)
def test_another_threat_model_begins_anew(tmp_path, change):
    few = {"attacks": ["apgd_ce", "square"], "eps": 0.02, "steps": 5}
    first, fresh, second = (Counting(network()) for _ in range(3))
    measure(asked(model=first, scratch=tmp_path), **few)
    expected = measure(asked(model=fresh), **{**few, **change})
    found = measure(asked(model=second, scratch=tmp_path), **{**few, **change})
    assert found.arrays["broken_by"].tolist() == expected.arrays["broken_by"].tolist()
    assert second.calls == fresh.calls


def test_finished_progress_costs_nothing(tmp_path):
    measure(asked(scratch=tmp_path), **ALL)
    model = Counting(network())
    assert measure(asked(model=model, scratch=tmp_path), **ALL).values == measure(asked(), **ALL).values
    assert model.calls == 0


def test_flags_survive(tmp_path):
    class Soft(nn.Sequential):
        def forward(self, x):
            return super().forward(x).softmax(1)

    def soft(fail_at=None):
        return asked(model=Counting(Soft(*network()), fail_at), scratch=tmp_path)

    with pytest.raises(KeyboardInterrupt):
        measure(soft(30), attacks=["apgd_ce"])
    assert measure(soft(), attacks=["apgd_ce"]).flags == ["softmax_output"]


# --- a prepared copy ------------------------------------------------------------------------------------


def normalised_network():
    """A convolution with a normalisation behind it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(96, 4)
        )
        for value in (model[1].weight, model[1].running_var):
            nn.init.uniform_(value, 0.1, 0.5)
        nn.init.normal_(model[1].running_mean, 0, 0.1)
    return model.eval()


def normalised(**options):
    model = normalised_network()
    given = asked(model=model)
    return measure(replace(given, y=model(given.x).argmax(1)), **{**ALL, "eps": 0.05, **options})


def test_a_prepared_copy_finds_what_the_network_finds():
    found, expected = normalised(prepared=True), normalised()
    assert found.arrays["broken_by"].tolist() == expected.arrays["broken_by"].tolist()
    assert found.values == pytest.approx(expected.values, rel=1e-4)
    assert 0 < found.values["custom_accuracy"] < 1
    assert found.flags == expected.flags == []


def test_the_copy_is_attacked_and_the_network_says_what_is_broken(monkeypatch):
    """A copy that takes everything for broken would leave nothing standing."""
    copies = []

    class Wrong(nn.Sequential):
        def forward(self, x):
            return super().forward(x).roll(1, 1)

    def prepared(model, device):
        copies.append(Counting(Wrong(*normalised_network())))
        return copies[-1]

    monkeypatch.setattr(autoattack_run, "prepared", prepared)
    assert normalised(prepared=True).values["custom_accuracy"] == 1
    assert copies[0].calls > 0
    normalised()
    assert len(copies) == 1


# --- health -------------------------------------------------------------------------------------------


def test_a_sound_network_has_no_flags():
    assert measure(asked(), attacks=["apgd_ce", "apgd_t", "square"]).flags == []


def test_a_random_network_is_told():
    class Noisy(nn.Sequential):
        def forward(self, x):
            return super().forward(x + 0.1 * torch.randn(x.shape))

    torch.manual_seed(0)
    assert "randomised_model" in measure(asked(model=Noisy(*network())), attacks=["apgd_ce"]).flags


def test_masked_gradients_are_told():
    """Steps in place of the input: no gradient, though Square walks over them."""

    class Steps(nn.Sequential):
        def forward(self, x):
            return super().forward((x * 64).floor() / 64)

    given = asked(model=Steps(*network()))
    found = measure(given, attacks=["apgd_ce", "square"], queries=150, eps=0.03)
    assert found.flags == ["zero_gradients", "square_stronger"]
    assert (found.arrays["broken_by"] == 2).any()


def test_saturated_cross_entropy_is_told():
    class Sure(nn.Sequential):
        def forward(self, x):
            return 1e5 * super().forward(x)

    assert measure(asked(model=Sure(*network())), attacks=["apgd_ce"]).flags == ["zero_gradients"]


def test_what_is_not_finite_is_broken():
    class Fragile(nn.Sequential):
        def forward(self, x):
            scores = super().forward(x)
            return torch.where((x > 0.999).flatten(1).any(1, keepdim=True), torch.nan, scores)

    given = asked(model=Fragile(*network()))
    given = replace(given, x=0.99 * given.x + 0.005, y=network()(0.99 * given.x + 0.005).argmax(1))
    found = measure(given, attacks=["square"], eps=0.05)
    assert "nonfinite_under_attack" in found.flags
    assert found.values["custom_accuracy"] < 1


def test_what_left_the_ball_does_not_count(monkeypatch):
    class Far:
        def perturb(self, x, y):
            return (x + 0.5).clamp(0, 1)

    monkeypatch.setattr(autoattack_run, "library_attack", lambda *_: Far())
    found = measure(asked(), attacks=["apgd_ce"])
    assert found.flags == ["left_the_ball"]
    assert found.values["custom_accuracy"] == found.values["clean_accuracy"]
    assert found.values["max_norm"] == 0


def test_only_fab_may_add_up_in_any_order():
    """CUDA has no cumulative sum of a fixed order; everything else stays strict."""
    modes = []

    class Watching(nn.Sequential):
        def forward(self, x):
            modes.append(torch.get_deterministic_debug_mode())
            return super().forward(x)

    with switches():
        measure(asked(model=Watching(*network())), attacks=["apgd_ce"], steps=2)
        assert set(modes) == {2}
        measure(asked(model=Watching(*network())), attacks=["fab_t"], steps=2)
        assert modes[-1] == 2
    assert set(modes) == {1, 2}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_with_deterministic_algorithms():
    device = torch.device("cuda")
    given = asked()
    given = replace(
        given, model=given.model.to(device), x=given.x.to(device), y=given.y.to(device), device=device
    )
    with switches():
        found = measure(given, **ALL)
    assert 0 < found.values["custom_accuracy"] < found.values["clean_accuracy"]


# --- refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes(classes):
    given = asked(classes=classes)
    standard = {"attacks": ["apgd_ce", "apgd_t", "fab_t", "square"]}
    with pytest.raises(DataError, match=rf"apgd_t: the DLR loss needs 4 classes, the network has {classes}"):
        measure(given, **standard)
    found = measure(given, few_classes="cross_entropy", **standard)
    assert found.flags == ["dlr_replaced"]
    assert list(found.values)[2:6] == [
        "after_apgd_ce",
        "after_apgd_ce_restarts",
        "after_fab_t",
        "after_square",
    ]
    assert 0 < found.values["custom_accuracy"] < found.values["clean_accuracy"]
    assert measure(given, attacks=["apgd_ce", "fab_t"]).flags == []


def test_stages_for_few_classes():
    plus = Config(version="plus", eps=0.1, few_classes="cross_entropy")
    assert [stage.name for stage in autoattack.stages(plus, 3)] == [
        "apgd_ce", "apgd_ce_restarts", "fab", "square", "fab_t",
    ]  # fmt: skip
    instead = autoattack.stages(plus, 3)[1]
    assert (instead.kind, instead.restarts, instead.stream) == ("apgd_ce", 5, 1)
    assert "apgd_ce_restarts" not in [stage.name for stage in autoattack.stages(plus, 4)]
    assert [stage.targets for stage in autoattack.stages(Config(eps=0.1), 6)] == [5] * 4
    assert [stage.targets for stage in autoattack.stages(Config(eps=0.1), 100)] == [9] * 4
    with pytest.raises(DataError, match="two logits"):
        autoattack.stages(plus, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, "8/255"),
        ({"eps": 128, "norm": "l2"}, "at most 10"),
        ({"eps": 0}, "eps"),
        ({"eps": 0.1, "attacks": ["square"]}, "only then"),
        ({"eps": 0.1, "version": "custom"}, "only then"),
        ({"eps": 0.1, "version": "custom", "attacks": ["square", "square"]}, "once"),
        ({"eps": 0.1, "steps": 50}, "at least 100 steps"),
        ({"eps": 0.1, "version": "plus", "queries": 100}, "5000 queries"),
        ({"eps": 0.1, "targets": 3}, "9 targets"),
        ({"eps": 0.1, "restarts": 2}, "restarts"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        resolve("evaluations", {"name": "autoattack", **options})


def test_options_that_are_allowed():
    resolved = resolve("evaluations", {"name": "autoattack", "eps": "8/255", "steps": 200})
    assert resolved["eps"] == 8 / 255
    assert (resolved["version"], resolved["norm"], resolved["targets"]) == ("standard", "linf", 9)
    assert resolve("evaluations", {"name": "autoattack", "eps": 3, "norm": "l2"})["eps"] == 3


def test_data_that_are_refused():
    given = asked()
    for low, high in ((None, None), (-1.0, 1.0)):
        with pytest.raises(DataError, match="pgd_accuracy"):
            measure(replace(given, low=low, high=high), attacks=["apgd_ce"])
    with pytest.raises(DataError, match=r"images \(N, C, H, W\)"):
        measure(replace(given, x=given.x.flatten(1)), attacks=["apgd_ce"])
    with pytest.raises(RangeError):
        measure(replace(given, x=255 * given.x), attacks=["apgd_ce"])
    small = replace(given, x=given.x[:, :, :4])
    with pytest.raises(DataError, match="5 pixels"):
        measure(replace(small, model=Linear(torch.eye(4, 24))), attacks=["square"], norm="l2")
