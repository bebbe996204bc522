"""Augmentation: the batched gather against slicing one example at a time."""

import pytest
import torch
import torch.nn.functional as F

from pagrepro.augment import Augment, draw

SHAPE = (3, 6, 5)


def make(n=8, seed=0, **options):
    options = {"crop_padding": 2, "flip": True, **options}
    drawn = draw(Augment(**options), n, SHAPE, torch.Generator().manual_seed(seed))
    return drawn, torch.rand(
        n, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1)
    )


def one_at_a_time(drawn, x, fill):
    """What a reader would write for one example: pad, slice, flip."""
    height, width = x.shape[-2:]
    p, out = drawn.padding, []
    for i, image in enumerate(x):
        columns = drawn.columns[i]
        top, left = int(drawn.rows[i, 0]), int(columns.min())
        image = F.pad(image, (p, p, p, p), value=fill)[..., top : top + height, left : left + width]
        out.append(image.flip(-1) if columns[0] > columns[-1] else image)
    return torch.stack(out)


@pytest.mark.parametrize("seed", range(4))
def test_equals_slicing_one_example_at_a_time(seed):
    drawn, x = make(seed=seed)
    assert torch.equal(drawn.apply(x), one_at_a_time(drawn, x, 0.5))
    assert torch.equal(drawn.apply(x, fill=0.0), one_at_a_time(drawn, x, 0.0))


def test_directions_of_all_classes_move_with_their_image():
    drawn, _ = make()
    g = torch.randn(8, 4, *SHAPE, dtype=torch.float64)
    moved = drawn.apply(g, fill=0.0)
    assert all(torch.equal(moved[:, t], drawn.apply(g[:, t], fill=0.0)) for t in range(4))


def test_linear_and_its_gradient_is_the_adjoint():
    drawn, x = make()
    z, w = torch.randn_like(x), torch.randn_like(x)
    torch.testing.assert_close(
        drawn.apply(2 * x - 3 * z, fill=0.0), 2 * drawn.apply(x, fill=0.0) - 3 * drawn.apply(z, fill=0.0)
    )
    x.requires_grad_()
    (adjoint,) = torch.autograd.grad((drawn.apply(x) * w).sum(), x)
    torch.testing.assert_close((adjoint * z).sum(), (drawn.apply(z, fill=0.0) * w).sum())


def test_every_shift_and_both_orientations_occur_independently():
    drawn, _ = make(n=2000)
    left, flipped = drawn.columns.amin(1), drawn.columns[:, 0] > drawn.columns[:, -1]
    combinations = torch.stack([drawn.rows[:, 0], left, flipped.long()], 1).unique(dim=0, return_counts=True)
    assert len(combinations[0]) == 5 * 5 * 2
    # 2000 / 50 = 40 expected each; six standard deviations of a binomial.
    assert (combinations[1] - 40).abs().max() < 6 * 40**0.5


def test_scope_batch_is_one_draw_for_all():
    drawn, _ = make(scope="batch")
    assert (drawn.rows == drawn.rows[0]).all()
    assert (drawn.columns == drawn.columns[0]).all()


def test_options_are_independent():
    no_flip, x = make(flip=False)
    assert (no_flip.columns.diff(dim=1) == 1).all()
    no_crop, x = make(crop_padding=0)
    moved = no_crop.apply(x)
    same = (moved == x).flatten(1).all(1)
    mirrored = (moved == x.flip(-1)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert same.any()
    assert mirrored.any()
    assert make(flip=False, crop_padding=0)[0] is None


def test_a_draw_is_a_function_of_its_generator():
    (first, _), (second, _), (other, _) = make(seed=3), make(seed=3), make(seed=4)
    assert torch.equal(first.rows, second.rows)
    assert torch.equal(first.columns, second.columns)
    assert not torch.equal(first.columns, other.columns)
