"""Augmentation of single images: a function of seed, step and row, whoever does it; timm's own transforms."""

import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mortal_fits import Killed, before_each_step
from PIL import Image

from pagrepro import plugins
from pagrepro.augment_options import Mix, Recipe
from pagrepro.download import DownloadError, fetch
from pagrepro.errors import DataError
from pagrepro.fit import fit
from pagrepro.fit_options import FitOptions, Parts
from pagrepro.image_files import ImageFiles
from pagrepro.layout import Layout
from pagrepro.load_data import load_dataset, load_split, prepare
from pagrepro.mixing import mixed
from pagrepro.recipe import Augmented, _posterized, loaded
from pagrepro.storage import load_tensors
from pagrepro.training_data import Batches, TrainingData

RECIPE = Recipe(size=12, workers=0)
IMAGES = torch.randint(0, 256, (9, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def batches(workers, seed=0):
    data = TrainingData(IMAGES, torch.arange(9) % 3, 3)
    return Batches(data, 4, True, seed, recipe=Recipe(size=12, workers=workers))


def epoch(found, first=0):
    order = found.order(0)
    return [found.batch(order, k, k, 2).x for k in range(first, 2)]


# --- single images -----------------------------------------------------------------------------------


def test_an_image_depends_on_seed_step_and_row_alone():
    images = Augmented(RECIPE, IMAGES, 3)
    first = images[5, 2]
    state = random.random(), np.random.rand(), torch.rand(())  # noqa: NPY002
    assert all(0 <= value < 1 for value in state)
    assert torch.equal(images[5, 2], first)
    assert not torch.equal(images[6, 2], first)
    assert not torch.equal(Augmented(RECIPE, IMAGES, 4)[5, 2], first)
    assert first.shape == (3, 12, 12)
    assert first.min() >= 0
    assert first.max() <= 1


def test_the_global_generators_are_left_as_they_were():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    wanted = random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    Augmented(RECIPE, IMAGES, 0)[0, 0]
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == wanted  # noqa: NPY002


def test_a_device_keeps_its_generator(monkeypatch):
    """What a step draws there, such as dropped paths, must not depend on which process augments."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    Augmented(RECIPE, IMAGES, 0)[0, 0]
    assert seeded == []


def test_images_can_be_given_to_a_fresh_process():
    images = pickle.loads(pickle.dumps(Augmented(RECIPE, IMAGES, 3)))
    assert torch.equal(images[5, 2], Augmented(RECIPE, IMAGES, 3)[5, 2])


def test_without_its_random_parts_the_recipe_is_the_image():
    plain = Recipe(size=16, scale=(1, 1), ratio=(1, 1), flip=0, policy=None, erase=0, workers=0)
    torch.testing.assert_close(Augmented(plain, IMAGES, 0)[3, 1], IMAGES[1] / 255, atol=1e-6, rtol=0)


def test_transforms_are_those_of_timm():
    names = [type(t).__name__ for t in Augmented(RECIPE, IMAGES, 0).transform.transforms]
    assert names[0] == "RandomResizedCropAndInterpolation"
    assert {"RandomHorizontalFlip", "RandAugment", "RandomErasing"} <= set(names)


def test_posterising_to_no_bits_is_black():
    image = Image.fromarray(np.full((4, 4, 3), 200, np.uint8))
    assert np.asarray(_posterized(image, 0)).max() == 0
    assert np.asarray(_posterized(image, 1)).tolist() == np.full((4, 4, 3), 128).tolist()
    assert _posterized(image, 8) is image


def test_many_images_go_through():
    """Every operation of the policy, at magnitudes beyond its scale, too."""
    images = Augmented(RECIPE, IMAGES, 0)
    assert all(images[step, step % 9].isfinite().all() for step in range(300))


# --- batches -----------------------------------------------------------------------------------------


def test_workers_change_nothing():
    for alone, shared in zip(epoch(batches(0)), epoch(batches(2)), strict=True):
        assert torch.equal(alone, shared)


def test_a_fit_that_goes_on_in_the_middle_of_an_epoch_sees_the_same_images():
    assert torch.equal(epoch(batches(0))[1], epoch(batches(0), first=1)[0])


def test_batches_hold_the_rows_they_say():
    found, order = batches(0), batches(0).order(0)
    batch = found.batch(order, 1, 1, 2)
    images = Augmented(RECIPE, IMAGES, 0)
    for row, x in zip(batch.index.tolist(), batch.x, strict=True):
        assert torch.equal(images[1, row], x)
    assert torch.equal(batch.y, batch.index % 3)


def test_loaded_keeps_the_order():
    images = Augmented(RECIPE, IMAGES, 0)
    places = [[(0, 3), (0, 1)], [(1, 8)]]
    for wanted, x in zip(places, loaded(RECIPE, images, places), strict=True):
        assert torch.equal(x, torch.stack([images[place] for place in wanted]))


# --- mixing ------------------------------------------------------------------------------------------


def test_probabilities_sum_to_one_and_are_smoothed():
    x, y = torch.rand(8, 3, 6, 6), torch.arange(8) % 4
    plain = Mix(mixup=0, cutmix=0, smoothing=0.1)
    same, soft = mixed(plain, x, y, 4, torch.Generator().manual_seed(0))
    assert torch.equal(same, x)
    torch.testing.assert_close(soft.gather(1, y[:, None])[:, 0], torch.full((8,), 0.9 + 0.1 / 4))
    torch.testing.assert_close(soft.sum(1), torch.ones(8))


def test_mixup_is_linear_in_images_and_labels():
    x, y = torch.rand(8, 3, 6, 6), torch.arange(8) % 4
    found, soft = mixed(Mix(cutmix=0, smoothing=0), x, y, 4, torch.Generator().manual_seed(3))
    share = soft.gather(1, y[:, None])[0, 0]
    assert 0 < share < 1
    assert y[0] != y.flip(0)[0]
    torch.testing.assert_close(found, share * x + (1 - share) * x.flip(0))


def test_mixing_draws_from_its_generator_only():
    x, y = torch.rand(4, 3, 6, 6), torch.arange(4)
    one, other = (mixed(Mix(), x, y, 4, torch.Generator().manual_seed(s))[0] for s in (5, 5))
    assert torch.equal(one, other)
    np.random.seed(1)  # noqa: NPY002
    wanted = np.random.rand()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    mixed(Mix(), x, y, 4, torch.Generator().manual_seed(5))
    assert np.random.rand() == wanted  # noqa: NPY002


def test_odd_batches_are_refused():
    with pytest.raises(DataError, match=r"mixed in pairs, found a batch of 3"):
        mixed(Mix(), torch.rand(3, 3, 6, 6), torch.arange(3), 4, torch.Generator())


# --- ImageNet's folder -------------------------------------------------------------------------------


def folder(root: Path, classes=("n01", "n02", "n03"), count=3) -> Path:
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for n in range(count):
            pixels = np.full((20 + n, 30, 3), 40 * k + 10 * n, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{name}_{n}.JPEG")
    return root


def source(name="imagenet_val_folder", digest=None):
    return {
        "filename": f"{name}.txt",
        "hash": digest,
        "needs": "licence",
        "in_place": True,
        "how": "",
        "urls": [],
    }


def listed(root: Path, target: Path) -> tuple[Path, str]:
    """The list of a folder, and its hash, which the first attempt tells."""
    with pytest.raises(DownloadError) as problem:
        fetch("f", source(), target, path=root)
    digest = str(problem.value).split("found    ")[1].split()[0]
    return fetch("f", source(digest=digest), target, path=root), digest


def declaration(digest, classes=3):
    file = {"source": "imagenet_val_folder", **source(digest=digest)}
    return {
        "name": "imagenet", "data": {"name": "imagenet", "classes": classes, "resize": 16, "crop": 12},
        "files": {"val": file}, "classes": classes, "shape": [3, 12, 12], "low": 0.0, "high": 1.0,
        "seed": None, "parts": {"val": 3 * classes},
    }  # fmt: skip


def test_a_folder_is_listed_where_it_is_and_decoded_when_asked(tmp_path):
    root = folder(tmp_path / "val")
    path, digest = listed(root, tmp_path / "resources/sources/imagenet_val_folder/imagenet_val_folder.txt")
    layout = Layout(tmp_path / "results", tmp_path / "resources")
    spec = declaration(digest)
    prepare(spec, {"val": path}, layout.dataset("imagenet"))
    dataset = load_dataset(spec, layout)
    (tmp_path / "rows.txt").write_text("4\n0\n")
    x, y, index = load_split(dataset, {"part": "val", "indices": "rows.txt", "sha256": None}, tmp_path)
    assert x.shape == (2, 3, 12, 12)
    assert x.dtype == torch.uint8
    assert y.tolist() == [1, 0]
    assert index.tolist() == [4, 0]
    assert (x[0].float() - 50).abs().max() <= 3
    assert x[1].max() <= 3
    files, _, _ = load_split(dataset, {"part": "val"}, decode=False)
    assert isinstance(files, ImageFiles)
    assert len(files) == 9
    # Another place, the same folder: the same identity.
    moved = root.rename(tmp_path / "elsewhere")
    assert (
        fetch("f", source(digest=digest), tmp_path / "again.txt", path=moved)
        .read_text()
        .startswith(str(moved))
    )


def test_missing_classes_and_changed_folders_are_told(tmp_path):
    root = folder(tmp_path / "val")
    path, digest = listed(root, tmp_path / "val.txt")
    with pytest.raises(DataError, match=r"expected 4 folders, one per class, found 3: n01, n02, n03"):
        prepare(declaration(digest, classes=4), {"val": path}, tmp_path / "out.safetensors")
    other, _ = listed(folder(tmp_path / "train", ("n01", "n02", "n04")), tmp_path / "train.txt")
    config = plugins.resolve("data", {"name": "imagenet", "classes": 3})
    with pytest.raises(DataError, match=r"missing \['n03'\], only here \['n04'\]"):
        plugins.instantiate("data", config, {"val": path, "train": other}, 0)
    config = plugins.resolve("data", {"name": "imagenet", "classes": 4})
    fuller, _ = listed(folder(tmp_path / "fuller", ("n01", "n02", "n03", "n04")), tmp_path / "fuller.txt")
    with pytest.raises(
        DataError, match=r"expected 4 folders, .* found 3; .* missing \['n04'\], only here \[\]"
    ):
        plugins.instantiate("data", config, {"val": path, "train": fuller}, 0)
    (root / "n01" / "more.JPEG").write_bytes(b"x")
    with pytest.raises(DownloadError):
        fetch("f", source(digest=digest), tmp_path / "changed.txt", path=root)


def test_an_unreadable_image_is_named(tmp_path):
    root = folder(tmp_path / "val")
    (root / "n02" / "n02_1.JPEG").write_bytes(b"no image")
    names = ("n01/n01_0.JPEG", "n02/n02_1.JPEG")
    with pytest.raises(DataError, match=r"n02_1.JPEG cannot be read"):
        ImageFiles(root, names, 16, 12).decoded()


# --- a fit with all of it ----------------------------------------------------------------------------


def test_a_fit_from_files_resumes_to_the_same_bits(tmp_path):
    root = folder(tmp_path / "val", count=4)
    names = tuple(sorted(p.relative_to(root).as_posix() for p in root.rglob("*.JPEG")))
    images = ImageFiles(root, names, 16, 12)
    task = {
        "name": "classifier", "model": {"name": "preact_resnet18", "width": 2},
        "objective": {"name": "gradient_norm", "norm": "l1", "weight": 0.1},
        "optimizer": {"name": "adamw", "lr": 1e-3}, "recipe": {"size": 12, "workers": 0}, "mix": {},
    }  # fmt: skip
    fit_spec = {
        "epochs": 2, "batch_size": 4, "micro_batches": 2, "drop_last": True, "ema": None, "amp": "none",
        "schedule": {"name": "constant"}, "keep_epochs": [], "deterministic": True, "tf32": False,
        "channels_last": False,
    }  # fmt: skip
    spec = {
        "task": plugins.resolve("tasks", task), "dataset": {"name": "made", "files": {}}, "split": {},
        "fit": fit_spec, "monitor": [], "seed": 3, "inputs": {},
    }  # fmt: skip

    def run(results, death=None):
        def die_in_time(state):
            if state.step == death:
                raise Killed

        data = TrainingData(images, torch.arange(12) // 4, 3)
        parts = Parts(data=lambda *_: data, task=before_each_step(die_in_time))
        layout = Layout(tmp_path / results)
        fit(spec, "run", layout, {}, options=FitOptions(save_every_steps=1), parts=parts)
        return load_tensors(layout.weights("run", "final"))

    straight = run("straight")
    with pytest.raises(Killed):
        run("resumed", death=4)
    resumed = run("resumed")
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
