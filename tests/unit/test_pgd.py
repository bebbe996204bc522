"""PGD: invariants, closed forms on linear models, and what it must not compute."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pagrepro import plugins
from pagrepro.attacks.pgd import Config, build
from pagrepro.errors import RangeError
from pagrepro.threat import NORMS

NORM = pytest.mark.parametrize("norm", ["linf", "l2"])
N, D, C = 12, 6, 4


def attack(norm="linf", **options):
    options = {"eps": 0.1, "steps": 5, **options}
    if "step_size" not in options:
        options.setdefault("relative_step", 2)
    return build(Config(norm=norm, **options))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(seed=0):
    """A random smooth network, inputs in [0, 1], labels right for about half of the examples."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(D, 16), nn.Tanh(), nn.Linear(16, C)).double()
    with torch.no_grad():
        model[0].weight.mul_(4)
    x = torch.rand(N, D, dtype=torch.float64)
    y = model(x).argmax(1)
    y[: N // 4] = (y[: N // 4] + 1) % C
    return model, x, y


def fooled(model, x, y):
    return model(x).argmax(1) != y


# --- budget and box ------------------------------------------------------------------------------

OPTIONS = st.fixed_dictionaries(
    {
        "norm": st.sampled_from(["linf", "l2"]),
        "steps": st.integers(1, 4),
        "start": st.sampled_from(["random", "zero", "pixel"]),
        "loss": st.sampled_from(["cross_entropy", "margin"]),
        "targeted": st.booleans(),
        "restarts": st.integers(1, 3),
        "keep": st.sampled_from(["last", "worst"]),
        "relative_step": st.sampled_from([0.5, 2, 20]),
    }
)


@settings(max_examples=60, deadline=None)
@given(options=OPTIONS, seed=st.integers(0, 50), scale=st.floats(0, 2))
def test_stays_in_each_examples_ball_and_in_the_box(options, seed, scale):
    model, x, y = problem(seed)
    x[0], x[1] = 0.0, 1.0
    eps = scale * torch.linspace(0, 1, N, dtype=torch.float64)
    pgd = attack(**options)
    x_adv = pgd.perturb(model, x, y, generator(seed), eps=eps)
    assert (NORMS[options["norm"]].size(x_adv - x) <= eps * (1 + 1e-9) + 1e-12).all()
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert torch.equal(x_adv[0], x[0])  # its eps is 0
    assert torch.equal(x_adv, pgd.perturb(model, x, y, generator(seed), eps=eps))
    assert not x_adv.requires_grad


@NORM
@pytest.mark.parametrize("start", ["random", "zero", "pixel"])
def test_eps_zero_returns_x(norm, start):
    model, x, y = problem()
    assert torch.equal(attack(norm, eps=0, start=start).perturb(model, x, y, generator()), x)


@NORM
def test_unbounded_data_are_not_clipped(norm):
    model, x, y = problem()
    far = 100 * x - 50
    x_adv = attack(norm, eps=15).perturb(model, far, y, generator(), low=None, high=None)
    assert x_adv.max() > 50 or x_adv.min() < -50
    one_sided = attack(norm, eps=60).perturb(model, far.abs(), y, generator(), low=0.0, high=None)
    assert one_sided.min() == 0


# --- optimum on linear models --------------------------------------------------------------------


def linear():
    w = torch.tensor([[0.3, -1.0, 0.2, 0.7, -0.1, 0.4], [-0.5, 0.1, 0.9, 0.6, -0.8, 0.2]]).double()
    model = nn.Linear(D, 2).double()
    with torch.no_grad():
        model.weight.copy_(w)
        model.bias.zero_()
    torch.manual_seed(0)
    return model, torch.rand(N, D).double(), torch.randint(2, (N,)), w


def optimum(norm, x, y, w, eps):
    """argmax over the ball of (w_{1-y} - w_y).x"""
    direction = w[1 - y] - w[y]
    if norm == "linf":
        return x + eps * direction.sign()
    return x + eps * direction / direction.norm(dim=1, keepdim=True)


@NORM
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_reaches_the_closed_form_optimum(norm, loss):
    model, x, y, w = linear()
    expected = optimum(norm, x, y, w, 0.3)
    pgd = attack(norm, eps=0.3, start="zero", loss=loss)
    torch.testing.assert_close(pgd.perturb(model, x, y, None, low=None, high=None), expected)
    from_noise = attack(norm, eps=0.3, steps=60, relative_step=30, loss=loss).perturb(
        model, x, y, generator(), low=None, high=None
    )
    torch.testing.assert_close(from_noise, expected, atol=0.01, rtol=0)
    if norm == "linf":
        # On a box-shaped ball, clipping the optimum is the optimum in the intersection with the box.
        torch.testing.assert_close(pgd.perturb(model, x, y, None), expected.clamp(0, 1))


@NORM
def test_targeted_walks_to_the_target(norm):
    model, x, y, w = linear()
    x_adv = attack(norm, eps=0.3, start="zero", targeted=True).perturb(model, x, y, None, low=None, high=None)
    torch.testing.assert_close(x_adv, optimum(norm, x, 1 - y, w, 0.3))


@NORM
def test_a_larger_ball_is_never_weaker_on_a_linear_model(norm):
    model, x, y, _ = linear()
    before = torch.zeros(N, dtype=torch.bool)
    for eps in (0.0, 0.05, 0.1, 0.2, 0.4):
        pgd = attack(norm, eps=eps, keep="worst")
        now = fooled(model, pgd.perturb(model, x, y, generator(), low=None, high=None), y)
        assert (now | ~before).all()
        before = now
    assert before.any()


# --- steps, starts, targets ----------------------------------------------------------------------


@NORM
@pytest.mark.parametrize("loss", ["cross_entropy", "margin"])
def test_targeted_lowers_the_targets_loss_and_untargeted_raises_it(norm, loss):
    model, x, y = problem()

    def value(z):
        return F.cross_entropy(model(z), y, reduction="none")

    eps = 0.3
    raised = attack(norm, eps=eps, start="zero", loss=loss).perturb(model, x, y, None)
    lowered = attack(norm, eps=eps, start="zero", loss=loss, targeted=True).perturb(model, x, y, None)
    assert (value(raised) > value(x)).double().mean() > 0.9
    assert (value(lowered) < value(x)).double().mean() > 0.9


@NORM
def test_absolute_and_relative_steps_and_per_example_budgets_agree(norm):
    model, x, y = problem()
    relative = attack(norm, eps=0.2, steps=5, relative_step=2).perturb(model, x, y, generator())
    absolute = attack(norm, eps=0.2, steps=5, step_size=0.08).perturb(model, x, y, generator())
    torch.testing.assert_close(relative, absolute)
    eps = torch.tensor([0.2, 0.05] * (N // 2), dtype=torch.float64)
    mixed = attack(norm, eps=9).perturb(model, x, y, generator(), eps=eps)
    small = attack(norm, eps=0.05).perturb(model, x, y, generator())
    torch.testing.assert_close(mixed[0::2], relative[0::2])
    torch.testing.assert_close(mixed[1::2], small[1::2])


@NORM
def test_iterates_take_exactly_k_steps_of_the_stated_length(norm):
    model, x, y = problem()
    pgd = attack(norm, eps=0.5, steps=3, step_size=0.01)
    x_adv, path = pgd.perturb(model, x, y, generator(), low=None, high=None, return_iterates=True)
    assert path.shape == (4, N, D)
    assert torch.equal(path[-1], x_adv)
    lengths = torch.stack([NORMS[norm].size(b - a) for a, b in pairwise(path)])
    inside = NORMS[norm].size(path[1:].flatten(0, 1) - x.repeat(3, 1)) < 0.499
    torch.testing.assert_close(lengths.flatten()[inside], torch.full((int(inside.sum()),), 0.01).double())
    assert inside.any()
    with pytest.raises(ValueError, match="return_iterates"):
        attack(norm, restarts=2).perturb(model, x, y, generator(), return_iterates=True)


def test_pixel_start_ignores_eps_and_is_never_returned():
    model, x, y = problem()
    for keep in ("last", "worst"):
        pgd = attack("l2", eps=0.01, steps=2, start="pixel", keep=keep)
        x_adv, path = pgd.perturb(model, x, y, generator(), low=None, high=None, return_iterates=True)
        noise = (path[0] - x).abs()
        assert noise.max() <= 8 / 255
        assert noise.max() > 0.9 * 8 / 255
        assert (x_adv - x).norm(dim=1).max() <= 0.01 * (1 + 1e-9)


@NORM
def test_an_example_does_not_depend_on_its_neighbours(norm):
    model, x, y = problem()
    pgd = attack(norm, eps=0.2, keep="worst", restarts=2, drop_fooled=True)
    together = pgd.perturb(model, x, y, generator())
    others = x.clone()
    others[1:] = 1 - others[1:]
    torch.testing.assert_close(pgd.perturb(model, others, y, generator())[0], together[0])


def test_another_generator_gives_another_start():
    model, x, y = problem()
    pgd = attack()
    assert not torch.equal(pgd.perturb(model, x, y, generator(0)), pgd.perturb(model, x, y, generator(1)))


# --- keep and drop -------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(options=OPTIONS, seed=st.integers(0, 50))
def test_worst_is_never_weaker_with_more_steps_or_restarts_nor_than_x(options, seed):
    model, x, y = problem(seed)
    options = {**options, "keep": "worst", "eps": 0.3, "step_size": 0.1, "relative_step": None}

    def success(**more):
        return reached(attack(**{**options, **more}).perturb(model, x, y, generator(seed)))

    def reached(z):
        hit = model(z).argmax(1) == y
        return hit if options["targeted"] else ~hit

    base = success()
    assert (success(steps=options["steps"] + 2) | ~base).all()
    # Starts are drawn one restart after the other, so the first ones are the same.
    assert (success(restarts=options["restarts"] + 1) | ~base).all()
    assert (base | ~reached(x)).all()


@NORM
@pytest.mark.parametrize("start", ["random", "zero", "pixel"])
@pytest.mark.parametrize("targeted", [False, True])
def test_dropping_fooled_examples_changes_nothing_but_the_work(norm, start, targeted):
    model, x, y = problem(3)
    calls = []
    model.register_forward_hook(lambda module, args, out: calls.append(len(out)))
    options = {"eps": 0.15 if norm == "linf" else 0.3, "keep": "worst", "start": start, "targeted": targeted}
    options["restarts"] = 1 if start == "zero" else 2
    full = attack(norm, **options).perturb(model, x, y, generator())
    work, calls[:] = sum(calls), []
    dropped = attack(norm, drop_fooled=True, **options).perturb(model, x, y, generator())
    torch.testing.assert_close(dropped, full)
    assert sum(calls) < work
    rate = fooled(model, full, y).double().mean()
    assert 0 < rate < 1  # otherwise the comparison says little


def test_dropping_everything_ends_the_attack():
    model, x, _ = problem()
    wrong = (model(x).argmax(1) + 1) % C
    pgd = attack(keep="worst", drop_fooled=True, restarts=2)
    assert torch.equal(pgd.perturb(model, x, wrong, generator()), x)


@pytest.mark.parametrize("start", ["zero", "random", "pixel"])
def test_keep_worst_returns_the_first_success_on_the_path(start):
    model, x, y = problem(3)
    options = {"eps": 0.2, "steps": 4, "start": start}
    _, path = attack(**options).perturb(model, x, y, generator(), return_iterates=True)
    kept = attack(keep="worst", **options).perturb(model, x, y, generator())
    # x itself comes first; the "pixel" start is no candidate.
    path = torch.cat([x[None], path[1 if start == "pixel" else 0 :]])
    success = torch.stack([fooled(model, z, y) for z in path])
    losses = torch.stack([F.cross_entropy(model(z), y, reduction="none") for z in path])
    position = torch.where(success.any(0), success.int().argmax(0), losses.argmax(0))
    torch.testing.assert_close(kept, path[position, torch.arange(N)])
    assert success.any(0).any()
    assert not success.any(0).all()


def test_projects_first_and_clips_afterwards():
    model, x, y, w = linear()
    x = x.round()  # corners of the box: half of every step points outside
    x_adv = attack("l2", eps=0.3, steps=1, start="zero").perturb(model, x, y, None)
    torch.testing.assert_close(x_adv, optimum("l2", x, y, w, 0.3).clamp(0, 1))


def test_restarts_with_keep_last_choose_among_last_iterates():
    model, x, y = problem(3)
    several = attack(restarts=3, eps=0.3).perturb(model, x, y, generator())
    single = attack(eps=0.3).perturb(model, x, y, generator())
    assert (fooled(model, several, y) | ~fooled(model, single, y)).all()


# --- degenerate gradients and what is not computed -------------------------------------------------


@NORM
def test_a_zero_gradient_gives_no_step_and_no_nan(norm):
    _, x, y = problem()
    pgd = attack(norm, start="zero")
    constant = pgd.perturb(lambda z: z[:, :C] * 0, x, y, None)
    assert torch.equal(constant, x)
    assert pgd.nonfinite == 0


@NORM
def test_nonfinite_gradients_are_counted_and_do_not_spread(norm):
    _, x, y = problem()
    x = x.clone()
    x[:3, 0] = 0.0

    def model(z):  # the square root has an infinite derivative at 0
        return torch.cat([z[:, :1].sqrt(), z[:, 1:C]], 1)

    pgd = attack(norm, start="zero", steps=1)
    x_adv = pgd.perturb(model, x, y, None)
    assert x_adv.isfinite().all()
    assert pgd.nonfinite == 3
    pgd.perturb(model, x, y, None)
    assert pgd.nonfinite == 6


def test_nan_logits_are_no_success():
    _, x, _ = problem()
    y = torch.ones(N, dtype=torch.int64)
    pgd = attack(keep="worst", drop_fooled=True)
    x_adv = pgd.perturb(lambda z: z[:, :C] * float("nan"), x, y, generator())
    assert torch.equal(x_adv, x)
    assert pgd.nonfinite == N * 5


class Recorder(TorchDispatchMode):
    """Notes which gradients every convolution's backward was asked for."""

    def __init__(self):
        super().__init__()
        self.masks = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.masks.append(list(args[-1]))
        return func(*args, **(kwargs or {}))


def test_no_weight_gradients_are_computed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    x, y = torch.rand(2, 1, 4, 4), torch.tensor([0, 1])
    with Recorder() as recorder:
        attack(steps=3).perturb(model, x, y, generator())
    assert recorder.masks == [[True, False, False]] * 3
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    with Recorder() as recorder:  # the recorder does see weight gradients where there are any
        model(x).sum().backward()
    assert recorder.masks[0][1]


def test_works_under_no_grad():
    model, x, y = problem()
    with torch.no_grad():
        inside = attack().perturb(model, x, y, generator())
    assert torch.equal(inside, attack().perturb(model, x, y, generator()))


# --- errors --------------------------------------------------------------------------------------


def test_inputs_out_of_range_are_an_error_with_the_observed_range():
    model, x, y = problem()
    with pytest.raises(RangeError, match=r"values in \[.*, 2\d\d.*\], expected within \[0\.0, 1\.0\]"):
        attack().perturb(model, 255 * x, y, generator())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"step_size": 0.1, "relative_step": 2}, "exactly one"),
        ({}, "exactly one"),
        ({"relative_step": 2, "drop_fooled": True}, "drop_fooled"),
        ({"relative_step": 2, "epsilon": 1}, "epsilon"),
        ({"relative_step": 2, "steps": 0}, "steps"),
    ],
)
def test_contradictory_options_are_errors(options, text):
    with pytest.raises(ValidationError, match=text):
        Config(**{"norm": "linf", "eps": "8/255", "steps": 3, **options})


