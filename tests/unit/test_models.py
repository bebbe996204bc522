"""Architectures: parameter counts, names, shapes, normalisation."""

import pytest
import torch
import torch.nn.functional as F

from pagrepro import plugins


def make(name, shape, classes, **options):
    return plugins.instantiate("models", plugins.resolve("models", {"name": name, **options}), shape, classes)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_resnet18_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert parameters(make("cifar_resnet18", (3, 32, 32), 10)) == 11_173_962


def test_resnet50_names_and_shapes_are_those_of_the_public_checkpoint():
    with torch.device("meta"):
        model = make("resnet50", (3, 32, 32), 10)
    # 23,520,842: ResNet-50 with a 3x3 stem and 10 classes.
    assert parameters(model) == 23_520_842
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", "linear.weight", "linear.bias", *(f"bn1.{n}" for n in norm)}
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for block in range(count):
            prefix = f"layer{stage}.{block}"
            expected |= {f"{prefix}.conv{i}.weight" for i in (1, 2, 3)}
            expected |= {f"{prefix}.bn{i}.{n}" for i in (1, 2, 3) for n in norm}
        expected |= {f"layer{stage}.0.shortcut.0.weight", *(f"layer{stage}.0.shortcut.1.{n}" for n in norm)}
    state = model.state_dict()
    assert set(state) == expected
    assert state["layer1.0.shortcut.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer4.0.conv2.weight"].shape == (512, 512, 3, 3)
    assert state["linear.weight"].shape == (10, 2048)
    # The stride sits in the 3x3 convolution of the first block of stages 2 to 4.
    strides = [getattr(model, f"layer{i}")[0].conv2.stride[0] for i in (1, 2, 3, 4)]
    assert strides == [1, 2, 2, 2]
    assert model.layer2[0].conv1.stride == model.layer2[1].conv2.stride == (1, 1)


@pytest.mark.parametrize("name", ["cifar_resnet18", "resnet50"])
def test_first_layer_normalises_and_is_not_stored(name):
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    torch.manual_seed(0)
    model = make(name, (3, 8, 8), 4, width=2, mean=mean, std=std).eval()
    torch.manual_seed(0)
    plain = make(name, (3, 8, 8), 4, width=2, mean=[0], std=[1]).eval()
    x = torch.rand(2, 3, 8, 8)
    normalised = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(model(x), plain(normalised))
    assert not any("normalize" in key for key in model.state_dict())
    assert not any("normalize" in key for key, _ in model.named_parameters())


@pytest.mark.parametrize("name", ["cifar_resnet18", "resnet50"])
def test_wrong_shapes_and_constants_are_errors(name):
    with pytest.raises(ValueError, match=r"\(2,\)"):
        make(name, (2,), 2)
    with pytest.raises(ValueError, match="2 values, expected 1 or 3"):
        make(name, (3, 8, 8), 4, mean=[0.1, 0.2])


@pytest.mark.parametrize("options", [{}, {"stem": "imagenet"}])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 13, 20)])
def test_resnet18_takes_any_image_size(options, shape):
    model = make("cifar_resnet18", shape, 7, width=2, **options)
    logits = model(torch.rand(3, *shape))
    assert logits.shape == (3, 7)
    assert (logits < 0).any()  # logits, not probabilities


def test_resnet18_strides_and_widths():
    model = make("cifar_resnet18", (3, 32, 32), 10, width=4).eval()
    sizes = []
    for i in (1, 2, 3, 4):
        getattr(model, f"layer{i}").register_forward_hook(
            lambda m, a, out: sizes.append(tuple(out.shape[1:]))
        )
    model(torch.rand(1, 3, 32, 32))
    assert sizes == [(4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]
    sizes.clear()
    model = make("cifar_resnet18", (3, 32, 32), 10, width=4, stem="imagenet").eval()
    model.layer1.register_forward_hook(lambda m, a, out: sizes.append(tuple(out.shape[1:])))
    model(torch.rand(1, 3, 32, 32))
    assert sizes == [(4, 8, 8)]


def test_resnet50_pools_four_by_four_at_32():
    model = make("resnet50", (3, 32, 32), 5, width=1).eval()
    maps = []
    model.layer4.register_forward_hook(lambda m, a, out: maps.append(out))
    logits = model(torch.rand(2, 3, 32, 32))
    assert maps[0].shape == (2, 32, 4, 4)
    torch.testing.assert_close(logits, model.linear(F.avg_pool2d(maps[0], 4).flatten(1)))


def test_blocks_end_in_relu_of_sum_with_shortcut():
    model = make("cifar_resnet18", (1, 8, 8), 3, width=2).eval()
    block, x = model.layer2[0], torch.randn(2, 2, 8, 8)
    inner = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    torch.testing.assert_close(block(x), F.relu(inner + block.shortcut(x)))
    identity, x = model.layer1[1], torch.randn(2, 2, 8, 8)
    assert len(identity.shortcut) == 0
    # With all batch-norm weights zero only the shortcut is left.
    torch.nn.init.zeros_(identity.bn2.weight)
    torch.testing.assert_close(identity(x), F.relu(x))


def test_toy_mlp_is_two_affine_maps_with_a_relu_between():
    model = make("toy_mlp", (2,), 2)
    assert parameters(model) == 2 * 32 + 32 + 32 * 2 + 2
    x = torch.randn(5, 2)
    first, _, last = model.layers
    torch.testing.assert_close(model(x), last((first(x)).clamp_min(0)))


def test_toy_mlp_hidden_layers_and_scale():
    torch.manual_seed(0)
    scaled = make("toy_mlp", (3, 2), 4, hidden=[5, 6], input_scale="1/50")
    torch.manual_seed(0)
    plain = make("toy_mlp", (3, 2), 4, hidden=[5, 6])
    x = torch.randn(7, 3, 2)
    torch.testing.assert_close(scaled(x), plain(x / 50))
    assert [layer.out_features for layer in plain.layers if hasattr(layer, "out_features")] == [5, 6, 4]
    assert len(make("toy_mlp", (2,), 2, hidden=[]).layers) == 1


def test_initialisation_follows_the_callers_seed():
    def weights(seed):
        torch.manual_seed(seed)
        return make("cifar_resnet18", (1, 8, 8), 3, width=2).conv1.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
