"""What the replay of a training step says about objectives that do and do not keep the protocol."""

import torch
from linear_models import request
from torch import nn

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.evaluations import protocol
from pagrepro.replay import ReplayRequest

PGD = {"name": "pgd", "norm": "l2", "eps": 0.5, "steps": 2, "relative_step": 2}


def replay(objective, weight=None, directions=None):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((6, 2), generator=generator, dtype=torch.float64)
    directions = torch.randn((6, 2, 2), generator=generator) if directions is None else directions
    batch = Batch(
        x,
        torch.arange(6) % 2,
        torch.arange(6),
        None,
        {"targets": lambda rows, x: directions[rows].to(x)},
        None,
        None,
    )
    spec = {"seed": 0, "task": {"objective": plugins.resolve("objectives", objective)}}
    model = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2))
    ask = request(model, x, batch.y, build=ReplayRequest, batch=batch, run_spec=spec)
    return protocol.measure(protocol.Config(), ask), model


def test_alignment_training_sees_training_images_only_and_ignores_the_scale_of_gradients():
    found, model = replay({"name": "cosine_alignment", "weight": 0.5})
    assert found.values["max_input_shift"] == 0
    assert found.values["forward_passes"] == 1
    assert found.values["alignment_scale_change"] < 1e-9
    assert found.flags == []
    assert not any(p.requires_grad for p in model.parameters())  # the measured network is left alone
    assert model[1].num_batches_tracked == 0


def test_adversarial_training_is_shown_attacked_images():
    found, _ = replay({"name": "adversarial_training", "attack": PGD})
    assert found.values["max_input_shift"] > 0.1
    assert found.values["forward_passes"] == 3
    assert "alignment_scale_change" not in found.values
    clean, _ = replay({"name": "cross_entropy"})
    assert clean.values["max_input_shift"] == 0


def test_a_norm_penalty_would_be_noticed(monkeypatch):
    """An objective that adds |grad|^2 to its loss: doubling the logits changes it."""

    def objective(model, batch, generator):
        x = batch.x.detach().requires_grad_()
        logits = model(x)
        ce = nn.functional.cross_entropy(logits, batch.y, reduction="none")
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x, create_graph=True)
        return {"loss": ce + gradient.square().sum(1), "cross_entropy": ce.detach()}

    monkeypatch.setattr(ReplayRequest, "objective", lambda self: objective)
    found, _ = replay({"name": "cross_entropy"})
    assert found.values["alignment_scale_change"] > 1e-3


def test_log_probabilities_have_no_scale_test():
    found, _ = replay({"name": "cosine_alignment", "weight": 1, "gradient_of": "log_probability"})
    assert found.values["max_input_shift"] == 0
    assert "alignment_scale_change" not in found.values
    assert found.flags == ["log_probabilities_depend_on_scale"]
