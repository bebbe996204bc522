"""Objectives: parameter gradients in float64 against formulas written out here, and finite differences."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from networks import (
    CLASSES,
    IMAGE,
    examples,
    flat_gradient,
    relative_error,
    slope,
    smooth_convnet,
    with_batch_statistics,
)  # fmt: skip
from pydantic import ValidationError
from torch import nn

from pagrepro import plugins
from pagrepro.augment import Augment, draw
from pagrepro.batch import Batch
from pagrepro.objectives import cosine_alignment

MODES = ["train", "eval", "frozen"]
WEIGHT = 0.7


def objective(name="cosine_alignment", **options):
    if name == "cosine_alignment":
        options.setdefault("weight", WEIGHT)
    return plugins.instantiate("objectives", plugins.resolve("objectives", {"name": name, **options}))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make_batch(augment=None, n=5):
    x, y, g = examples(n)
    drawn = draw(augment, n, IMAGE, generator(5)) if augment else None
    return Batch(x, y, torch.arange(n), drawn, {"targets": lambda index, x: g[index]})


def gradient_of_loss(function, model, batch, seed=0):
    return flat_gradient(function(model, batch, generator(seed))["loss"].mean(), model)


# --- reference: eq. 1 and 2, one forward pass per class ------------------------------------------


def penalty(model, batch, mode, value=lambda z: z, classes=range(CLASSES)):
    """sum_t Lcos per example, (B,), with the network's batch norm in `mode`; no augmentation."""
    if mode == "frozen":
        statistics = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
        with_batch_statistics(model, batch.x)
    model.train(mode == "train")
    total = 0
    for t in classes:
        x = batch.x.clone().requires_grad_()
        v = torch.autograd.grad(value(model(x))[:, t].sum(), x, create_graph=True)[0].flatten(1)
        u = batch.fields["targets"](batch.index, x)[:, t].flatten(1)
        total = total + 1 - (v * u).sum(1) / (v.pow(2).sum(1).sqrt() * u.pow(2).sum(1).sqrt())
    model.train()
    if mode == "frozen":
        # In place would change what the graph has saved.
        for name, buffer in statistics.items():
            module, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(module), attribute, buffer)
    return total


def reference_loss(model, batch, mode, **options):
    return (F.cross_entropy(model(batch.x), batch.y) + WEIGHT * penalty(model, batch, mode, **options)).mean()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["loop", "batched", "recompute"])
def test_equals_the_written_out_formula(mode, method):
    model, batch = smooth_convnet(), make_batch()
    terms = objective(batchnorm=mode, method=method)(model, batch, generator())
    expected = reference_loss(model, batch, mode)
    torch.testing.assert_close(terms["loss"].mean(), expected, rtol=1e-12, atol=0)
    found = flat_gradient(terms["loss"].mean(), model)
    assert relative_error(found, flat_gradient(expected, model)) < 1e-10
    torch.testing.assert_close(terms["alignment"], penalty(model, batch, mode).detach())
    torch.testing.assert_close(terms["cosine"], 1 - terms["alignment"] / CLASSES)
    torch.testing.assert_close(terms["cross_entropy"] + WEIGHT * terms["alignment"], terms["loss"].detach())


@pytest.mark.parametrize("options", [
    {}, {"gradient_of": "log_probability"}, {"reduce": "mean"}, {"shared_forward": False}, {"classes": 2},
    {"drop_own_class": True}, {"cosine_floor": "product", "cosine_eps": 1e-8},
])  # fmt: skip
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_finite_differences(mode, options):
    model, batch = smooth_convnet(), make_batch()
    function = objective(batchnorm=mode, **options)
    gradient = gradient_of_loss(function, model, batch)
    for seed in range(2):
        direction = torch.randn(len(gradient), dtype=torch.float64, generator=generator(seed))
        numeric = slope(lambda: function(model, batch, generator())["loss"].mean(), model, direction)
        assert float(gradient @ direction) == pytest.approx(numeric, rel=1e-5)


