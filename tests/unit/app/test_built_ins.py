from collections.abc import Callable

import pytest
import torch
from cases import each
from omegaconf import DictConfig
from refusals import refused

from ssr_hydra.app import built_ins as module
from ssr_hydra.app.built_ins import LEAST, known_samples
from ssr_hydra.app.check import check, plain
from ssr_hydra.app.targets import instantiate
from ssr_hydra.errors import NotInstalledError, PathError

Composed = Callable[..., DictConfig]


@pytest.fixture(autouse=True)
def _elsewhere(in_tmp, monkeypatch):
    monkeypatch.setenv("SSR_HYDRA_DATA", str(in_tmp / "sets"))


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=cifar100", "model=resnet50", "model.num_classes=100", "model.small_images=true"],
        ["data=mnist", "model=vit", "model.in_channels=1", "model.image_size=28"],
        ["data=fashion_mnist", "model.num_classes=12"],
        ["data=fake", "data.train.shape=[1,8,8]", "model=mlp"],
        ["data=fake", "model=vit_b_16", "+model.options.image_size=32"],
        ["data=fake", "model=vit_b_16", "+data.augment._target_=torchvision.transforms.v2.Resize"],
        ["data=fake", "data.train.shape=[3,75,75]", "model=torchvision", "model.name=inception_v3"],
        ["data=image_folder", "data.train.root=x", "model=efficientnet_b0"],
        ["data=imagenet", "data.train.root=x", "data.train.transforms.flip=null", "model=vit_b_16"],
        ["data=arrays", "data.train.path=x.npz", "model=torchvision", "model.name=swin_t", "model.weights=DEFAULT"],
    ],
)
def test_model_that_matches_its_data_is_valid(composed, overrides):
    values = check(composed(*overrides))
    evaluation, train = values["data"]["eval"], values["data"]["train"]
    differ = {key for key in train if train[key] != evaluation[key]}
    assert differ <= {"split", "size", "folder", "transforms"}  # all other keys follow the training data


@each("key,value", [("download", "yes"), ("name", 3), ("root", 5), ("size", 3)])
def test_wrong_types_in_a_data_config_without_a_preset_are_refused(composed, key, value):
    values = plain(composed("data=mnist"))
    values["data"]["train"] = {"_target_": "ssr_hydra.data.SmallImages", "name": "mnist", key: value}
    with refused(f"data.train.{key}"):
        check(values)


# A config may write downloads only below the folder in which the run starts, or below the user's own data folder.


@pytest.mark.parametrize("root", ["/etc", "~/.ssh", "../here", "data/../../x", "link/x", "/"])
def test_config_cannot_download_outside_the_working_and_data_folders(composed, in_tmp, root):
    (in_tmp / "link").symlink_to("/usr")
    with refused("data.train.root", PathError):
        check(composed("data=mnist", f"data.train.root='{root}'"))
    check(composed("data=mnist", f"data.train.root='{root}'", "data.train.download=false"))


def test_a_config_may_download_below_the_working_folder_or_the_data_folder(composed, in_tmp, monkeypatch):
    elsewhere = in_tmp.parent / "elsewhere"
    monkeypatch.setenv("SSR_HYDRA_DATA", str(elsewhere))
    for root in ("data", "./a/b", "null", "sets/deep", elsewhere):
        check(composed("data=mnist", f"data.train.root={root}"))


def test_data_sets_in_every_part_of_the_config_are_checked():
    with refused("a.b[0].root", PathError):
        module.check_known({"a": {"b": [{"_target_": "ssr_hydra.data.SmallImages", "root": "/etc"}]}})


def test_config_that_needs_uninstalled_torchvision_is_refused_at_composition(composed, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    for overrides in (["model=resnet18"], ["data=mnist"], ["data=image_folder", "data.train.root=x"]):
        with pytest.raises(NotInstalledError, match=r'pip install "ssr-hydra\[vision\]"'):
            check(composed(*overrides))
    check(composed())
    check(composed("data=fake", "model=vit"))


# Preflight uses sizes, shapes and numbers of classes without loading the data.


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "ssr_hydra.data.FakeData", "size": 30, "shape": [2, 4, 4], "num_classes": 3},
        {"_target_": "ssr_hydra.data.FakeData"},
        {"_target_": "ssr_hydra.data.Digits", "eval_fraction": 0.2},
        {"_target_": "ssr_hydra.data.Digits", "split": "eval"},
    ],
)
def test_sizes_and_shapes_known_before_loading_equal_those_of_the_loaded_data(node):
    data = instantiate(node)
    assert known_samples(node) == len(data)
    images = module._images(node)
    assert images is not None
    assert images.shape == tuple(data.tensors[0].shape[1:])
    assert images.num_classes == int(data.tensors[1].max()) + 1


@pytest.mark.parametrize("start", LEAST)
def test_smallest_allowed_images_are_those_that_torchvision_models_accept(start):
    models = pytest.importorskip("torchvision.models")
    name = next(name for name in sorted(models.list_models(module=models)) if name.startswith(start))
    settings = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):  # only the shapes
        model = models.get_model(name, weights=None, num_classes=10, **settings)
        assert model(torch.zeros(16, 3, LEAST[start], LEAST[start])).shape == (16, 10)
        with pytest.raises((RuntimeError, ValueError)):
            model(torch.zeros(16, 3, LEAST[start] - 1, LEAST[start] - 1))


TWO_FILES = ["data=arrays", "data.train.path=t.csv"]


@pytest.mark.parametrize("key", ["data.eval_path", "data.eval.path", "data.train.eval_path"])
def test_eval_path_can_be_set_with_any_of_three_keys(composed, key):
    data = check(composed(*TWO_FILES, f"{key}=e.csv"))["data"]
    assert all((data[split]["path"], data[split]["eval_path"]) == ("t.csv", "e.csv") for split in ("train", "eval"))
    assert "eval_path" not in data
    again = check(composed(*TWO_FILES, f"{key}=./t.csv"))["data"] if key == "data.eval.path" else data
    assert again["eval"]["path"] == "t.csv"


def test_evaluation_images_in_a_different_root_use_the_training_classes(composed, in_tmp):
    overrides = ["data=image_folder", "data.train.root=one", "model=resnet18"]
    data = check(composed(*overrides, "data.eval.root=two"))["data"]
    assert data["eval"]["classes_from"] == str(in_tmp / "one" / "train")
    assert check(composed(*overrides))["data"]["eval"]["classes_from"] == "train"
