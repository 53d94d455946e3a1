import functools
import sys

import numpy as np
import pytest
import torch
from cases import each
from refusals import refused

from ssr_hydra.app.targets import instantiate
from ssr_hydra.configs import TRANSFORMS
from ssr_hydra.data import ImageFolder, make_loaders
from ssr_hydra.errors import ConflictError, MismatchError, NotInstalledError, RunError

transforms = pytest.importorskip("torchvision.transforms.v2")
Image = pytest.importorskip("PIL.Image")


def picture(index, height=6, width=8):
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(in_tmp):
    """Three classes with two training images each; the middle class has no validation image."""
    for number, name in enumerate(["ant", "bee", "cat"]):
        for k in range(2):
            save(in_tmp / f"root/train/{name}/deep/{k}.png", picture(2 * number + k))
        if name != "bee":
            save(in_tmp / f"root/val/{name}/0.png", picture(number))
    (in_tmp / "root/train/ant/readme.txt").write_text("no image")
    return in_tmp / "root"


def test_images_are_decoded_scaled_and_normalised(root):
    data = ImageFolder("root")
    assert (len(data), data.classes) == (6, ["ant", "bee", "cat"])
    image, label = data[3]
    expected = torch.from_numpy(picture(3)).permute(2, 0, 1) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    assert label == 1
    torch.testing.assert_close(image, (expected - mean) / std)
    assert type(image) is torch.Tensor
    plain, _ = ImageFolder("root", mean=None, std=None)[3]
    torch.testing.assert_close(plain, expected)


def test_evaluation_images_in_a_different_root_need_the_training_classes(root):
    for name in ("bee", "cat"):
        save(root.parent / f"other/val/{name}/0.png", picture(1))
    train = ImageFolder("root")
    with refused("eval.classes_from", MismatchError):
        make_loaders(train, ImageFolder("other", "val", classes_from="val"))
    evaluation = ImageFolder("other", "val", classes_from=str(root / "train"))
    assert [evaluation[k][1] for k in range(2)] == [1, 2]
    make_loaders(train, evaluation)
    with refused("eval", ConflictError):
        make_loaders(train, ImageFolder("./root"))


def test_class_that_is_missing_in_validation_does_not_change_class_numbers(root):
    data = ImageFolder("root", folder="val")
    assert [data[k][1] for k in range(len(data))] == [0, 2]
    save(root / "val/dog/0.png", picture(9))
    with refused("folder", MismatchError):
        ImageFolder("root", folder="val")
    assert len(ImageFolder("root", folder="val", classes_from="val")) == 3


