"""Every recipe in conf/experiment: composed as it is, built with its model, and run for a step.

Where its data is not on this machine, images that are made stand in, of the same shape and number of classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkout import REPO
from cli_helpers import answer
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ssr_hydra.app.check import check
from ssr_hydra.app.train import build
from ssr_hydra.configs import GROUPS, conf_dir, register
from ssr_hydra.errors import InputError
from ssr_hydra.trainer import RunResult

FAKE_32 = ["data=fake", "data.train.size=8", "data.eval.size=8"]
FAKE_28 = [*FAKE_32, "data.train.shape=[1,28,28]"]
FAKE_224 = ["data=fake", "data.train.size=2", "data.eval.size=2", "data.batch_size=2"]
FAKE_224 += ["data.train.shape=[3,224,224]", "data.train.num_classes=1000"]
TABLE = ["data.train.path=table.csv", "model.in_features=4", "model.num_classes=3"]
# Name: what it needs to be composed, what stands in for its data, its length in epochs, its number of weights.
RECIPES: dict[str, tuple[list[str], list[str], str, int]] = {
    # The published sizes of the two ResNets.
    "resnet50_imagenet": (["data.train.root=images"], FAKE_224, "90ep", 25_557_032),
    "cifar10_resnet18": ([], FAKE_32, "200ep", 11_173_962),
    "cifar10_vit": ([], FAKE_32, "200ep", 2_693_578),
    # 784 x 256 + 256, 256 x 128 + 128, 128 x 10 + 10.
    "mnist_mlp": ([], FAKE_28, "10ep", 200_960 + 32_896 + 1_290),
    # Three 3x3 convolutions with the scales and shifts of their norms, 4 x 64 x 10 + 10.
    "fashion_mnist_conv": ([], FAKE_28, "10ep", 144 + 32 + 4608 + 64 + 18432 + 128 + 2570),
    "arrays_mlp": (TABLE, TABLE, "50ep", 320 + 4160 + 195),
}
OTHERS = {"digits_wsd", "digits_product", "digits_adamw_sequence", "byte_lm", "byte_lm_ragged", "byte_lm_transformer"}


@pytest.fixture
def composed(clean_hydra: None, in_tmp: Path) -> Callable[..., DictConfig]:
    rng = np.random.default_rng(0)
    rows = "".join(f"{','.join(f'{v:.3f}' for v in rng.normal(size=4))},{k % 3}\n" for k in range(30))
    (in_tmp / "table.csv").write_text(f"a,b,c,d,kind\n{rows}")
    register(GROUPS)

    def make(name: str, *overrides: str) -> DictConfig:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("config", [f"experiment={name}", *overrides])

    return make


def test_every_recipe_is_tested_here_or_with_its_data() -> None:
    assert set(RECIPES) | OTHERS == {path.stem for path in (REPO / "conf/experiment").glob("*.yaml")}


@pytest.mark.parametrize("name", RECIPES)
def test_it_composes_and_is_good_at_any_ratio(composed: Callable[..., DictConfig], name: str) -> None:
    needs, _, length, _ = RECIPES[name]
    for ssr in (0.1, 1, 2.5):
        values = check(composed(name, *needs, f"ssr={ssr}"))
    assert (values["name"], values["max_duration"]) == (name, length)


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_built(composed: Callable[..., DictConfig], name: str) -> None:
    trainer = build(composed(name, *RECIPES[name][1], "trainer.device=cpu", "trainer.progress=none"))
    assert sum(p.numel() for p in trainer.model.parameters()) == RECIPES[name][3]
    groups = trainer.state.optimizers[0].param_groups
    held = {id(p) for group in groups for p in group["params"]}
    assert held == {id(p) for p in trainer.model.parameters()}


@pytest.mark.parametrize(
    ("name", "without_decay"),
    [
        ("resnet50_imagenet", lambda name, p: p.ndim == 1 and name != "fc.bias"),
        ("cifar10_vit", lambda name, p: p.ndim == 1 or name in ("position", "class_token")),
    ],
)
def test_decay_spares_what_it_should(composed: Callable[..., DictConfig], name: str, without_decay: Any) -> None:
    trainer = build(composed(name, *RECIPES[name][1], "trainer.device=cpu", "trainer.progress=none"))
    groups = trainer.state.optimizers[0].param_groups
    spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
    expected = {id(p) for key, p in trainer.model.named_parameters() if without_decay(key, p)}
    assert spared == expected


@pytest.mark.parametrize("name", RECIPES)
def test_it_trains(
    composed: Callable[..., DictConfig], name: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, stand_in, length, _ = RECIPES[name]
    # Half an epoch, where an epoch is one batch: the run ends at the first batch boundary at or after that.
    quick = [f"ssr={0.5 / float(length.removesuffix('ep'))}", "trainer.device=cpu", "trainer.progress=none"]
    said = answer(capsys, f"experiment={name}", *stand_in, *quick, "hydra.run.dir=run")
    assert said.code == 0, said.err
    record = RunResult.load(in_tmp / "run")
    assert record.status == "completed"
    samples = {"arrays_mlp": 24, "resnet50_imagenet": 2}.get(name, 8)  # four fifths of 30 rows; the stand-ins
    assert (record.steps, record.samples) == (1, samples)
    assert set(record.metrics) == {"train/loss", "eval/loss", "eval/accuracy"}


def test_imagenets_layout_is_trained_from_folders(
    in_tmp: Path, clean_hydra: None, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for label in ("n01", "n02"):
            (in_tmp / f"images/{split}/{label}").mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                image.fromarray(pixels).save(in_tmp / f"images/{split}/{label}/{k}.jpeg")
    said = answer(
        capsys,
        "experiment=resnet50_imagenet",
        "data.train.root=images",
        "data.batch_size=4",
        "data.num_workers=2",
        "data.prefetch_factor=1",
        "data.train.transforms.crop.size=32",
        "data.eval.transforms.resize.size=36",
        "data.eval.transforms.crop.size=32",
        "+data.train.transforms.augment._target_=torchvision.transforms.v2.TrivialAugmentWide",
        "model=resnet18",
        "model.options={}",
        "model.num_classes=2",
        "ssr=0.02",
        "trainer.device=cpu",
        "trainer.progress=none",
        "hydra.run.dir=run",
    )
    assert said.code == 0, said.err
    # 1.8 epochs of 6 images in batches of 4 and 2: the run ends at the first batch boundary at or after that.
    record = RunResult.load(in_tmp / "run")
    assert (record.steps, record.samples) == (4, 12)


def test_data_that_a_recipes_model_cannot_take_is_refused(composed: Callable[..., DictConfig]) -> None:
    with pytest.raises(InputError, match=r"model.in_channels=3: an image of the data is 1 x 28 x 28"):
        check(composed("cifar10_resnet18", "data=mnist"))