def test_finite_differences_with_frozen_statistics():
    """The loss whose slope it is: cross-entropy with batch statistics, alignment with those of theta_0."""
    model, batch = smooth_convnet(), make_batch()
    gradient = gradient_of_loss(objective(batchnorm="frozen"), model, batch)
    constant = smooth_convnet()
    with_batch_statistics(constant, batch.x)

    def loss():
        nn.utils.vector_to_parameters(
            nn.utils.parameters_to_vector(model.parameters()), constant.parameters()
        )
        return (F.cross_entropy(model(batch.x), batch.y) + WEIGHT * penalty(constant, batch, "eval")).mean()

    direction = torch.randn(len(gradient), dtype=torch.float64, generator=generator())
    assert float(gradient @ direction) == pytest.approx(slope(loss, model, direction), rel=1e-5)


def test_log_probabilities_equal_their_formula():
    model, batch = smooth_convnet(), make_batch()
    found = gradient_of_loss(objective(gradient_of="log_probability"), model, batch)
    expected = reference_loss(model, batch, "train", value=lambda z: z - z.exp().sum(1, keepdim=True).log())
    assert relative_error(found, flat_gradient(expected, model)) < 1e-10
    assert relative_error(found, gradient_of_loss(objective(), model, batch)) > 0.1


def test_every_image_repeated_per_class_is_another_objective_in_train_mode():
    """The trap: replicas of other classes share the batch statistics. In eval mode it is the same."""
    batch = make_batch()
    for mode, same in (("train", False), ("eval", True)):
        model = smooth_convnet()
        found = gradient_of_loss(objective(batchnorm=mode), model, batch)
        model.train(mode == "train")
        x = batch.x.repeat_interleave(CLASSES, 0).requires_grad_()
        t = torch.arange(CLASSES).repeat(len(batch.y))
        v = torch.autograd.grad(model(x).gather(1, t[:, None]).sum(), x, create_graph=True)[0]
        u = batch.fields["targets"](batch.index, x).flatten(0, 1)
        cosines = F.cosine_similarity(v.flatten(1), u.flatten(1))
        repeated = (1 - cosines).view(len(batch.y), CLASSES).sum(1)
        model.train()
        loss = (F.cross_entropy(model(batch.x), batch.y) + WEIGHT * repeated).mean()
        error = relative_error(flat_gradient(loss, model), found)
        assert (error < 1e-10) if same else (error > 0.1)


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"drop_own_class": True}, {"reduce": "mean"}])
def test_a_random_class_subset_is_unbiased(options):
    """The average over all subsets of two classes is the full term, in value and gradient."""
    model, batch = smooth_convnet(), make_batch()
    config = cosine_alignment.Config(weight=WEIGHT, classes=2, **options)
    seeds = {}
    for seed in range(200):
        chosen = cosine_alignment._choose(config, CLASSES, generator(seed)).tolist()
        assert len(set(chosen)) == 2
        seeds.setdefault(tuple(sorted(chosen)), []).append(seed)
    assert sorted(seeds) == list(itertools.combinations(range(CLASSES), 2))
    assert min(map(len, seeds.values())) > 12  # 200 / 6 = 33 expected
    subset, full = objective(classes=2, **options), objective(**options)
    terms = [subset(model, batch, generator(group[0])) for group in seeds.values()]
    mean = torch.stack([t["loss"].mean() for t in terms]).mean()
    expected = full(model, batch, generator())
    torch.testing.assert_close(mean, expected["loss"].mean())
    torch.testing.assert_close(torch.stack([t["alignment"] for t in terms]).mean(0), expected["alignment"])
    assert relative_error(flat_gradient(mean, model), flat_gradient(expected["loss"].mean(), model)) < 1e-10
    assert terms[0]["loss"].mean() != expected["loss"].mean()


def test_reduce_and_own_class():
    model, batch = smooth_convnet(), make_batch()
    run = lambda **options: objective(**options)(model, batch, generator())["alignment"]  # noqa: E731
    torch.testing.assert_close(run(reduce="mean"), run() / CLASSES)
    own = penalty(model, batch, "train", classes=[0]).detach()
    only_zero = Batch(batch.x, torch.zeros_like(batch.y), batch.index, None, batch.fields)
    dropped = objective(drop_own_class=True)(model, only_zero, generator())["alignment"]
    torch.testing.assert_close(dropped, run() - own)
    mean = objective(drop_own_class=True, reduce="mean")(model, only_zero, generator())["alignment"]
    torch.testing.assert_close(mean, dropped / (CLASSES - 1))


