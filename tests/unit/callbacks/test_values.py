import math

from callback_helpers import StubTrainer
from refusals import refused

from ssr_hydra.callbacks import values
from ssr_hydra.callbacks.values import columns, flat, run_folder, scalars
from ssr_hydra.errors import MissingValueError, NotInstalledError


def test_several_param_groups_have_separate_columns():
    record = {"lr": 0.1, "lrs": [0.1, 0.2], "weight_decays": [1, 2], "betas": [[0.9, 0.99]], "momentum": {"a": 1}}
    assert columns(record) == {
        "lr": 0.1,
        "lr/0": 0.1,
        "lr/1": 0.2,
        "weight_decays/0": 1,  # the record has no key weight_decay, so this name keeps its s
        "weight_decays/1": 2,
        "betas/0/0": 0.9,
        "betas/0/1": 0.99,
        "momentum/a": 1,
    }


def test_scalars_do_not_include_counters_and_text():
    numbers = scalars(
        {"event": "eval", "batch": 3, "epoch": 1, "a": math.nan, "b": -math.inf, "c": None, "d": "x", "e": True}
    )
    assert list(numbers) == ["a", "b", "e"]
    assert math.isnan(numbers["a"])
    assert (numbers["b"], numbers["e"]) == (-math.inf, 1.0)


def test_the_two_losses_of_training_have_different_names():
    assert scalars({"event": "train", "batch": 16, "train/loss": 1.0}) == {"train/loss": 1.0}
    assert scalars({"event": "eval", "batch": 16, "train/loss": 2.0, "eval/loss": 3.0}) == {
        "train/loss_since_eval": 2.0,
        "eval/loss": 3.0,
    }


def test_empty_config_has_no_values():
    assert flat(None) == flat({}) == {}
    assert flat({"a": [], "b": {}, "c": False}) == {"a": "[]", "b": "{}", "c": False}


def test_logger_of_a_run_without_a_folder_is_refused(tmp_path):
    with refused("run_dir", MissingValueError):
        run_folder(StubTrainer(None), "csv")
    assert run_folder(StubTrainer(tmp_path / "new" / "run"), "csv").is_dir()


def test_error_for_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(values.PACKAGES, "wandb", ("json", "no_such_package"))
    with refused("logger", NotInstalledError) as caught:
        values.require_extra("wandb")
    message = "logger='wandb': needs no_such_package, which is not installed; pip install \"ssr-hydra[wandb]\""
    assert str(caught.value) == message
