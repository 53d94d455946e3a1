"""Models, losses and units of time must fit the kind of data before it is read; models must fit the data afterwards."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig
from refusals import refused

from ssr_hydra.app.check import check
from ssr_hydra.errors import MismatchError

Composed = Callable[..., DictConfig]
TABLE = ("data=arrays", "data.train.path=t.csv", "model=mlp", "max_duration=1ep", "trainer.progress=none")
LENGTHS = ("data.train.task=regression", "data.train.inputs=[width]", "data.train.targets=[length]")
KINDS = ("data.train.inputs=[width,length]", "data.train.targets=[kind]")


@pytest.fixture
def table(in_tmp):
    rows = [f"{k}.0,{2 * k}.5,{'abc'[k % 3]}\n" for k in range(30)]
    (in_tmp / "t.csv").write_text("width,length,kind\n" + "".join(rows))


def test_null_removes_a_metric_of_a_preset(composed):
    top2 = "+trainer.metrics.top2._target_=ssr_hydra.trainer.accuracy"
    values = check(composed("trainer.metrics.accuracy=null", top2, "trainer.objective=eval/top2"))
    assert list(values["trainer"]["metrics"]) == ["top2"]


def test_custom_data_set_is_accepted_although_its_targets_are_unknown(composed):
    own = composed("data=custom", "data.train._target_=ssr_hydra_own.Table", "data.eval=null", "trainer=regression")
    own.trainer.objective = None
    check(own, trust=["ssr_hydra_own"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (KINDS, "model.in_features=64: must match the data, "),
        ((*KINDS, "model.in_features=2", "model.num_classes=2"), "model.num_classes=2: must be at least 3, "),
        ((*LENGTHS, "trainer=regression", "model.in_features=1"), "model.num_classes=10: must be 1, "),
        ((*KINDS, "model=conv"), "model._target_='ssr_hydra.models.ConvNet': is a model for images, "),
        ((*KINDS, "model=conv", "data.train.shape=[2,1,1]"), "model.in_channels=1: must match the data, "),
    ],
)
def test_a_model_that_does_not_fit_a_table_is_refused_when_the_table_is_read(table, refused, overrides, message):
    assert refused(*TABLE, *overrides).startswith(f"error: {message}")


def test_classes_that_occur_only_in_evaluation_data_are_counted(refused, in_tmp):
    for name, classes in (("t.csv", 2), ("other.csv", 4)):
        (in_tmp / name).write_text("x,y\n" + "".join(f"{k}.5,{k % classes}\n" for k in range(20)))
    message = refused(*TABLE, "data.train.eval_path=other.csv", "model.in_features=1", "model.num_classes=2")
    assert message.startswith("error: model.num_classes=2: must be at least 4, the number of classes")


TABLES = Path(__file__).parents[1] / "data" / "tables"


def test_separate_training_and_evaluation_files_are_both_used_completely(app, in_tmp):
    arguments = ("data=arrays", f"data.train.path={TABLES / 'trees_train.csv'}", "model=mlp", "model.in_features=2")
    app(*arguments, f"data.eval.path={TABLES / 'trees_test.csv'}", "model.num_classes=3", "hydra.run.dir=out")
    result = json.loads((in_tmp / "out" / "result.json").read_text())
    assert result["data"]["dataset"]["samples"] == 60
    assert result["metrics"]["eval/accuracy"] == 1.0  # three clusters, far apart; shifted class numbers would give 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing_label", "is missing (TABLE, row 9, column 'label')"),
        ("no_header", "row 1, column 1 of TABLE is the number 5.0; set header=false"),
    ],
)
def test_table_with_unclear_columns_or_missing_values_is_refused(refused, name, message):
    table = str(TABLES / f"{name}.csv")
    assert message.replace("TABLE", table) in refused("data=arrays", f"data.train.path={table}", "model=mlp")


def test_trainer_for_regression_trains_on_a_table_of_numbers(table, app, in_tmp):
    app(*TABLE, *LENGTHS, "trainer=regression", "model.in_features=1", "model.num_classes=1", "hydra.run.dir=out")
    result = json.loads((in_tmp / "out" / "result.json").read_text())
    assert result["status"] == "completed"
    assert result["metrics"]["eval/loss"] > 0


@pytest.mark.parametrize("name", ["byte_lm", "byte_lm_transformer", "byte_lm_ragged"])
def test_experiments_on_text_are_valid(composed, name):
    values = check(composed(f"experiment={name}", "ssr=0.125"))
    assert values["max_duration"].endswith("tok")
    assert values["trainer"]["objective"] == "eval/bits_per_byte"
    values = check(composed(f"experiment={name}", "data.train.split_seed=3", "data.train.eval_fraction=0.2"))
    assert (values["data"]["eval"]["split_seed"], values["data"]["eval"]["eval_fraction"]) == (3, 0.2)


TIMES = "max_duration trainer.eval_interval trainer.log_interval trainer.iteration_length checkpoint.interval"


@pytest.mark.parametrize("field", TIMES.split())
def test_time_in_tokens_is_refused_for_images(composed, field):
    with refused(field, MismatchError):
        check(composed(f"{field}=1000tok", "trainer.tokens_per_batch=8"))  # a rate does not count tokens
    check(composed(f"{field}=1000tok", "+trainer.get_num_tokens_in_batch={_target_: torch.nn.Identity}"))
    check(composed("experiment=byte_lm", f"{field}=1000tok"))
