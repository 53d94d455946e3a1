import importlib.machinery
import importlib.util
import json
from collections.abc import Callable

import pytest
from callback_helpers import scalars_of_tensorboard
from omegaconf import DictConfig

from ssr_hydra.app.check import check
from ssr_hydra.app.factory import make_callbacks
from ssr_hydra.app.train import train
from ssr_hydra.callbacks import EMA, CSVLogger, Throughput, values
from ssr_hydra.errors import InputError
from ssr_hydra.trainer import RunResult

Compose = Callable[..., DictConfig]


def message(cfg, **arguments):
    with pytest.raises(InputError) as caught:
        check(cfg, **arguments)
    return str(caught.value)


def test_several_choices_of_a_group_can_be_combined(composed):
    cfg = composed("logger=[csv,tensorboard]", "callbacks=[ema,throughput]", "callbacks.ema.half_life=0.1dur")
    callbacks, loggers = make_callbacks(check(cfg), ())
    assert [(name, type(item)) for name, item in callbacks.items()] == [("ema", EMA), ("throughput", Throughput)]
    assert list(loggers) == ["csv", "tensorboard"]
    assert type(loggers["csv"]) is CSVLogger
    assert list(check(composed("logger=csv"))["logger"]) == ["csv"]
    # The other processes of a run log nothing, so they do not need the packages of loggers.
    assert make_callbacks(check(cfg), (), is_main=False)[1] == {}


@pytest.mark.extra("wandb")
@pytest.mark.parametrize(("key", "value"), [("mode", "disabled"), ("project", "' '")])
def test_invalid_values_of_wandb_are_refused(composed, key, value):
    assert message(composed("logger=[wandb]", f"logger.wandb.{key}={value}")).startswith(f"logger.wandb.{key}=")


def test_wrong_arguments_of_a_callback_without_a_preset_are_refused(experiment):
    experiment["callbacks"] = {"ema": {"_target_": "ssr_hydra.callbacks.EMA"}}
    assert "callbacks.ema.decay=None: is missing" in message(experiment)
    experiment["callbacks"] = ["ema"]
    assert "callbacks=['ema']: must be a mapping from name to config" in message(experiment)


@pytest.mark.parametrize("extra", ["tensorboard", "wandb", "mlflow", "trackio"])
def test_a_missing_package_is_reported_before_any_object_is_created(composed, monkeypatch, extra):
    cfg = composed(f"logger=[{extra}]")
    missing = values.PACKAGES[extra][-1]
    # The other packages count as installed on every machine.
    spec = importlib.machinery.ModuleSpec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else spec(name, None))
    reason = f'needs {missing}, which is not installed; pip install "ssr-hydra[{extra}]"'
    assert message(cfg) == f"logger.{extra}='{extra}': {reason}"


def test_a_trusted_callback_is_accepted(composed):
    cfg = composed("+callbacks.mine._target_=my_package.Mine", "+callbacks.mine.every=3")
    assert check(cfg, trust=["my_package"])["callbacks"]["mine"] == {"_target_": "my_package.Mine", "every": 3}
    assert "is neither in the built-in list of allowed names nor in the setting trust" in message(cfg)


@pytest.mark.parametrize("preset", ["one_batch", "overfit", "limit"])
def test_debug_presets_work_with_every_experiment(composed, preset):
    config = check(composed("data=stdlib_bytes", "model=byte_mlp", "trainer=language", f"debug={preset}"))
    assert config["debug"] == preset
    assert config["data"]["limit_train"] in (1, 4, 8)


def run(composed, folder, *overrides):
    train(composed(*overrides, "trainer.progress=none", "trainer.device=cpu"), run_dir=folder)
    return RunResult.load(folder)


def test_debug_runs_are_short_and_their_records_name_the_preset(composed, tmp_path):
    one = run(composed, tmp_path / "one", "debug=one_batch")
    assert (one.name, one.steps, one.samples) == ("digits (debug=one_batch)", 20, 20 * 16)
    assert not (tmp_path / "one" / "checkpoints").exists()
    short = run(composed, tmp_path / "short", "debug=limit")
    assert (short.name, short.steps, len(short.evaluations)) == ("digits (debug=limit)", 16, 2)
    assert run(composed, tmp_path / "real", "ssr=0.05").name == "digits"


def test_debug_overfit_preset_reaches_accuracy_1(composed, tmp_path):
    result = run(composed, tmp_path, "debug=overfit")
    assert result.steps == 400
    assert result.metrics["eval/accuracy"] == 1.0
    assert result.metrics["eval/loss"] < 0.01


def test_loggers_and_callbacks_of_the_config_are_used(composed, tmp_path):
    pytest.importorskip("tensorboard")
    overrides = ["logger=[csv,tensorboard]", "callbacks=[ema]", "callbacks.ema.half_life=0.1dur", "ssr=0.1"]
    result = run(composed, tmp_path, *overrides)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + len(records)
    scalars = scalars_of_tensorboard(tmp_path / "tensorboard")
    assert [step for step, _ in scalars["lr"]] == [record["batch"] for record in records if "lr" in record]
    for (_, logged), record in zip(scalars["lr"], (record for record in records if "lr" in record), strict=True):
        assert logged == pytest.approx(record["lr"], rel=1e-6)
    assert scalars["eval/accuracy"][-1][1] == pytest.approx(result.metrics["eval/accuracy"], rel=1e-6)
    plain = run(composed, tmp_path / "plain", "ssr=0.1")
    assert plain.metrics["train/loss"] == result.metrics["train/loss"]
    assert plain.metrics["eval/loss"] != result.metrics["eval/loss"]