def test_transforms_are_applied_in_order_and_null_removes_a_transform(root):
    steps = {"crop": transforms.CenterCrop([4, 4]), "flip": transforms.RandomHorizontalFlip(1.0), "nothing": None}
    image, _ = ImageFolder("root", transforms=steps, mean=None, std=None)[0]
    expected = torch.from_numpy(picture(0)[1:5, 2:6][:, ::-1].copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(image, expected)
    own = {"image": transforms.ToImage(), "float": transforms.ConvertImageDtype()}  # a tensor, already in [0, 1]
    image, _ = ImageFolder("root", transforms=own, mean=None, std=None)[0]
    assert type(image) is torch.Tensor
    torch.testing.assert_close(image, torch.from_numpy(picture(0)).permute(2, 0, 1) / 255)


def test_random_transforms_depend_on_seed_epoch_and_sample(root):
    data = ImageFolder("root", transforms={"crop": transforms.RandomResizedCrop([4, 4], antialias=True)})

    def images(seed, epoch):
        train, _ = make_loaders(data, batch_size=4, seed=seed, shuffle=False)
        train.set_epoch(epoch)
        return torch.cat([batch[0] for batch in train])

    first = images(0, 1)
    assert torch.equal(first, images(0, 1))
    assert not any(torch.equal(first, other) for other in (images(0, 2), images(1, 1)))


def test_different_files_have_different_descriptions(root):
    first = ImageFolder("root").describe()
    assert first == ImageFolder("root").describe()
    assert (first["name"], first["samples"]) == ("root train", 6)
    (root / "train/cat/deep/1.png").rename(root / "train/bee/deep/7.png")  # a different class
    moved = ImageFolder("root").describe()["sha256"]
    save(root / "train/bee/deep/7.png", picture(1, 60, 80))  # a different size
    larger = ImageFolder("root").describe()["sha256"]
    assert len({first["sha256"], moved, larger}) == 3


@pytest.mark.parametrize("content", [b"no image", None])
def test_error_for_a_broken_image_names_the_file(root, content):
    file = root / "train/bee/deep/0.png"
    file.write_bytes(file.read_bytes()[:60] if content is None else content)
    with pytest.raises(RunError) as caught:
        ImageFolder("root")[2]
    assert str(caught.value).startswith("root/train/bee/deep/0.png cannot be read: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"root": "nowhere"}, "root"),
        ({"root": 3}, "root"),
        ({"root": "root/train"}, "root"),
        ({"root": "root/train", "folder": "ant", "classes_from": "ant"}, "root"),  # no image except in this folder
        ({"mean": [0.5]}, "mean"),
        ({"std": [1, 0, 1]}, "std[1]"),
        ({"transforms": {"crop": functools.partial(transforms.Resize, 3)}}, "transforms.crop"),
    ],
)
def test_error_for_an_invalid_argument_names_the_argument(root, arguments, field):
    for image in (root / "train/ant/deep").iterdir():
        image.unlink()
    with refused(field):
        ImageFolder(**{"root": "root", **arguments})


def test_without_torchvision_one_line_says_how_to_install_it(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        monkeypatch.setitem(sys.modules, name, None)
    with refused("root", NotInstalledError, match=r'pip install "ssr-hydra\[vision\]"'):
        ImageFolder("root")


@each("name", TRANSFORMS)
def test_every_transform_that_needs_no_trust_works_on_an_image(name):
    assert issubclass(getattr(transforms, name), transforms.Transform)
    size, nested = {"size": [4, 4]}, {"transforms": [{"_target_": "torchvision.transforms.v2.RGB"}]}
    arguments = {
        **dict.fromkeys(("CenterCrop", "RandomCrop", "RandomResizedCrop", "Resize"), size),
        **dict.fromkeys(("Compose", "RandomApply", "RandomChoice", "RandomOrder"), nested),
        "GaussianBlur": {"kernel_size": 3},
        "JPEG": {"quality": 50},
        "Normalize": {"mean": [0.5] * 3, "std": [0.5] * 3},
        "Pad": {"padding": 1},
        "RandomAdjustSharpness": {"sharpness_factor": 2},
        "RandomAffine": {"degrees": 10},
        "RandomPosterize": {"bits": 4},
        "RandomResize": {"min_size": 4, "max_size": 9},
        "RandomRotation": {"degrees": 10},
        "RandomShortestSize": {"min_size": [4, 5]},
        "RandomSolarize": {"threshold": 100},
        "ScaleJitter": {"target_size": [32, 32], "scale_range": [0.5, 2]},
    }.get(name, {})
    transform = instantiate({"_target_": f"torchvision.transforms.v2.{name}", **arguments})
    image = torch.from_numpy(picture(0, 48, 64)).permute(2, 0, 1)
    image = image.float() / 255 if name in ("Normalize", "GaussianNoise") else transforms.functional.to_pil_image(image)
    assert isinstance(transform(image), (torch.Tensor, Image.Image))


def test_the_test_folder_has_classes_and_transforms_of_the_evaluation_data(root):
    save(root / "test/cat/0.png", picture(9))
    flip = transforms.RandomHorizontalFlip(p=1.0)
    data = ImageFolder("root", "val", transforms={"flip": flip}, mean=None, std=None).other("test")
    image, label = data[0]
    assert (len(data), label) == (1, 2)
    torch.testing.assert_close(image, torch.from_numpy(picture(9)).permute(2, 0, 1).flip(2) / 255)
