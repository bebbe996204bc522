"""Denoisers and scores: mixtures against autograd, preconditioning in closed form, the networks."""

import math

import pytest
import torch
from torch import nn

from pagrepro.denoiser import EdmPreconditioned, GaussianMixture, build_denoiser
from pagrepro.denoiser_options import Adm, Ddpmpp, Unet2d
from pagrepro.edm_layers import Block, PositionalEmbedding, resampled
from pagrepro.errors import DataError
from pagrepro.score import score, to_coordinates

SHAPE = (2, 3)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(**options):
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    variances = torch.tensor([0.3, 0.1, 0.6], dtype=torch.float64)
    return GaussianMixture(random(3, *SHAPE), variances, weights, **options)


# --- mixtures of Gaussians -----------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [None, torch.tensor([2, 0, 1, 1])])
def test_score_of_a_mixture_is_the_gradient_of_its_log_density(labels):
    model = mixture(conditional=labels is not None)
    x = random(4, *SHAPE, seed=1).requires_grad_()
    for sigma in (0.05, 0.7, 4.0):
        (expected,) = torch.autograd.grad(model.log_density(x, sigma, labels).sum(), x)
        found = (model.denoise(x.detach(), sigma, labels) - x.detach()) / sigma**2
        torch.testing.assert_close(found, expected)


def test_density_of_a_mixture_is_a_density():
    """In one dimension: it integrates to one, its mean square is known, whatever the noise."""
    model = GaussianMixture(torch.tensor([[-1.0], [0.5]]), torch.tensor([0.2, 0.4]), torch.tensor([1.0, 3.0]))
    x = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    for sigma in (0.1, 1.0):
        density = model.log_density(x[:, None], sigma).exp()
        assert torch.trapezoid(density, x) == pytest.approx(1)
        second = 0.25 * (1 + 0.2) + 0.75 * (0.25 + 0.4) + sigma**2
        assert torch.trapezoid(density * x.square(), x) == pytest.approx(second)


def test_one_gaussian_in_closed_form():
    mean, variance = random(1, *SHAPE), 0.4
    model, x = GaussianMixture(mean, variance), random(5, *SHAPE, seed=2)
    sigma = torch.tensor([0.1, 0.2, 0.5, 1.0, 3.0], dtype=torch.float64)
    s = sigma.view(-1, 1, 1)
    expected = mean + variance / (variance + s.square()) * (x - mean)
    torch.testing.assert_close(model.denoise(x, sigma), expected)
    assert model.denoise(x.float(), 0.5).dtype == torch.float32


def test_labels_choose_the_component():
    model, x = mixture(conditional=True), random(3, *SHAPE, seed=3)
    alone = [GaussianMixture(model.means[k : k + 1], model.variance[k]) for k in range(3)]
    found = model.denoise(x, 0.6, torch.tensor([1, 0, 2]))
    for row, k in enumerate((1, 0, 2)):
        torch.testing.assert_close(found[row], alone[k].denoise(x, 0.6)[row])


# --- scores --------------------------------------------------------------------------------------------


def test_score_is_taken_in_the_coordinates_of_the_denoiser():
    """A single Gaussian: (m - x') / (v + sigma^2), for data in [0, 1] and in another range."""
    mean = random(1, *SHAPE)
    model, sigma = GaussianMixture(mean, 0.4), 0.5
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (-3.0, 5.0)):
        x = low + (high - low) * random(4, *SHAPE, seed=4).sigmoid()
        expected = (mean - (2 * (x - low) / (high - low) - 1)) / (0.4 + sigma**2)
        torch.testing.assert_close(score(model, x, sigma, low, high), expected)


def test_averaged_score_takes_the_mean_of_the_denoised():
    """D of a Gaussian is linear: noise n changes the score by share * n / sigma."""
    model, sigma = GaussianMixture(random(1, *SHAPE), 0.4), 0.5
    x, noise = random(4, *SHAPE, seed=4).sigmoid(), random(4, 7, *SHAPE, seed=5)
    share = 0.4 / (0.4 + sigma**2)
    expected = score(model, x, sigma, 0.0, 1.0) + share * noise.mean(1) / sigma
    torch.testing.assert_close(score(model, x, sigma, 0.0, 1.0, noise=noise), expected)


def test_scores_need_a_range_a_level_and_the_right_labels():
    model, x = GaussianMixture(random(1, *SHAPE), 0.4), torch.zeros(1, *SHAPE)
    with pytest.raises(DataError, match="need a range"):
        to_coordinates(x, None, 1.0)
    with pytest.raises(DataError, match="sigma 0"):
        score(model, x, 0.0, 0.0, 1.0)
    with pytest.raises(DataError, match="without classes was given labels"):
        model.denoise(x, 0.5, torch.tensor([0]))
    with pytest.raises(DataError, match="for 3 classes was given no labels"):
        mixture(conditional=True).denoise(x, 0.5)


