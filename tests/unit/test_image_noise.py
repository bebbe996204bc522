"""Noise by image: it depends on seed, name and row, on nothing else."""

import pytest
import torch

from pagrepro.image_noise import image_noise, uniform_noise

SHAPE = (3, 5, 4)


def test_rows_do_not_depend_on_each_other():
    index = torch.tensor([9000, 3, 7, 3])
    noise = image_noise(1, "on", index, SHAPE)
    assert noise.shape == (4, *SHAPE)
    assert noise.dtype == torch.float32
    for position, row in enumerate(index):
        assert torch.equal(noise[position], image_noise(1, "on", row[None], SHAPE)[0])
    assert torch.equal(noise[1], noise[3])
    assert torch.equal(image_noise(1, "on", index.flip(0), SHAPE), noise.flip(0))


def test_seed_name_and_row_each_change_it():
    first = image_noise(1, "on", torch.arange(2), SHAPE)
    others = [image_noise(2, "on", torch.arange(2), SHAPE), image_noise(1, "off", torch.arange(2), SHAPE)]
    others += [first.flip(0)]
    for other in others:
        assert (first - other).abs().amax(dim=(1, 2, 3)).min() > 0.1


def test_global_state_is_neither_used_nor_changed():
    torch.manual_seed(0)
    first = image_noise(1, "on", torch.arange(2), SHAPE)
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(first, image_noise(1, "on", torch.arange(2), SHAPE))


def test_standard_normal_and_independent_between_draws_and_rows():
    noise = image_noise(5, "draws", torch.arange(40), (2, 1000)).double()
    assert noise.mean().abs() < 4 / 80000**0.5
    assert noise.var().item() == pytest.approx(1, abs=4 * (2 / 80000) ** 0.5)
    flat = noise.flatten(0, 1)
    correlation = flat @ flat.T / 1000 - torch.eye(80, dtype=torch.float64)
    assert correlation.fill_diagonal_(0).abs().max() < 5 / 1000**0.5


def test_no_rows_give_no_noise():
    assert image_noise(0, "on", torch.arange(0), SHAPE).shape == (0, *SHAPE)


@pytest.mark.parametrize("index", [torch.arange(4).view(2, 2), torch.rand(3), torch.tensor(1)])
def test_refuses_what_is_no_list_of_rows(index):
    with pytest.raises(ValueError, match="index"):
        image_noise(0, "on", index, SHAPE)


def test_uniform_noise():
    numbers = uniform_noise(0, "a", torch.tensor([7, 3]), (2, 1000))
    assert numbers.dtype == torch.float32
    assert 0 <= numbers.min() < 0.01 and 0.99 < numbers.max() < 1  # noqa: PT018
    assert torch.equal(numbers[1], uniform_noise(0, "a", torch.tensor([3]), (2, 1000))[0])
    assert not torch.equal(numbers[1], uniform_noise(1, "a", torch.tensor([3]), (2, 1000))[0])
    assert numbers.mean().item() == pytest.approx(0.5, abs=5 * (1 / 12 / 4000) ** 0.5)
    assert uniform_noise(0, "a", torch.tensor([7, 3]), ()).shape == (2,)
