"""ResNet-50 for ImageNet: names and numbers of timm and torchvision, with a choice of activation."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from pagrepro import plugins

SHAPE = (3, 32, 32)
SMALL = {"width": 2, "depths": [1, 2]}


def make(shape=SHAPE, classes=4, **options):
    options = plugins.resolve("models", {"name": "imagenet_resnet50", **options})
    return plugins.instantiate("models", options, shape, classes)


def uneven(model):
    """Batch normalisation as after training: statistics, scales and shifts that are not 0 or 1."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1)
                layer.bias.normal_(0, 0.1)
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 2)
    return model


def like(model, **options):
    other = make(**options)
    other.load_state_dict(model.state_dict())
    return other


def test_published_number_of_parameters():
    with torch.device("meta"):
        model = make((3, 224, 224), 1000)
    assert sum(value.numel() for value in model.parameters()) == 25_557_032


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_weights_and_logits_are_those_of_timm(activation):
    from timm.models.resnet import resnet50

    torch.manual_seed(0)
    reference = uneven(resnet50(act_layer=activation)).eval()
    model = make(classes=1000, activation=activation).eval()
    model.load_state_dict(reference.state_dict())
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(model(x), reference(model.normalize(x)))


def test_weights_and_logits_are_those_of_torchvision():
    from torchvision.models import resnet50

    torch.manual_seed(0)
    reference = uneven(resnet50(weights=None)).eval()
    model = make(classes=1000).eval()
    model.load_state_dict(reference.state_dict())
    x = torch.rand(2, *SHAPE)
    torch.testing.assert_close(model(x), reference(model.normalize(x)))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(model.normalize(x), (x - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert not any("normalize" in key for key in model.state_dict())
    assert {key.split(".")[0] for key in model.state_dict()} - {"layer1", "layer2", "layer3", "layer4"} == {
        "conv1", "bn1", model.final_layer,
    }  # fmt: skip


def test_by_default_statistics_stay_in_train_mode():
    torch.manual_seed(0)
    model, x = uneven(make(**SMALL)).train(), torch.rand(5, *SHAPE)
    torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]))
    usual = like(model, bn="train", **SMALL)
    torch.testing.assert_close(model(x), usual.eval()(x))
    assert not torch.allclose(model(x), usual.train()(x), atol=1e-3)


def test_activations_share_weights_but_not_numbers():
    torch.manual_seed(0)
    x, relu = torch.rand(5, *SHAPE), uneven(make(**SMALL))
    outputs = [like(relu, activation=name, **SMALL)(x) for name in ("relu", "gelu", "silu")]
    assert torch.equal(outputs[0], relu(x))
    assert not any(torch.allclose(a, b, atol=1e-4) for a, b in pairwise(outputs))


def test_input_gradient_bends_only_with_a_smooth_activation():
    """Along a short piece of line: constant for ReLU (and the max-pool), changing for the smooth ones."""
    for name, bends in (("relu", False), ("gelu", True), ("silu", True)):
        torch.manual_seed(1)
        model, gradients = uneven(make((3, 8, 8), activation=name, **SMALL)).double(), []
        for step in (0.0, 1e-9):
            x = (torch.linspace(0.1, 0.9, 192).view(1, 3, 8, 8).double() + step).requires_grad_()
            gradients.append(torch.autograd.grad(model(x)[0, 0], x)[0])
        assert torch.equal(*gradients) != bends


def test_it_takes_images_only():
    with pytest.raises(ValueError, match="imagenet_resnet50 takes images"):
        make((4,))