# --- preconditioning -----------------------------------------------------------------------------------


class Recorded(nn.Module):
    """Returns what it is told to and remembers what it was given."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def forward(self, *given):
        self.given = given
        return self.out


def test_preconditioning_is_table_1():
    x, out = random(3, 1, 2, 2), random(3, 1, 2, 2, seed=1)
    sigma, s = torch.tensor([0.02, 0.5, 7.0], dtype=torch.float64), 0.5
    network = Recorded(out)
    found = EdmPreconditioned(network, (1, 2, 2), 3)(x, sigma, torch.tensor([2, 0, 1]))
    for k, level in enumerate(sigma.tolist()):
        total = level**2 + s**2
        expected = s**2 / total * x[k] + level * s / math.sqrt(total) * out[k]
        torch.testing.assert_close(found[k], expected)
        torch.testing.assert_close(network.given[0][k], x[k] / math.sqrt(total))
        assert network.given[1][k] == pytest.approx(math.log(level) / 4)
    assert network.given[2].tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_training_target_has_unit_variance_at_every_level():
    """What F has to return for x0 = D: variance 1 for data of variance sigma_data^2, and inputs too."""
    x0, noise = 0.5 * random(200_000), random(200_000, seed=1)
    for sigma in (0.01, 0.5, 20.0):
        x, total = x0 + sigma * noise, sigma**2 + 0.25
        target = (x0 - 0.25 / total * x) / (sigma * 0.5 / math.sqrt(total))
        assert float(target.var()) == pytest.approx(1, rel=0.02)
        assert float((x / math.sqrt(total)).var()) == pytest.approx(1, rel=0.02)


# --- networks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "shape", "classes", "millions"),
    [
        (Ddpmpp(name="ddpmpp", augment_dim=9), (3, 32, 32), 0, 55.7),
        (Ddpmpp(name="ddpmpp", augment_dim=9), (3, 32, 32), 10, 55.7),
        (Adm(name="adm"), (3, 64, 64), 1000, 295.9),
    ],
)
def test_published_networks_have_the_published_numbers_of_parameters(options, shape, classes, millions):
    with torch.device("meta"):
        made = build_denoiser(options, shape, classes)
    assert round(sum(p.numel() for p in made.parameters()) / 1e6, 1) == millions


def test_published_networks_have_the_names_of_the_public_weights():
    with torch.device("meta"):
        ddpmpp = build_denoiser(Ddpmpp(name="ddpmpp", augment_dim=9), (3, 32, 32), 10).network.state_dict()
        adm = build_denoiser(Adm(name="adm"), (3, 64, 64), 1000).network.state_dict()
    shapes = {
        "map_label.weight": (128, 10), "map_augment.weight": (128, 9), "map_layer0.weight": (512, 128),
        "enc.32x32_conv.weight": (128, 3, 3, 3), "enc.16x16_down.conv0.resample_filter": (1, 1, 2, 2),
        "enc.16x16_down.skip.weight": (256, 256, 1, 1), "enc.16x16_block3.qkv.weight": (768, 256, 1, 1),
        "enc.32x32_block0.skip.weight": (256, 128, 1, 1), "dec.8x8_in0.proj.bias": (256,),
        "dec.16x16_block4.norm2.weight": (256,), "dec.32x32_up.affine.weight": (256, 512),
        "dec.32x32_block4.norm0.weight": (384,), "dec.32x32_aux_norm.weight": (256,),
        "dec.32x32_aux_conv.weight": (3, 256, 3, 3),
    }  # fmt: skip
    assert {name: tuple(ddpmpp[name].shape) for name in shapes} == shapes
    # Only the last block of a level of the decoder looks around.
    attending = {name.rpartition(".qkv")[0] for name in ddpmpp if ".qkv.weight" in name}
    expected = {f"enc.16x16_block{k}" for k in range(4)} | {"dec.8x8_in0", "dec.16x16_block4"}
    assert attending == expected
    shapes = {
        "map_label.weight": (768, 1000), "enc.64x64_conv.weight": (192, 3, 3, 3),
        "enc.32x32_down.skip.resample_filter": (1, 1, 2, 2), "enc.8x8_block2.affine.weight": (1536, 768),
        "dec.8x8_in1.conv1.weight": (768, 768, 3, 3), "dec.32x32_block0.qkv.weight": (1152, 384, 1, 1),
        "out_norm.weight": (192,), "out_conv.weight": (3, 192, 3, 3),
    }  # fmt: skip
    assert {name: tuple(adm[name].shape) for name in shapes} == shapes
    assert "enc.32x32_down.skip.weight" not in adm
    assert "map_label.bias" not in adm


TINY = [
    Ddpmpp(name="ddpmpp", width=8, multipliers=(1, 2), blocks=1, attention=(4,)),
    Adm(name="adm", width=8, multipliers=(1, 2), blocks=1, attention=(4,), head=8),
    Unet2d(name="unet2d", channels=(8, 16), attention=True),
]
tiny = pytest.mark.parametrize("options", TINY, ids=[options.name for options in TINY])


def awake(options, shape, classes):
    """A network whose weights are nowhere zero, in float64."""
    torch.manual_seed(0)
    made = build_denoiser(options, shape, classes).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.2)
    return made


def distance(a, b):
    return float((a - b).abs().max().detach())


@tiny
def test_networks_take_images_levels_and_labels_one_by_one(options):
    """Other examples of a batch do not matter; the level and the label do; sides may differ."""
    shape = (1, 8, 4)
    model, x, y = awake(options, shape, 3), random(3, *shape), torch.tensor([0, 2, 1])
    sigma = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    found = model.denoise(x, sigma, y)
    assert found.shape == x.shape
    assert found.dtype == torch.float64
    for k in range(3):
        torch.testing.assert_close(model.denoise(x[k : k + 1], sigma[k].item(), y[k : k + 1])[0], found[k])
    network, c = model.network, torch.zeros(1, dtype=torch.float64)
    labels = torch.eye(3, dtype=torch.float64)
    first = network(x[:1], c, labels[:1])
    assert distance(network(x[:1], c + 0.3, labels[:1]), first) > 1e-3
    assert distance(network(x[:1], c, labels[1:2]), first) > 1e-3


@tiny
def test_every_weight_has_an_effect(options):
    model = awake(options, (1, 8, 8), 3)
    model.denoise(random(4, 1, 8, 8), 0.7, torch.tensor([0, 1, 2, 0])).square().sum().backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    # A constant added to all keys changes no attention.
    assert not [name for name in still if not name.endswith("to_k.bias")]


@pytest.mark.parametrize("options", TINY[:2], ids=["ddpmpp", "adm"])
def test_untrained_networks_return_what_preconditioning_keeps(options):
    """The last layer starts (nearly) at zero: D(x) = c_skip x."""
    torch.manual_seed(0)
    model, x = build_denoiser(options, (1, 8, 8), 0).eval(), random(2, 1, 8, 8).float()
    torch.testing.assert_close(model.denoise(x, 0.5), x / 2, rtol=0, atol=1e-3)


@tiny
def test_sizes_that_cannot_be_halved_are_refused(options):
    with pytest.raises(DataError, match="7x8 cannot be halved 1 times"):
        build_denoiser(options, (1, 7, 8), 0)
    with pytest.raises(ValueError, match="takes images"):
        build_denoiser(options, (4,), 0)


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="heads of 5"):
        build_denoiser(Adm(name="adm", width=8, multipliers=(1,), head=5), (1, 8, 8), 0)


# --- layers --------------------------------------------------------------------------------------------


def test_positional_embedding():
    c = torch.tensor([0.0, 0.3], dtype=torch.float64)
    waves = PositionalEmbedding(8)(c)
    frequencies = [1, 1e-1, 1e-2, 1e-3]
    assert waves[1].tolist() == pytest.approx(
        [math.cos(0.3 * f) for f in frequencies] + [math.sin(0.3 * f) for f in frequencies]
    )
    ends = PositionalEmbedding(8, endpoint=True, sines_first=True)(c)
    frequencies = [10 ** (-4 * k / 3) for k in range(4)]
    assert ends[1].tolist() == pytest.approx(
        [math.sin(0.3 * f) for f in frequencies] + [math.cos(0.3 * f) for f in frequencies]
    )


def test_resampling():
    x = random(2, 3, 4, 6)
    up = resampled(x, "up")
    assert torch.equal(up[:, :, 1::2, ::2], x)
    torch.testing.assert_close(resampled(up, "down"), x)
    torch.testing.assert_close(resampled(x, "down")[0, 0, 0, 0], x[0, 0, :2, :2].mean())
    assert resampled(x, None) is x


def test_attention_by_hand():
    """Two heads; queries, keys and values of a channel stand beside each other."""
    block = Block(4, 4, 2, heads=2).double()
    x = random(1, 4, 2, 3)
    found = block._attention(x)
    qkv = block.qkv(block.norm2(x))[0].flatten(1)  # (12, 6)
    heads = []
    for rows in (range(2), range(2, 4)):
        q, k, v = (torch.stack([qkv[3 * r + which] for r in rows]) for which in range(3))
        weights = torch.stack([(q[:, i] @ k / math.sqrt(2)).softmax(0) for i in range(6)])
        heads.append(v @ weights.T)
    expected = block.proj(torch.cat(heads).view(1, 4, 2, 3))
    torch.testing.assert_close(found, expected)
