"""Batch-norm modes: values, exact gradients with constant statistics, and what they leave behind."""

import pytest
import torch
from networks import examples, relative_error, smooth_convnet, with_batch_statistics
from torch import nn

from pagrepro.batchnorm import batch_norm_mode, evaluation_mode
from pagrepro.gradients import class_gradients


def test_frozen_has_the_values_of_train_mode():
    model, (x, _, _) = smooth_convnet(), examples()
    with batch_norm_mode(model, "frozen"):
        frozen = model(x)
    torch.testing.assert_close(frozen, model(x))


def test_frozen_gradients_take_the_statistics_as_constants():
    model, (x, _, _) = smooth_convnet(), examples()
    with batch_norm_mode(model, "frozen"):
        frozen = class_gradients(model, x)
    trained = class_gradients(model, x)
    with_batch_statistics(model, x)
    torch.testing.assert_close(frozen, class_gradients(model.eval(), x), rtol=1e-11, atol=1e-14)
    assert relative_error(trained, frozen) > 0.1  # the difference is not small


def test_only_train_mode_couples_the_examples():
    model, (x, _, _) = smooth_convnet(), examples()
    for mode, coupled in (("train", True), ("eval", False), ("frozen", False)):
        z = x.clone().requires_grad_()
        with batch_norm_mode(model, mode):
            gradient = torch.autograd.grad(model(z)[0].pow(2).sum(), z)[0]
        assert (gradient[1:].abs().max() > 1e-6) == coupled


@pytest.mark.parametrize("mode", ["train", "eval", "frozen"])
def test_running_statistics_move_in_train_mode_only(mode):
    model, (x, _, _) = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).double(), examples()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with batch_norm_mode(model, mode):
        model(x)
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert bool(moved) == (mode == "train")
    assert model[1].training
    model(x)
    assert model[1].num_batches_tracked == (2 if mode == "train" else 1)


@pytest.mark.parametrize("mode", ["eval", "frozen"])
def test_layers_in_eval_mode_stay_there_and_errors_restore(mode):
    model, (x, _, _) = smooth_convnet(), examples()
    model[1].eval()
    with batch_norm_mode(model, mode):
        assert not model[1].training
    with pytest.raises(RuntimeError, match="channels"), batch_norm_mode(model, mode):
        model(x.expand(-1, 2, -1, -1))  # two channels where one is expected
    assert not model[1].training
    assert model[4].training
    assert "forward" not in vars(model[4])
    with pytest.raises(ValueError, match="allowed: train, eval, frozen"), batch_norm_mode(model, "off"):
        model(x)


def test_evaluation_mode_restores_every_module():
    model = smooth_convnet()
    model[4].eval()
    with evaluation_mode(model):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model] == [True] * 4 + [False] + [True] * 4
    assert model.training