def test_the_spec_resolves_without_importing_torch_and_reads_fractions():
    spec = {"name": "pgd", "norm": "linf", "eps": "8/255", "steps": 20, "relative_step": 2}
    assert plugins.resolve("attacks", spec)["eps"] == 8 / 255


# --- units, boxes, examples left out, counts -------------------------------------------------------


@NORM
def test_budget_and_step_are_given_in_units_of_the_data(norm):
    model, x, y = problem()
    options = {"eps": 0.4, "step_size": 0.1, "unit": 0.5}
    halved = attack(norm, **options).perturb(model, x, y, generator())
    plain = attack(norm, eps=0.2, step_size=0.05).perturb(model, x, y, generator())
    assert torch.equal(halved, plain)
    # An eps given to perturb is in the data's units.
    assert torch.equal(
        attack(norm, **{**options, "eps": 9}).perturb(model, x, y, generator(), eps=0.2), plain
    )
    relative = attack(norm, eps=0.4, unit=0.5).perturb(model, x, y, generator())
    assert torch.equal(relative, attack(norm, eps=0.2).perturb(model, x, y, generator()))


@NORM
@pytest.mark.parametrize("keep", ["last", "worst"])
@pytest.mark.parametrize("start", ["random", "zero"])
def test_pixels_outside_a_narrower_box_are_moved_into_it(norm, keep, start):
    model, x, y = problem()
    far = 6 * x - 3
    pgd = attack(norm, box=[-1, 1], keep=keep, start=start)
    x_adv = pgd.perturb(model, far, y, generator(), low=None, high=None)
    assert (x_adv.min(), x_adv.max()) == (-1, 1)
    # Beyond the move into the box the budget holds.
    assert (NORMS[norm].size(x_adv - far.clamp(-1, 1)) <= 0.1 * (1 + 1e-9)).all()
    assert (NORMS[norm].size(x_adv - far) > 0.5).any()


