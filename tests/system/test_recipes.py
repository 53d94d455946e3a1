"""Every recipe in conf/experiment: composed as it is, and built with its model and run for a step.

If a data set is not on every machine, generated images with the same shape and number of classes replace it.
"""

import numpy as np
import pytest
from checkout import REPO
from cli_helpers import answer

from ssr_hydra.app.check import check
from ssr_hydra.app.train import build
from ssr_hydra.errors import InputError
from ssr_hydra.trainer import RunResult

FAKE_32 = ["data=fake", "data.train.size=8", "data.eval.size=8"]
FAKE_28 = [*FAKE_32, "data.train.shape=[1,28,28]"]
FAKE_64 = [*FAKE_32, "data.train.shape=[3,64,64]", "data.train.num_classes=1000"]
TABLE = ["data.train.path=table.csv", "model.in_features=4", "model.num_classes=3"]
# Name: overrides that the recipe needs, overrides that replace its data, length in epochs, number of weights.
RECIPES = {
    # The published sizes of the two ResNets.
    "resnet50_imagenet": (["data.train.root=images"], FAKE_64, "90ep", 25_557_032),
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
def table(in_tmp):
    rng = np.random.default_rng(0)
    rows = "".join(f"{','.join(f'{v:.3f}' for v in rng.normal(size=4))},{k % 3}\n" for k in range(30))
    (in_tmp / "table.csv").write_text(f"a,b,c,d,kind\n{rows}")


def test_every_experiment_file_has_a_test():
    assert set(RECIPES) | OTHERS == {path.stem for path in (REPO / "conf/experiment").glob("*.yaml")}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_valid_at_any_ssr(table, composed, name):
    needs, _, length, _ = RECIPES[name]
    config = composed(f"experiment={name}", *needs)
    for ssr in (0.1, 2.5):
        config.ssr = ssr
        values = check(config)
        assert (values["name"], values["max_duration"], values["ssr"]) == (name, length, ssr)


# The parameters without weight decay.
SPARED = {
    "resnet50_imagenet": lambda name, p: p.ndim == 1 and name != "fc.bias",
    "cifar10_vit": lambda name, p: p.ndim == 1 or name in ("position", "class_token"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_built_and_trains(table, composed, name):
    _, stand_in, length, weights = RECIPES[name]
    # Half an epoch, and an epoch is one batch. A run ends at the first end of a batch at or after its length.
    quick = [f"ssr={0.5 / float(length.removesuffix('ep'))}", "trainer.device=cpu", "trainer.progress=none"]
    trainer = build(composed(f"experiment={name}", *stand_in, *quick))
    named = dict(trainer.model.named_parameters())
    assert sum(p.numel() for p in named.values()) == weights
    groups = trainer.state.optimizers[0].param_groups
    assert {id(p) for group in groups for p in group["params"]} == {id(p) for p in named.values()}
    if name in SPARED:
        spared = {id(p) for group in groups if group["weight_decay"] == 0 for p in group["params"]}
        assert spared == {id(p) for key, p in named.items() if SPARED[name](key, p)}
    record = trainer.fit()
    assert record.status == "completed"
    assert (record.steps, record.samples) == (1, 24 if name == "arrays_mlp" else 8)  # 4/5 of 30 rows; 8 images
    assert set(record.metrics) == {"train/loss", "eval/loss", "eval/accuracy"}


def test_image_folders_in_the_imagenet_layout_can_be_used_for_training(in_tmp, clean_hydra, capsys):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for label in ("n01", "n02"):
            (in_tmp / f"images/{split}/{label}").mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                image.fromarray(pixels).save(in_tmp / f"images/{split}/{label}/{k}.jpeg")
    completed = answer(
        capsys,
        "experiment=resnet50_imagenet",
        "data.train.root=images",
        "data.batch_size=4",
        "data.num_workers=1",
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
    assert completed.code == 0, completed.err
    # 1.8 epochs of 6 images in batches of 4 and 2: the run ends at the first batch boundary at or after that.
    record = RunResult.load(in_tmp / "run")
    assert (record.steps, record.samples) == (4, 12)


def test_data_that_the_model_of_a_recipe_cannot_accept_is_refused(composed):
    with pytest.raises(InputError, match=r"model.in_channels=3: must match the data, whose samples have the shape"):
        check(composed("experiment=cifar10_resnet18", "data=mnist"))
