"""Frozen batch normalisation, single logits, and the networks that have them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pagrepro import plugins
from pagrepro.batchnorm import batch_norm_mode, evaluation_mode
from pagrepro.layers import FrozenBatchNorm1d, FrozenBatchNorm2d, as_pair, batch_norm, outputs


def make(name, shape, classes, **options):
    return plugins.instantiate("models", plugins.resolve("models", {"name": name, **options}), shape, classes)


# --- layers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "shape"), [(FrozenBatchNorm1d, (5, 3)), (FrozenBatchNorm2d, (5, 3, 4, 4))])
def test_frozen_batch_norm_is_a_scale_and_a_shift(layer, shape):
    frozen = layer(3)
    outer = nn.Sequential(frozen).train()
    assert not frozen.training
    with torch.no_grad():
        frozen.weight.copy_(torch.tensor([1.0, 2.0, -3.0]))
        frozen.bias.copy_(torch.tensor([0.5, 0.0, 1.0]))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    per_feature = (1, 3, *[1] * (len(shape) - 2))
    expected = x / (1 + 1e-5) ** 0.5 * frozen.weight.view(per_feature) + frozen.bias.view(per_feature)
    torch.testing.assert_close(outer(x), expected)
    assert frozen.num_batches_tracked == 0
    assert (frozen.running_mean == 0).all()
    outer(x).sum().backward()
    assert frozen.weight.grad is not None
    assert frozen.bias.grad is not None


def test_frozen_batch_norm_stays_frozen_whatever_is_done_to_its_mode():
    model = nn.Sequential(FrozenBatchNorm2d(2), nn.BatchNorm2d(2))
    with evaluation_mode(model):
        pass
    for mode in ("train", "eval", "frozen"):
        with batch_norm_mode(model, mode):
            model(torch.rand(3, 2, 4, 4))
    model.eval().train()
    assert not model[0].training
    assert model[1].training
    assert model[0].num_batches_tracked == 0
    assert model[1].num_batches_tracked == 1


def test_frozen_batch_norm_has_the_weights_of_the_usual_one():
    assert FrozenBatchNorm2d(4).state_dict().keys() == nn.BatchNorm2d(4).state_dict().keys()


def test_kinds_of_batch_norm():
    assert type(batch_norm("train")(3)) is nn.BatchNorm2d
    assert type(batch_norm("frozen")(3)) is FrozenBatchNorm2d
    assert type(batch_norm("removed")(3)) is nn.Identity
    with pytest.raises(ValueError, match="train, frozen, removed"):
        batch_norm("off")


def test_a_pair_has_the_binary_cross_entropy_of_its_logit():
    f = torch.tensor([[2.0], [-0.3], [60.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([1, 0, 0])
    pair = as_pair(f)
    torch.testing.assert_close(pair[:, 1] - pair[:, 0], f[:, 0])
    loss = F.cross_entropy(pair, y, reduction="none")
    binary = F.binary_cross_entropy_with_logits(f[:, 0], y.double(), reduction="none")
    torch.testing.assert_close(loss, binary)
    torch.testing.assert_close(*(torch.autograd.grad(values.sum(), f)[0] for values in (loss, binary)))


def test_outputs_of_the_last_layer():
    assert (outputs(True, 2, "m"), outputs(False, 2, "m"), outputs(False, 7, "m")) == (1, 2, 7)
    with pytest.raises(ValueError, match="model m: single_logit is for 2 classes, found 3"):
        outputs(True, 3, "m")


# --- spheres_mlp -----------------------------------------------------------------------------------------


def test_spheres_mlp_is_the_network_of_the_paper():
    model = make("spheres_mlp", (500,), 2)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Linear", "ReLU", "FrozenBatchNorm1d"] * 2 + ["Linear"]
    sizes = 500 * 1000 + 1000 + 1000 * 1000 + 1000 + 1000 + 1
    assert sum(p.numel() for p in model.parameters()) == sizes + 4 * 1000


def test_spheres_mlp_written_out():
    torch.manual_seed(0)
    model = make("spheres_mlp", (4,), 2, hidden=[6, 5]).train()
    with torch.no_grad():
        for layer in model.layers:
            if isinstance(layer, FrozenBatchNorm1d):
                layer.weight.uniform_(0.5, 2)
                layer.bias.normal_()
    x = torch.randn(7, 4)
    first, _, scale, second, _, other, last = model.layers
    h = F.relu(first(x)) / (1 + 1e-5) ** 0.5 * scale.weight + scale.bias
    f = last(F.relu(second(h)) / (1 + 1e-5) ** 0.5 * other.weight + other.bias)
    torch.testing.assert_close(model(x), torch.cat([-f / 2, f / 2], 1))
    # One example at a time, in train mode: examples do not interact.
    torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]))


def test_spheres_mlp_without_scale_and_shift_is_the_plain_network():
    mlp = make("toy_mlp", (2, 2), 3, hidden=[6, 5])
    plain = make("spheres_mlp", (2, 2), 3, hidden=[6, 5], frozen_bn_affine=False, single_logit=False)
    plain.load_state_dict(mlp.state_dict())
    x = torch.randn(7, 2, 2)
    torch.testing.assert_close(plain(x), mlp(x))


def test_a_single_logit_is_for_two_classes():
    for name, shape in (("spheres_mlp", (4,)), ("cifar_resnet18", (3, 8, 8)), ("resnet18", (3, 8, 8))):
        with pytest.raises(ValueError, match=f"model {name}: single_logit"):
            make(name, shape, 3, single_logit=True)


# --- cifar_resnet18 --------------------------------------------------------------------------------------


def test_frozen_cifar_resnet18_has_the_names_of_the_usual_one_and_its_numbers_in_eval_mode():
    usual, frozen = (make("cifar_resnet18", (3, 8, 8), 4, width=2, bn=bn) for bn in ("train", "frozen"))
    assert usual.state_dict().keys() == frozen.state_dict().keys()
    x = torch.rand(6, 3, 8, 8)
    for _ in range(3):
        usual.train()(x)  # statistics that are not 0 and 1
    frozen.load_state_dict(usual.state_dict())
    expected = usual.eval()(x)
    torch.testing.assert_close(frozen.train()(x), expected)
    assert all(torch.equal(usual.state_dict()[key], value) for key, value in frozen.state_dict().items())


def test_removed_batch_norm_leaves_convolutions_and_shortcuts():
    model = make("cifar_resnet18", (3, 8, 8), 4, width=2, bn="removed")
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    assert all("bn" not in key for key in model.state_dict())
    block, x = model.layer2[0], torch.randn(2, 2, 8, 8)
    inner = block.conv2(F.relu(block.conv1(x)))
    torch.testing.assert_close(block(x), F.relu(inner + block.shortcut[0](x)))


def test_single_logit_of_cifar_resnet18():
    model = make("cifar_resnet18", (3, 8, 8), 2, width=2, single_logit=True).eval()
    assert model.linear.out_features == 1
    logits = model(torch.rand(5, 3, 8, 8))
    torch.testing.assert_close(logits[:, 0], -logits[:, 1])


# --- resnet18 --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imagenet_like():
    """A torchvision ResNet-18 with random weights and statistics, in eval mode."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    network = resnet18(weights=None)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network.eval()


