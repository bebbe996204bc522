"""Target directions: representatives by hand, exact neighbours, teacher gradients of linear models."""

import pytest
import torch
from torch import nn

from pagrepro.errors import DataError
from pagrepro.fields import class_mean, nearest_neighbour, one_image, teacher_gradient
from pagrepro.request import FieldRequest, LoadedRun

CPU = torch.device("cpu")


def request(x, y, classes, rows=None, seed=0, low=0.0, high=1.0, **inputs):
    rows = torch.arange(len(x)) if rows is None else torch.tensor(rows)
    return FieldRequest(x, torch.as_tensor(y), classes, rows, seed, low, high, CPU, inputs)


@pytest.fixture
def images():
    """30 random uint8 images 1x4x4 of 3 classes."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (30, 1, 4, 4), dtype=torch.uint8, generator=generator), torch.arange(30) % 3


def toy_line(per_mode=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor([-50.0, -10.0, 30.0, -30.0, 10.0, 50.0])
    x1 = (centres[:, None] + torch.randn((6, per_mode), generator=generator)).flatten()
    return torch.stack([x1, 2 * x1], 1), torch.arange(2).repeat_interleave(3 * per_mode)


# --- representatives ---------------------------------------------------------------------------


def test_one_image_directions_are_differences_in_normalised_coordinates(images):
    x, y = images
    config = one_image.Config()
    field = one_image.compute(config, request(x, y, 3))
    assert y[field["rows"]].tolist() == [0, 1, 2]
    some = torch.rand(5, 1, 4, 4)
    read = one_image.read(config, field, torch.arange(5), some)
    expected = 2 * (x[field["rows"]].float() / 255 - some[:, None])
    torch.testing.assert_close(read, expected)


def test_one_image_is_exactly_zero_at_the_representative_itself(images):
    x, y = images
    field = one_image.compute(one_image.Config(), request(x, y, 3))
    chosen = field["rows"]
    read = one_image.read(one_image.Config(), field, chosen, x[chosen].float().div_(255))
    assert all(bool((read[t, t] == 0).all()) for t in range(3))
    assert bool((read[0, 1] != 0).any())


def test_one_image_choices(images):
    x, y = images
    first = one_image.compute(one_image.Config(pick="first"), request(x, y, 3))
    assert first["rows"].tolist() == [0, 1, 2]
    draws = {
        tuple(one_image.compute(one_image.Config(), request(x, y, 3, seed=s))["rows"].tolist())
        for s in range(8)
    }
    assert len(draws) > 4
    medoid = one_image.compute(one_image.Config(pick="medoid"), request(x, y, 3))["rows"]
    for t in range(3):
        members = x[y == t].double().flatten(1)
        sums = (members[:, None] - members).norm(dim=2).sum(1)
        assert sums.argmin() == (medoid[t] - t) // 3


@pytest.mark.parametrize("coordinates", ["normalised", "unit"])
def test_class_mean_has_the_norm_of_an_image(images, coordinates):
    x, y = images
    config = class_mean.Config(coordinates=coordinates)
    field = class_mean.compute(config, request(x, y, 3))
    values = x.double() / 255
    values = 2 * values - 1 if coordinates == "normalised" else values
    for t in range(3):
        own = values[y == t]
        size = own.flatten(1).norm(dim=1).mean()
        assert field["means"][t].double().norm() == pytest.approx(size.item(), rel=1e-6)
        assert field["scales"][t] == pytest.approx((size / own.mean(0).norm()).item(), rel=1e-6)


def test_class_mean_scales(images):
    x, y = images
    plain = class_mean.compute(class_mean.Config(scale="none"), request(x, y, 3))
    torch.testing.assert_close(plain["means"][1], (x[y == 1].float() / 127.5 - 1).mean(0))
    double = class_mean.compute(class_mean.Config(scale="5/2"), request(x, y, 3))
    torch.testing.assert_close(double["means"], 2.5 * plain["means"])
    common = class_mean.compute(class_mean.Config(scale="global"), request(x, y, 3))["scales"]
    sizes = (x.double() / 127.5 - 1).flatten(1).norm(dim=1).mean()
    ratio = sizes / plain["means"].double().flatten(1).norm(dim=1).mean()
    torch.testing.assert_close(common, ratio.expand(3), rtol=1e-6, atol=0)


def test_class_mean_is_the_same_in_every_shard(images):
    x, y = images
    a = class_mean.compute(class_mean.Config(), request(x, y, 3, rows=[0, 1]))
    b = class_mean.compute(class_mean.Config(), request(x, y, 3, rows=[7]))
    assert torch.equal(a["means"], b["means"])


def test_coordinates_have_to_fit_the_data(images):
    x, y = images
    line, labels = toy_line(3)
    with pytest.raises(DataError, match="raw"):
        class_mean.compute(class_mean.Config(), request(line, labels, 2, low=None, high=None))
    with pytest.raises(DataError, match="uint8"):
        one_image.compute(one_image.Config(coordinates="raw"), request(x, y, 3))


def test_per_channel_normalisation():
    x = torch.randint(256, (6, 3, 2, 2), dtype=torch.uint8)
    config = one_image.Config(pick="first", mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 0.125])
    field = one_image.compute(config, request(x, torch.arange(6) % 2, 2))
    some = torch.rand(2, 3, 2, 2)
    read = one_image.read(config, field, torch.arange(2), some)
    std = torch.tensor(config.std).view(3, 1, 1)
    torch.testing.assert_close(read, (x[:2].float() / 255 - some[:, None]) / std)


def test_a_class_without_examples_is_an_error(images):
    x, y = images
    with pytest.raises(DataError, match=r"\[3\]"):
        one_image.compute(one_image.Config(), request(x, y, 4))


# --- nearest neighbours ------------------------------------------------------------------------


def reference_neighbour(x, y, row, t):
    """Eq. 3 with every member of the class as D_t, one distance at a time."""
    best, found = float("inf"), None
    for other in range(len(x)):
        distance = sum((a - b) ** 2 for a, b in zip(x[row].flatten().tolist(), x[other].flatten().tolist()))
        if y[other] == t and 0 < distance < best:
            best, found = distance, other
    return found


def test_neighbours_of_images_are_those_of_eq_3(images):
    x, y = images
    config = nearest_neighbour.Config(pool="all")
    field = nearest_neighbour.compute(config, request(x, y, 3))
    assert field["neighbours"].dtype == torch.int32
    rows = field["pool_rows"][field["neighbours"].long()]
    for row in range(0, 30, 4):
        assert rows[row].tolist() == [reference_neighbour(x, y, row, t) for t in range(3)]
    some = torch.rand(4, 1, 4, 4)
    read = nearest_neighbour.read(config, field, torch.tensor([3, 1, 4, 1]), some)
    torch.testing.assert_close(read, 2 * (x[rows[[3, 1, 4, 1]]].float() / 255 - some[:, None]))


def test_single_precision_matrix_distances_fail_on_the_line_and_ours_do_not():
    """The trap: |a|^2 + |b|^2 - 2ab in float32 at distance 100 from the origin cannot see gaps of 0.01."""
    x, y = toy_line(250)
    config = nearest_neighbour.Config(pool="all", coordinates="raw")
    field = nearest_neighbour.compute(config, request(x, y, 2, low=None, high=None))
    found = field["pool_rows"][field["neighbours"].long()]
    exact = (x.double()[:, None] - x.double()).norm(dim=2)
    matrix = torch.cdist(x, x, compute_mode="use_mm_for_euclid_dist")
    wrong = 0
    for t in range(2):
        not_member = (y != t).expand(len(x), -1)
        truth = exact.masked_fill(not_member | (exact == 0), torch.inf).argmin(1)
        naive = matrix.masked_fill(not_member | torch.eye(len(x), dtype=torch.bool), torch.inf).argmin(1)
        assert torch.equal(found[:, t], truth)
        wrong += int((naive != truth).sum())
    assert wrong > 0.03 * 2 * len(x)


def test_large_images_are_compared_exactly():
    """Squared distances of 2^24 and more, which float32 rounds: the nearer of two by one unit is found."""
    x = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    x[1:] = 255
    x[1].view(-1)[0], x[2].view(-1)[1] = 254, 253
    field = nearest_neighbour.compute(
        nearest_neighbour.Config(pool="all"), request(x, [0, 1, 1], 2, rows=[1, 2])
    )
    assert field["pool_rows"][field["neighbours"].long()].tolist() == [[0, 2], [0, 1]]
    origin = torch.cat([x, x[:1]])
    origin[3].view(-1)[7] = 1
    field = nearest_neighbour.compute(
        nearest_neighbour.Config(pool="all"), request(origin, [0, 1, 1, 0], 2, rows=[0])
    )
    assert field["pool_rows"][field["neighbours"].long()].tolist() == [[3, 2]]


def test_copies_of_x_are_no_neighbours(images):
    x, y = images
    x = x.clone()
    x[3] = x[0]  # same class, same pixels
    field = nearest_neighbour.compute(nearest_neighbour.Config(pool="all"), request(x, y, 3, rows=[0]))
    assert int(field["pool_rows"][field["neighbours"][0, 0]]) not in (0, 3)
    only_copies = torch.stack([x[0], x[0], x[1]])
    with pytest.raises(DataError, match="no other image"):
        nearest_neighbour.compute(nearest_neighbour.Config(pool="all"), request(only_copies, [0, 0, 1], 2))


def test_pool_is_drawn_once_per_seed_and_shared_by_shards(images):
    x, y = images
    config = nearest_neighbour.Config(pool=4)
    whole = nearest_neighbour.compute(config, request(x, y, 3))
    parts = [
        nearest_neighbour.compute(config, request(x, y, 3, rows=r)) for r in ([*range(13)], [*range(13, 30)])
    ]
    assert torch.equal(whole["neighbours"], torch.cat([p["neighbours"] for p in parts]))
    assert all(torch.equal(whole["pool"], p["pool"]) for p in parts)
    assert torch.bincount(y[whole["pool_rows"]]).tolist() == [4, 4, 4]
    other = nearest_neighbour.compute(config, request(x, y, 3, seed=1))
    assert not torch.equal(whole["pool_rows"], other["pool_rows"])
    places = whole["neighbours"]
    assert all(bool((y[whole["pool_rows"][places[:, t].long()]] == t).all()) for t in range(3))
    with pytest.raises(DataError, match="a pool of 11"):
        nearest_neighbour.compute(nearest_neighbour.Config(pool=11), request(x, y, 3))


def test_small_blocks_give_the_same_neighbours(images, monkeypatch):
    x, y = images
    whole = nearest_neighbour.compute(nearest_neighbour.Config(pool=5), request(x, y, 3))
    monkeypatch.setattr("pagrepro.representatives.BLOCK", 40)
    small = nearest_neighbour.compute(nearest_neighbour.Config(pool=5), request(x, y, 3))
    assert torch.equal(whole["neighbours"], small["neighbours"])


# --- teacher gradients -------------------------------------------------------------------------


def linear_teacher(weight):
    model = nn.Sequential(nn.Flatten(), nn.Linear(weight.shape[1], len(weight)))
    with torch.no_grad():
        model[1].weight.copy_(weight)
    return LoadedRun("teacher", model.eval().requires_grad_(False), {})


def test_teacher_gradients_of_a_linear_model_are_its_rows(images):
    x, y = images
    weight = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    config = teacher_gradient.Config(dtype="float32", batch_size=7)
    field = teacher_gradient.compute(
        config, request(x, y, 3, rows=[*range(4, 20)], teacher=linear_teacher(weight))
    )
    assert field["directions"].shape == (16, 3, 1, 4, 4)
    unit = weight / weight.norm(dim=1, keepdim=True)
    torch.testing.assert_close(field["directions"].flatten(2), unit.expand(16, -1, -1))
    read = teacher_gradient.read(
        config, field, torch.tensor([2, 0]), torch.rand(2, 1, 4, 4, dtype=torch.float64)
    )
    assert read.dtype == torch.float64
    torch.testing.assert_close(read[0].float(), field["directions"][2])


def test_teacher_gradients_of_log_probabilities(images):
    x, y = images
    weight = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    teacher = linear_teacher(weight)
    config = teacher_gradient.Config(gradient_of="log_probability")
    field = teacher_gradient.compute(config, request(x, y, 3, teacher=teacher))
    assert field["directions"].dtype == torch.float16
    p = teacher.model(x.float() / 255).softmax(1)
    expected = weight - (p[:, :, None] * weight).sum(1, keepdim=True)  # (30, 3, 16)
    cosines = torch.cosine_similarity(field["directions"].float().flatten(2), expected, dim=2)
    assert float(cosines.min()) > 0.999


def test_tiny_gradients_keep_their_direction_and_zero_stays_zero(images):
    x, y = images
    weight = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    weight = torch.stack([weight[0] * 1e-25, torch.zeros(16)])
    field = teacher_gradient.compute(
        teacher_gradient.Config(dtype="float32"), request(x, y, 2, rows=[0], teacher=linear_teacher(weight))
    )
    assert field["directions"][0, 0].norm() == pytest.approx(1)
    assert bool((field["directions"][0, 1] == 0).all())