@pytest.mark.parametrize("floor", ["each", "product"])
def test_a_zero_direction_costs_one_and_pulls_nowhere(floor):
    """An image that is its own representative: g = 0."""
    model, batch = smooth_convnet(), make_batch()
    g = batch.fields["targets"](batch.index, batch.x).clone()
    g[0, 1] = 0
    g[2] = 0
    batch.fields = {"targets": lambda index, x: g[index]}
    full = objective(cosine_floor=floor, batchnorm="eval")
    terms = full(model, batch, generator())
    assert all(value.isfinite().all() for value in terms.values())
    torch.testing.assert_close(terms["alignment"][2], torch.tensor(float(CLASSES), dtype=torch.float64))
    gradient = flat_gradient(terms["loss"][2], model)
    cross_entropy = flat_gradient(F.cross_entropy(model(batch.x), batch.y, reduction="none")[2], model)
    torch.testing.assert_close(gradient, cross_entropy)
    # Reported cosines: example 0 over its three known pairs, example 2 stands at the mean of the others.
    torch.testing.assert_close(terms["cosine"][0], (CLASSES - terms["alignment"][0]) / (CLASSES - 1))
    torch.testing.assert_close(terms["cosine"][2], terms["cosine"][[0, 1, 3, 4]].mean())
    g.zero_()
    assert (full(model, batch, generator())["cosine"] == 0).all()


def test_a_dead_network_gives_finite_terms_and_gradients():
    model, batch = smooth_convnet(), make_batch()
    nn.init.zeros_(model[-1].weight)
    gradient = gradient_of_loss(objective(cosine_floor="product", cosine_eps=1e-8), model, batch)
    assert gradient.isfinite().all()


def test_statistics_are_updated_once_per_step():
    for options, updates in (({}, 1), ({"batchnorm": "eval"}, 1), ({"batchnorm": "frozen"}, 1),
                             ({"shared_forward": False}, 2), ({"method": "recompute"}, 1)):  # fmt: skip
        model, batch = smooth_convnet(), make_batch()
        model[1].momentum, before = 0.1, model[1].running_mean.clone()
        objective(**options)(model, batch, generator())["loss"].mean().backward()
        assert model[1].num_batches_tracked == updates, options
        # r <- 0.9 r + 0.1 m, once or twice with the same m.
        mean = model[0](batch.x).mean((0, 2, 3))
        torch.testing.assert_close(model[1].running_mean - mean, 0.9**updates * (before - mean))
        assert all(m.training for m in model.modules())


def test_two_forward_passes_give_the_same_gradient():
    model, batch = smooth_convnet(), make_batch()
    shared = gradient_of_loss(objective(), model, batch)
    assert relative_error(gradient_of_loss(objective(shared_forward=False), model, batch), shared) < 1e-10


# --- augmentation --------------------------------------------------------------------------------

CROP_FLIP = Augment(crop_padding=2, flip=True)


def augmented_gradients(model, batch):
    """v_t with respect to the un-augmented x, (B, C, *shape)."""
    x = batch.x.clone().requires_grad_()
    logits = model(batch.draw.apply(x))
    return torch.stack(
        [torch.autograd.grad(logits[:, t].sum(), x, retain_graph=True)[0] for t in range(CLASSES)], 1
    )


def cosines_of(v, u):
    return F.cosine_similarity(v.flatten(2), u.flatten(2), dim=2)


def test_pre_differentiates_with_respect_to_the_image_before_augmentation():
    model, batch = smooth_convnet().eval(), make_batch(CROP_FLIP)
    v, g = augmented_gradients(model, batch), batch.fields["targets"](batch.index, None)
    terms = objective()(model, batch, generator())
    torch.testing.assert_close(terms["cosine"], cosines_of(v, g).mean(1))
    torch.testing.assert_close(terms["cross_entropy"], F.cross_entropy(
        model(batch.augmented()), batch.y, reduction="none").detach())  # fmt: skip
    # Masked: only pixels that some class's gradient can reach count.
    visible = (v.abs().sum((1, 2)) > 0)[:, None, None]
    masked = objective(mask_invisible=True)(model, batch, generator())
    torch.testing.assert_close(masked["cosine"], cosines_of(v, g * visible).mean(1))
    assert not visible.all()