def test_resnet18_is_torchvisions_on_normalised_images(imagenet_like):
    model = make("resnet18", (3, 28, 28), 1000).eval()
    model.network.load_state_dict(imagenet_like.state_dict())
    x = torch.rand(2, 3, 28, 28)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = imagenet_like((x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    torch.testing.assert_close(model(x), expected)
    assert not any("normalize" in key for key in model.state_dict())
    frozen = make("resnet18", (3, 28, 28), 1000, bn="frozen").train()
    frozen.load_state_dict(model.state_dict())
    torch.testing.assert_close(frozen(x), expected)


@pytest.mark.parametrize("side", [64, 224])
def test_resnet18_without_normalisation_is_torchvisions(imagenet_like, side):
    """The networks on ImageNet-64: the stem and classes of ImageNet, images in [0, 1] as they are."""
    model = make("resnet18", (3, side, side), 1000, mean=[0], std=[1]).eval()
    model.network.load_state_dict(imagenet_like.state_dict())
    x = torch.rand(2, 3, side, side)
    assert torch.equal(model(x), imagenet_like(x))


def test_one_channel_is_repeated_and_three_are_taken():
    model = make("resnet18", (1, 28, 28), 2, bn="frozen", single_logit=True)
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(model(x), model(x.repeat(1, 3, 1, 1)))
    assert model(x).shape == (2, 2)
    assert model.network.fc.out_features == 1
    with pytest.raises(ValueError, match="1 or 3 channels, found 2"):
        make("resnet18", (2, 28, 28), 2)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        make("resnet18", (5,), 2)


def test_constants_that_leave_out_the_way_to_the_unit_interval():
    """Normalising 2x - 1 by ImageNet's constants is normalising x by those that the docstring gives."""
    m, s = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    raw = make("resnet18", (3, 8, 8), 2, mean=[0.7425, 0.728, 0.703], std=[0.1145, 0.112, 0.1125])
    x = torch.rand(2, 3, 8, 8)
    expected = (2 * x - 1 - m.view(3, 1, 1)) / s.view(3, 1, 1)
    torch.testing.assert_close(raw.normalize(x), expected, rtol=1e-5, atol=1e-5)


def test_removed_batch_norm_of_resnet18():
    model = make("resnet18", (3, 8, 8), 2, bn="removed")
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 2)
