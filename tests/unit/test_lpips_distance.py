"""LPIPS: the numbers of the package with the same trunk; files of torchvision's layout; never a download."""

import math
import warnings

import pytest
import torch

from pagrepro import lpips_distance
from pagrepro.errors import DataError
from pagrepro.lpips_distance import enlarged, lpips_from_file, lpips_random, package_heads
from pagrepro.similarity import similarity

CPU = torch.device("cpu")


def images(n, channels, side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n, channels, side, side, generator=generator) - 1


def layout(trunk):
    """A state dict of torchvision's AlexNet, its classifier one number."""
    return {**trunk, "classifier.6.bias": torch.zeros(1)}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """ImageNet weights as torchvision has them, of a random network that is not the substitute."""
    path = tmp_path_factory.mktemp("weights") / "alexnet-owt-7be5be79.pth"
    generator = torch.Generator().manual_seed(3)
    shapes = lpips_distance._trunk_shapes()
    trunk = {
        n: torch.randn(s, generator=generator) / math.sqrt(math.prod(s[1:]) or 1) for n, s in shapes.items()
    }
    torch.save(layout(trunk), path)
    return path


@pytest.fixture(scope="module")
def package(file):
    """The package's own network with the weights of that file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lpips

        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    convolutions = [m for m in network.net.modules() if isinstance(m, torch.nn.Conv2d)]
    weights = torch.load(file, weights_only=True)
    with torch.no_grad():
        for place, convolution in zip((0, 3, 6, 8, 10), convolutions, strict=True):
            convolution.weight.copy_(weights[f"features.{place}.weight"])
            convolution.bias.copy_(weights[f"features.{place}.bias"])
    return network


@pytest.mark.parametrize("side", [32, 33, 64])
def test_numbers_of_the_package(file, package, side):
    a, b = images(3, 3, side), images(3, 3, side, seed=1)
    with torch.no_grad():
        expected = package(a, b).flatten()
    ours = lpips_from_file(file, CPU)
    found = ours.between(ours.features(a), ours.features(b))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(similarity("lpips", a, file)(a, [b])[0], 1 - expected, rtol=1e-5, atol=1e-6)


def test_small_and_grey_images(file, package):
    """Enlarged pixel by pixel, one channel repeated: as the package measures those images."""
    a, b = images(2, 1, 8), images(2, 1, 8, seed=1)
    large = [z.repeat_interleave(4, 2).repeat_interleave(4, 3).repeat(1, 3, 1, 1) for z in (a, b)]
    ours = lpips_from_file(file, CPU)
    with torch.no_grad():
        expected = package(*large).flatten()
    torch.testing.assert_close(
        ours.between(ours.features(a), ours.features(b)), expected, rtol=1e-5, atol=1e-7
    )


def test_sizes_that_are_enlarged():
    assert enlarged(images(1, 1, 31)).shape == (1, 1, 32, 32)
    same = images(1, 3, 32)
    assert enlarged(same) is same
    for wrong in (torch.zeros(1, 2, 32, 32), torch.zeros(1, 5)):
        with pytest.raises(DataError, match="1 or 3 channels"):
            enlarged(wrong)


def test_distance_is_zero_for_equal_images_symmetric_and_by_example():
    ours = lpips_random(CPU)
    a, b = images(4, 3, 32), images(4, 3, 32, seed=1)
    fa, fb = ours.features(a), ours.features(b)
    assert ours.between(fa, fa).tolist() == [0, 0, 0, 0]
    found = ours.between(fa, fb)
    assert (found > 0).all()
    torch.testing.assert_close(found, ours.between(fb, fa))
    alone = ours.between(ours.features(a[2:3]), ours.features(b[2:3]))
    torch.testing.assert_close(alone, found[2:3], rtol=1e-5, atol=1e-8)


def test_the_random_network_is_always_the_same():
    first = lpips_random(CPU).trunk
    lpips_random.cache_clear()
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = lpips_random(CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again.trunk[name]) for name in first)
    double = lpips_random(CPU, torch.float64).trunk
    assert all(torch.equal(first[name].double(), double[name]) for name in first)
    # As torch draws new convolutions: uniform within 1 / sqrt(fan in).
    for name, value in first.items():
        bound = 1 / math.sqrt(math.prod(first[f"{name.rpartition('.')[0]}.weight"].shape[1:]))
        assert 0.9 * bound < value.abs().max() <= bound
        assert value.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.2)


def test_heads_of_the_package_are_not_negative():
    heads = package_heads()
    assert [h.shape[1] for h in heads] == [64, 192, 384, 256, 256]
    assert all(h.min() >= 0 for h in heads)


def test_gradients_are_not_tracked(file):
    a = images(1, 3, 32).requires_grad_()
    assert not lpips_from_file(file, CPU).features(a)[-1].requires_grad


def test_files_that_are_not_alexnet(tmp_path, file):
    with pytest.raises(DataError, match="no such file"):
        lpips_from_file(tmp_path / "nothing.pth", CPU)
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        lpips_from_file(damaged, CPU)
    found = torch.load(file, weights_only=True)
    wrong = {
        "missing": ({k: v for k, v in found.items() if k != "features.8.bias"}, "features.8.bias is nothing"),
        "shape": ({**found, "features.3.weight": torch.zeros(2)}, r"features.3.weight is \(2,\), expected"),
        "list": ([1, 2], "features.0.weight is nothing"),
    }
    for name, (content, message) in wrong.items():
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(DataError, match=message):
            lpips_from_file(tmp_path / f"{name}.pth", CPU)


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


def test_nothing_in_a_file_is_executed(tmp_path, capsys):
    path = tmp_path / "harmful.pth"
    torch.save({"features.0.weight": Harmful()}, path)
    with pytest.raises(DataError, match="cannot be read"):
        lpips_from_file(path, CPU)
    assert "executed" not in capsys.readouterr().out