def test_directions_along_the_gradient_have_cosine_one_in_every_mode_that_moves_them():
    """Targets that are exactly the gradients: pre needs no change; post must crop and flip them alike."""
    model = smooth_convnet().eval()
    for augment in (Augment(flip=True), CROP_FLIP):
        batch = make_batch(augment)
        v = augmented_gradients(model, batch)
        batch.fields = {"targets": lambda index, x, v=v: v[index]}
        for mode in ("pre", "post"):
            terms = objective(augment_gradient=mode)(model, batch, generator())
            if mode == "pre" or augment.crop_padding == 0:
                torch.testing.assert_close(terms["cosine"], torch.ones(5, dtype=torch.float64))
            else:
                # Padding pixels have a gradient but no target.
                assert (terms["cosine"] < 1).all()
                assert (terms["cosine"] > 0.3).all()


def test_post_crops_and_flips_the_directions_one_by_one():
    model, batch = smooth_convnet().eval(), make_batch(CROP_FLIP)
    g = batch.fields["targets"](batch.index, None)
    moved = torch.stack([batch.draw.apply(g[:, t], fill=0.0) for t in range(CLASSES)], 1)
    z = batch.augmented().requires_grad_()
    logits = model(z)
    v = torch.stack(
        [torch.autograd.grad(logits[:, t].sum(), z, retain_graph=True)[0] for t in range(CLASSES)], 1
    )
    terms = objective(augment_gradient="post")(model, batch, generator())
    torch.testing.assert_close(terms["cosine"], cosines_of(v, moved).mean(1))


def test_recompute_reads_the_field_at_the_augmented_image():
    model, batch = smooth_convnet().eval(), make_batch(CROP_FLIP)
    seen = []
    representative = torch.rand(CLASSES, *IMAGE, dtype=torch.float64)

    def read(index, x):
        seen.append(x)
        return representative - x[:, None]

    batch.fields = {"targets": read}
    objective(augment_gradient="recompute")(model, batch, generator())
    objective(augment_gradient="pre")(model, batch, generator())
    torch.testing.assert_close(seen[0], batch.augmented())
    torch.testing.assert_close(seen[1], batch.x)
    assert not seen[0].requires_grad


def test_the_batch_is_left_as_it_was():
    model, batch = smooth_convnet(), make_batch(CROP_FLIP)
    x = batch.x.clone()
    objective()(model, batch, generator())["loss"].mean().backward()
    assert torch.equal(batch.x, x)
    assert not batch.x.requires_grad
    assert batch.x.grad is None


def test_wrong_options_are_errors():
    with pytest.raises(ValidationError, match="mask_invisible"):
        cosine_alignment.Config(weight=1, mask_invisible=True, augment_gradient="post")
    with pytest.raises(ValidationError, match="weight"):
        cosine_alignment.Config(weight=-1)
    with pytest.raises(ValueError, match="classes: 5, but there are 4"):
        objective(classes=5)(smooth_convnet(), make_batch(), generator())


# --- cross-entropy and adversarial training ------------------------------------------------------


def test_cross_entropy_is_that_of_the_augmented_images():
    model, batch = smooth_convnet(), make_batch(CROP_FLIP)
    terms = objective("cross_entropy")(model, batch, generator())
    log_p = model(batch.augmented()).log_softmax(1)
    torch.testing.assert_close(terms["loss"], -log_p[torch.arange(5), batch.y])
    gradient = flat_gradient(terms["loss"].mean(), model)
    direction = torch.randn_like(gradient)
    loss = lambda: objective("cross_entropy")(model, batch, generator())["loss"].mean()  # noqa: E731
    assert float(gradient @ direction) == pytest.approx(slope(loss, model, direction), rel=1e-5)