@NORM
def test_a_box_of_one_s_own_or_none_stands_in_for_the_range_of_the_data(norm):
    model, x, y = problem()
    options = {"eps": 0.5, "keep": "worst"}

    def perturb(box, low, high):
        return attack(norm, box=box, **options).perturb(model, x, y, generator(), low=low, high=high)

    assert torch.equal(perturb("none", 0.0, 1.0), perturb("data", None, None))
    assert not torch.equal(perturb("none", 0.0, 1.0), perturb("data", 0.0, 1.0))
    assert torch.equal(perturb((0, 1), None, None), perturb("data", 0.0, 1.0))


@NORM
@pytest.mark.parametrize("drop", [False, True])
def test_examples_that_are_left_out_have_their_share_of_the_draws(norm, drop):
    model, x, y = problem(3)
    pgd = attack(norm, keep="worst", restarts=2, drop_fooled=drop)
    together = pgd.perturb(model, x, y, generator())
    active = torch.arange(N) % 3 == 1
    some = pgd.perturb(model, x, y, generator(), active=active)
    torch.testing.assert_close(some[active], together[active])
    assert torch.equal(some[~active], x[~active])
    with pytest.raises(ValueError, match="active"):
        attack(norm).perturb(model, x, y, generator(), active=active, return_iterates=True)


def test_passes_are_counted_as_a_hook_sees_them():
    model, x, y = problem(3)
    seen = []
    model.register_forward_hook(lambda module, args, out: seen.append((len(out), args[0].requires_grad)))
    pgd = attack(eps=0.15, keep="worst", drop_fooled=True, restarts=2)
    for _ in range(2):
        pgd.perturb(model, x, y, generator())
    assert pgd.forward_passes == sum(n for n, _ in seen)
    assert pgd.backward_passes == sum(n for n, gradient in seen if gradient)
    assert 0 < pgd.backward_passes < pgd.forward_passes
    plain = attack(steps=3)
    plain.perturb(model, x, y, generator())
    assert (plain.forward_passes, plain.backward_passes) == (3 * N, 3 * N)


def test_a_box_without_room_is_an_error():
    with pytest.raises(ValidationError, match="below the high end"):
        attack(box=[1, -1])
    with pytest.raises(ValidationError, match="unit"):
        attack(unit=0)
