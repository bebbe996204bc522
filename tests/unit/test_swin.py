"""The Swin transformer: the published sizes, its attention written out, and its second derivatives."""

import pytest
import torch
import torch.nn.functional as F
from networks import flat_gradient

from pagrepro import plugins
from pagrepro.batch import Batch
from pagrepro.curvature import loss_gradient
from pagrepro.pretrained import load_pretrained
from pagrepro.problems import OptionError

SHAPE, CLASSES = (3, 8, 8), 4
# 4x4 patches in windows of 2, shifted in the second block; then one window of 2x2.
SMALL = {"patch": 2, "window": 2, "embed_dim": 4, "depths": [2, 1], "heads": [2, 1]}
H = 1e-5


def make(size=SMALL, shape=SHAPE, classes=CLASSES, seed=0, **options):
    torch.manual_seed(seed)
    options = plugins.resolve("models", {"name": "swin", "size": size, **options})
    return plugins.instantiate("models", options, shape, classes)


def uneven(model):
    """The network in float64, with weights none of which is 0 or 1 (as scales, shifts and biases start)."""
    model = model.double()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return model


def examples(n=3, shape=SHAPE):
    x = torch.rand((n, *shape), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(n) % CLASSES


@pytest.mark.parametrize(("size", "published"), [("base", 87_768_224), ("large", 196_532_476)])
def test_published_sizes(size, published):
    with torch.device("meta"):
        model = make(size, (3, 224, 224), 1000)
    assert sum(value.numel() for value in model.parameters()) == published
    # Table of 13 x 13 relative positions in every one of the 24 blocks, at 224x224.
    tables = [v for k, v in model.named_parameters() if k in model.no_weight_decay()]
    assert [len(table) for table in tables] == [169] * 24


def test_block_written_out():
    """One block whose window is the image: attention with a bias by relative position, then the MLP."""
    size = {"patch": 2, "window": 3, "embed_dim": 6, "depths": [1], "heads": [2]}
    model, (x, _) = uneven(make(size, (3, 4, 6))), examples(2, (3, 4, 6))
    net, block = model.network, model.network.layers[0].blocks[0]
    tokens = F.conv2d(model.normalize(x), net.patch_embed.proj.weight, net.patch_embed.proj.bias, stride=2)
    tokens = net.patch_embed.norm(tokens.flatten(2).mT)
    q, k, v = block.attn.qkv(block.norm1(tokens)).view(2, 6, 3, 2, 3).permute(2, 0, 3, 1, 4)
    # The window is 2 x 3 patches; a row of the table belongs to one offset (rows, columns).
    offsets = torch.tensor([[divmod(i, 3)[0] - divmod(j, 3)[0] for j in range(6)] for i in range(6)])
    across = torch.tensor([[i % 3 - j % 3 for j in range(6)] for i in range(6)])
    bias = block.attn.relative_position_bias_table[(offsets + 1) * 5 + across + 2].permute(2, 0, 1)
    attention = (q @ k.mT / 3**0.5 + bias).softmax(-1)
    tokens = tokens + block.attn.proj((attention @ v).transpose(1, 2).reshape(2, 6, 6))
    inner = F.gelu(block.mlp.fc1(block.norm2(tokens)))
    tokens = tokens + block.mlp.fc2(inner)
    torch.testing.assert_close(model(x), net.head.fc(net.norm(tokens).mean(1)))


def test_shifted_windows_connect_what_windows_do_not():
    """The second block sees neighbours of another window, but nothing from across the image's border."""
    model, (x, _) = uneven(make({**SMALL, "depths": [2], "heads": [2]})), examples(1)
    blocks = model.network.layers[0].blocks

    def reached(block):
        tokens = model.network.patch_embed(model.normalize(x)).detach().requires_grad_()
        corner, inside = block(tokens)[0, 0, 0].sum(), block(tokens)[0, 1, 1].sum()
        found = [torch.autograd.grad(value, tokens)[0][0].abs().sum(-1) for value in (corner, inside)]
        # What is masked has the weight exp(-100).
        return [{tuple(place) for place in (one > 1e-30).nonzero().tolist()} for one in found]

    window = {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert reached(blocks[0]) == [window, window]
    assert reached(blocks[1]) == [{(0, 0)}, {(1, 1), (1, 2), (2, 1), (2, 2)}]


def test_first_layer_normalises_and_is_not_stored():
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    model, x = make(mean=mean, std=std), examples()[0].float()
    normalised = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(model(x), make(mean=[0], std=[1])(normalised))
    assert not any("normalize" in key for key in model.state_dict())


def test_nothing_is_random_and_examples_do_not_interact():
    model, (x, _) = uneven(make()).train(), examples()
    torch.testing.assert_close(model(x), torch.cat([model(one[None]) for one in x]))
    assert torch.equal(model(x), model.eval()(x))


def test_fused_attention_is_off_unless_asked_for_and_agrees(monkeypatch):
    import timm.models.swin_transformer as timm_swin

    # What timm makes of TIMM_FUSED_ATTN=2.
    monkeypatch.setattr(timm_swin, "use_fused_attn", lambda experimental=False: True)
    explicit, fused, (x, _) = make(), make(fused_attention=True), examples()
    for model, expected in ((explicit, False), (fused, True)):
        switches = [layer.fused_attn for layer in model.modules() if hasattr(layer, "fused_attn")]
        assert switches == [expected] * 3
    explicit, fused = uneven(explicit), fused.double()
    fused.load_state_dict(explicit.state_dict())
    torch.testing.assert_close(fused(x), explicit(x))


@pytest.mark.parametrize(
    "objective",
    [
        {"name": "gradient_norm", "weight": 0.7, "norm": "l1", "space": "normalized"},
        {"name": "gradient_norm", "weight": 0.7},
        {"name": "edge_alignment", "weight": 0.7, "class_choice": "label"},
    ],
    ids=["l1", "squared", "edges"],
)
def test_steps_of_double_backward_objectives_agree_with_finite_differences(objective):
    model, (x, y) = uneven(make()), examples()
    function = plugins.instantiate("objectives", plugins.resolve("objectives", objective))

    def loss():
        return function(model, Batch(x, y, torch.arange(3)), torch.Generator().manual_seed(0))["loss"].mean()

    gradient = flat_gradient(loss(), model)
    direction = torch.randn(gradient.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    values = []
    for step in (H, -H):
        torch.nn.utils.vector_to_parameters(weights + step * direction, model.parameters())
        values.append(loss().item())
    assert (gradient @ direction).item() == pytest.approx((values[0] - values[1]) / (2 * H), rel=1e-6)


def test_hessian_products_agree_with_finite_differences():
    model, (x, y) = uneven(make()), examples()
    u = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    inputs, _, gradient = loss_gradient(model, x, y)
    product = torch.autograd.grad((gradient * u).sum(), inputs)[0]
    ahead, behind = (loss_gradient(model, x + step * u, y)[2].detach() for step in (H, -H))
    torch.testing.assert_close(product, (ahead - behind) / (2 * H), rtol=1e-5, atol=1e-8)


def test_tables_of_relative_positions_are_named_for_weight_decay():
    model = make()
    tables = {k for k, v in model.named_parameters() if v.dim() == 2 and v.shape[0] == 9 and "table" in k}
    assert model.no_weight_decay() == tables
    assert len(tables) == 3


def test_weights_for_other_classes_fit_all_but_the_last_layer(tmp_path):
    model, other = make(), make(classes=7, seed=1)
    own = model.network.head.fc.weight.clone()
    load_pretrained(model, other.state_dict(), tmp_path)
    assert torch.equal(model.network.head.fc.weight, own)
    block = "network.layers.1.blocks.0.mlp.fc1.weight"
    assert torch.equal(model.state_dict()[block], other.state_dict()[block])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": [2]}, "heads: 1 stages, depths: 2"),
        ({"heads": [3, 1]}, "3 heads do not divide the 4 channels"),
        ({"depths": [2, 0]}, "depths"),
    ],
)
def test_dimensions_have_to_agree(changes, message):
    with pytest.raises(OptionError, match=message):
        make({**SMALL, **changes})


def test_images_have_to_divide_into_patches():
    with pytest.raises(ValueError, match=r"\[8, 9\] pixels do not divide into patches of 2"):
        make(shape=(3, 8, 9))
    with pytest.raises(ValueError, match="swin takes images"):
        make(shape=(4,))
    with pytest.raises(ValueError, match="3 values, expected 1 or 1"):
        make(shape=(1, 8, 8))