ATTACK = {"name": "pgd", "norm": "linf", "eps": "8/255", "steps": 3, "relative_step": 2}


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_adversarial_training_is_cross_entropy_at_the_attacked_images(mode):
    model, batch = smooth_convnet(), make_batch(CROP_FLIP)
    terms = objective("adversarial_training", attack=ATTACK, attack_mode=mode)(model, batch, generator(2))
    assert all(p.grad is None for p in model.parameters())  # nothing left by the attack
    attack = plugins.instantiate("attacks", plugins.resolve("attacks", ATTACK))
    model.train(mode == "train")
    x_adv = attack.perturb(model, batch.augmented(), batch.y, generator(2))
    model.train()
    expected = F.cross_entropy(model(x_adv), batch.y)
    torch.testing.assert_close(terms["loss"].mean(), expected)
    terms["loss"].mean().backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert relative_error(found, flat_gradient(expected, model)) < 1e-10
    assert expected > F.cross_entropy(model(batch.augmented()), batch.y)


def test_adversarial_training_updates_statistics_once_and_restores_modes():
    model, batch = smooth_convnet(), make_batch()
    model[1].eval()
    objective("adversarial_training", attack=ATTACK)(model, batch, generator())
    assert model[4].num_batches_tracked == 1
    assert not model[1].training
    assert model[4].training
    # As it trains: every attack step is a forward pass in train mode.
    objective("adversarial_training", attack=ATTACK, attack_mode="train")(model, batch, generator())
    assert model[4].num_batches_tracked == 1 + 3 + 1


def test_adversarial_training_draws_a_budget_for_every_batch():
    model, batch = smooth_convnet().eval(), make_batch()
    budgets = [0.5, 1, 4]
    attack = {"name": "pgd", "norm": "l2", "eps": 9, "steps": 2, "relative_step": 2, "box": "none"}
    function = objective("adversarial_training", attack=attack, budgets=budgets)
    inputs, seen = [], []
    model.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach()))
    for seed in range(40):
        terms = function(model, batch, generator(seed))
        sizes = (inputs[-1] - batch.x).flatten(1).norm(dim=1)
        # Two steps of the length of the budget end on its sphere, or inside; a smaller budget's never.
        budget = next(b for b in budgets if sizes.max() <= b * (1 + 1e-9))
        assert sizes.max() > 0.8 * budget
        seen.append(budget)
        assert torch.equal(terms["loss"], function(model, batch, generator(seed))["loss"])
    assert all(5 <= seen.count(b) <= 25 for b in budgets)  # 13 expected


def test_adversarial_training_draws_nothing_for_its_own_budget():
    """A list of one draws before the starts; without a list the starts come first, as they always did."""
    model, batch = smooth_convnet(), make_batch()
    plain = objective("adversarial_training", attack=ATTACK)(model, batch, generator())["loss"]
    attack = plugins.instantiate("attacks", plugins.resolve("attacks", ATTACK))
    x_adv = attack.perturb(model.eval(), batch.x, batch.y, generator())
    expected = F.cross_entropy(model.train()(x_adv), batch.y, reduction="none")
    assert torch.equal(plain, expected)
    source = generator()
    torch.randint(1, (), generator=source)
    x_adv = attack.perturb(model.eval(), batch.x, batch.y, source)
    listed = objective("adversarial_training", attack=ATTACK, budgets=["8/255"])(
        model.train(), batch, generator()
    )
    assert torch.equal(listed["loss"], F.cross_entropy(model(x_adv), batch.y, reduction="none"))
    for budgets in ([], [-1]):
        with pytest.raises(ValueError, match="budgets"):
            objective("adversarial_training", attack=ATTACK, budgets=budgets)


def test_adversarial_training_on_unbounded_data():
    torch.manual_seed(0)
    model = nn.Linear(2, 2).double()
    x = torch.tensor([[-50.0, -100.0], [30.0, 60.0]], dtype=torch.float64)
    batch = Batch(x, torch.tensor([0, 1]), torch.arange(2), low=None, high=None)
    terms = objective("adversarial_training", attack={**ATTACK, "norm": "l2", "eps": 15})(
        model, batch, generator()
    )
    assert terms["loss"].isfinite().all()
