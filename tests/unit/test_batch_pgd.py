"""PGD with one budget for the batch: its ball, its steps, closed forms, and what it must not compute."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import examples, smooth_convnet
from torch import nn

from pagrepro import plugins
from pagrepro.attacks.batch_pgd import BatchPgd, Config
from pagrepro.batch import Batch
from pagrepro.errors import RangeError

N, D, C = 8, 6, 4


def attack(**options):
    return BatchPgd(Config(**{"eps": 0.5, "steps": 4, **options}))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(D, 16), nn.Tanh(), nn.Linear(16, C)).double()
    x = torch.rand(N, D, dtype=torch.float64)
    return model, x, model(x).argmax(1)


def uniform(x, seed=0):
    return torch.rand(x.shape, generator=generator(seed)).double()


def gradient(model, x, y):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y), x)[0]


# --- the whole batch is one vector -----------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    eps=st.floats(0, 5),
    steps=st.integers(1, 4),
    relative_step=st.sampled_from([0.3, 2.0, 9.0]),
    box=st.sampled_from(["none", "data"]),
    seed=st.integers(0, 30),
)
def test_stays_in_the_ball_of_the_batch_and_in_the_box(eps, steps, relative_step, box, seed):
    model, x, y = problem(seed)
    x[0], x[1] = 0, 1
    pgd = attack(eps=eps, steps=steps, relative_step=relative_step, box=box)
    x_adv = pgd.perturb(model, x, y, generator(seed))
    assert (x_adv - x).norm() <= eps * (1 + 1e-9) + 1e-12
    assert box == "none" or (x_adv.min() >= 0 and x_adv.max() <= 1)
    assert torch.equal(x_adv, pgd.perturb(model, x, y, generator(seed)))
    assert not x_adv.requires_grad


def test_written_out():
    model, x, y = problem()
    eps, steps, relative = 0.5, 3, 2.5
    delta = uniform(x)
    delta = delta * (eps / 2) / delta.pow(2).sum().sqrt()
    for _ in range(steps):
        g = gradient(model, x + delta, y)
        delta = delta + relative * eps / steps * g / g.pow(2).sum().sqrt()
        norm = delta.pow(2).sum().sqrt()
        delta = delta * eps / norm if norm > eps else delta
    x_adv = attack(eps=eps, steps=steps, relative_step=relative).perturb(model, x, y, generator())
    torch.testing.assert_close(x_adv, x + delta)
    assert (x_adv - x).norm() == pytest.approx(eps)


def test_starts_bright_with_half_the_budget():
    model, x, y = problem()
    seen = []

    def record(z):
        seen.append((z - x).detach())
        return model(z)

    attack(steps=1).perturb(record, x, y, generator())
    assert seen[0].norm() == pytest.approx(0.25)
    assert (seen[0] >= 0).all()
    torch.testing.assert_close(seen[0] / seen[0].norm(), uniform(x) / uniform(x).norm())


def test_energy_goes_where_the_gradient_is():
    """A linear loss -w.x per image, of very different slopes: the optimum is eps w / ||w|| over the batch."""
    x, y = torch.zeros(4, 3).double() + 0.5, torch.zeros(4, dtype=torch.int64)
    slopes = torch.tensor([4.0, 1.0, 0.1, 0.0]).double()[:, None] * torch.tensor([1.0, -2.0, 0.5]).double()
    # Confident and wrong, so that the cross-entropy is linear in the logits.
    model = lambda z: torch.stack([torch.zeros(len(z)), 60 + (slopes * z).sum(1)], 1)  # noqa: E731
    x_adv = attack(eps=0.3, steps=200, relative_step=40).perturb(model, x, y, generator())
    torch.testing.assert_close(x_adv - x, 0.3 * slopes / slopes.norm(), atol=2e-3, rtol=0)
    lengths = (x_adv - x).norm(dim=1)
    assert lengths[0] > 0.9 * 0.3
    assert lengths.pow(2).mean().sqrt() == pytest.approx(0.3 / 2)  # eps / sqrt(B)


def test_an_example_depends_on_its_neighbours():
    """Unlike `pgd`: here the budget is shared."""
    model, x, y = problem()
    others = x.clone()
    others[1:] = 1 - others[1:]
    together, apart = (attack().perturb(model, z, y, generator()) for z in (x, others))
    assert not torch.allclose(together[0], apart[0])


def test_pixels_are_clipped_only_on_request():
    model, x, y = problem()
    free = attack(eps=4).perturb(model, x, y, generator())
    assert free.min() < 0 or free.max() > 1
    boxed = attack(eps=4, box="data").perturb(model, x, y, generator())
    assert (boxed.min() >= 0, boxed.max() <= 1) == (True, True)
    unbounded = attack(eps=4, box="data").perturb(model, x, y, generator(), low=None, high=None)
    torch.testing.assert_close(unbounded, free)


def test_small_budgets_are_not_lost_in_rounding():
    """1e-5 over a batch: below the rounding of single pixels near 1, yet a step along the gradient."""
    w = torch.ones(8, 400)
    model = lambda z: torch.stack([z[:, 0] * 0, 1e4 * ((z - 1) * w).sum(1)], 1)  # noqa: E731
    seen = []

    def record(z):
        seen.append(z)
        return model(z)

    x = torch.ones(8, 400)
    x_adv = attack(eps=1e-2, steps=3).perturb(record, x, torch.zeros(8, dtype=torch.int64), generator())
    assert (x_adv - x).norm() == pytest.approx(1e-2, rel=0.02)


# --- budgets, errors, side effects -----------------------------------------------------------------------


def test_budget_of_the_call_takes_the_place_of_the_configured_one():
    model, x, y = problem()
    wanted = attack(eps=0.2).perturb(model, x, y, generator())
    for eps in (0.2, torch.tensor(0.2), torch.tensor([0.2])):
        given = attack(eps=9).perturb(model, x, y, generator(), eps=eps)
        torch.testing.assert_close(given, wanted, atol=1e-8, rtol=0)
    assert torch.equal(attack(eps=0).perturb(model, x, y, generator()), x)
    with pytest.raises(ValueError, match="one budget for the whole batch, found 8"):
        attack().perturb(model, x, y, generator(), eps=torch.full((N,), 0.2))
    with pytest.raises(ValueError, match="eps must not be negative"):
        attack().perturb(model, x, y, generator(), eps=-0.1)


def test_inputs_out_of_range_are_an_error():
    model, x, y = problem()
    with pytest.raises(RangeError, match=r"expected within \[0.0, 1.0\]"):
        attack().perturb(model, 255 * x, y, generator())


def test_zero_and_infinite_gradients_do_no_harm():
    _, x, y = problem()
    start = x + 0.25 * uniform(x) / uniform(x).norm()
    constant = attack().perturb(lambda z: z[:, :C] * 0, x, y, generator())
    torch.testing.assert_close(constant, start)
    x[0, 0] = -1  # the square root has no derivative there

    def root(z):
        return torch.cat([z[:, :1].sqrt(), z[:, 1:C]], 1)

    broken = attack().perturb(root, x, y, generator(), low=None)
    assert broken.isfinite().all()
    assert not torch.allclose(broken, x + start - problem()[1])


def test_raises_the_loss_of_the_batch_and_leaves_no_gradient():
    model, x, y = problem()
    with torch.no_grad():
        x_adv = attack().perturb(model, x, y, generator())
    assert F.cross_entropy(model(x_adv), y) > F.cross_entropy(model(x), y)
    assert all(p.grad is None for p in model.parameters())


def test_adversarial_training_in_train_mode_updates_statistics_at_every_step():
    """The public training: the network is attacked as it trains."""
    options = {
        "name": "adversarial_training", "attack_mode": "train",
        "attack": {"name": "batch_pgd", "eps": 2, "steps": 3}, "budgets": [1, 4, 8],
    }  # fmt: skip
    objective = plugins.instantiate("objectives", plugins.resolve("objectives", options))
    model, (x, y, _) = smooth_convnet(), examples()
    terms = objective(model, Batch(x, y, torch.arange(5)), generator(1))
    assert model[1].num_batches_tracked == 3 + 1
    source = generator(1)
    eps = (1, 4, 8)[int(torch.randint(3, (), generator=source))]
    x_adv = attack(steps=3).perturb(model, x, y, source, eps=eps)
    torch.testing.assert_close(terms["loss"], F.cross_entropy(model(x_adv), y, reduction="none"))
