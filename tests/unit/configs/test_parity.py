"""Compare every config with the signature of its target: names, order, kinds, defaults, types."""

import dataclasses
import importlib
import inspect
from typing import Any, get_type_hints

import pytest
import torch
from omegaconf import OmegaConf

from ssr_hydra.app.targets import DATA_CONFIGS
from ssr_hydra.configs import GROUPS, CheckpointConfig, PhaseConfig, ResumeConfig, TrainerConfig
from ssr_hydra.data import make_loaders
from ssr_hydra.schedulers import Phase
from ssr_hydra.settings import CheckpointSettings, CountSettings, DataSettings, ResumeSettings, StepSettings, setting_of
from ssr_hydra.time import Time
from ssr_hydra.trainer import Trainer

# Arguments whose default in the config is not that of the class. torch's default of mode is wrong for our objective. A
# phase has no scheduler until the user chooses one from the group scheduler.
OWN_DEFAULTS = {("torch_plateau", "mode"): "auto", ("phase", "scheduler"): None}
# Arguments without a default in the class and without a preset.
MANDATORY = {
    ("torch_lambda", "lr_lambda"),
    ("torch_multiplicative", "lr_lambda"),
    ("timm", "name"),
    ("torchvision", "name"),
    ("Arrays", "path"),
    ("ImageFolder", "root"),
}
CLASSES = [
    (group, name, config)
    for group in ("scheduler", "optimizer", "model", "logger", "callbacks")
    for name, config in GROUPS[group].items()
    if inspect.isclass(config)
]
CLASSES += [("data", target.rpartition(".")[2], config) for target, config in DATA_CONFIGS.items()]
CLASSES += [("scheduler", "phase", PhaseConfig)]


def located(config):
    if config is PhaseConfig:
        return Phase
    module, _, name = config._target_.rpartition(".")
    return getattr(importlib.import_module(module), name)


def parameters(target):
    return [p for p in inspect.signature(target).parameters.values() if p.name not in ("params", "self")]


def fields(config):
    # In the config of an optimizer, params selects parameters. In the signature of the class, params are parameters.
    return {field.name: field for field in dataclasses.fields(config) if field.name not in ("_target_", "params")}


def default_of(field):
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()


def normal(value):
    """Defaults with the same meaning: a Time and its string, a tuple and a list."""
    if isinstance(value, Time):
        return value.to_timestring()
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("group", "name", "config"), CLASSES, ids=lambda x: x if isinstance(x, str) else "")
def test_config_arguments_have_the_names_kinds_defaults_and_order_of_the_class(group, name, config):
    expected, config_fields = parameters(located(config)), fields(config)
    assert [p.name for p in expected] == list(config_fields)
    for parameter in expected:
        field, key = config_fields[parameter.name], (name, parameter.name)
        assert field.kw_only == (parameter.kind is parameter.KEYWORD_ONLY), parameter.name
        default = OWN_DEFAULTS.get(key, parameter.default)
        if default is parameter.empty:
            assert (default_of(field) == "???") == (key in MANDATORY), parameter.name
        else:
            assert normal(default_of(field)) == normal(default), parameter.name


# One argument of each kind, with its type in the config. OmegaConf supports neither Time nor Sequence. The type is Any
# for a function, and for a choice between a list or mapping and something else.
TYPES = [
    ("scheduler", "cosine_warmup", "t_warmup", str),
    ("scheduler", "cosine_warmup", "scale_warmup", bool),
    ("scheduler", "multistep", "milestones", list[str]),
    ("scheduler", "piecewise_linear", "points", Any),
    ("scheduler", "product", "factors", dict[str, Any]),
    ("scheduler", "sequence", "phases", dict[str, PhaseConfig]),
    ("scheduler", "torch_step", "step_size", int | str),
    ("scheduler", "torch_onecycle", "total_steps", int | str | None),
    ("scheduler", "torch_onecycle", "max_lr", Any),
    ("scheduler", "torch_lambda", "lr_lambda", Any),
    ("optimizer", "adamw", "lr", float),
    ("optimizer", "adamw", "betas", tuple[float, float]),
    ("optimizer", "adafactor", "eps", tuple[float | None, float]),
    ("optimizer", "muon", "ns_steps", int),
    ("optimizer", "muon", "adjust_lr_fn", str | None),
    ("optimizer", "sgd", "fused", bool | None),
    ("callbacks", "ema", "half_life", str | None),
]


@pytest.mark.parametrize(("group", "name", "argument", "kind"), TYPES)
def test_argument_has_the_right_type_in_its_config(group, name, argument, kind):
    assert get_type_hints(GROUPS[group][name])[argument] == kind


@pytest.mark.parametrize(("group", "name", "config"), [case for case in CLASSES if case[0] in ("model", "data")])
def test_config_of_a_model_or_data_set_has_the_types_of_the_class(group, name, config):
    target = located(config)
    expected = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for argument, kind in get_type_hints(config).items():
        if argument not in ("_target_", "transforms"):  # a config has no type for functions such as transforms
            text = str(expected[argument]).replace("collections.abc.Sequence", "list")
            assert str(kind) == text.replace("collections.abc.Mapping", "dict"), argument


def test_every_first_order_optimizer_of_torch_has_a_config():
    classes = {
        f"torch.optim.{name}"
        for name, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer)
    }
    configured = {config._target_ for config in GROUPS["optimizer"].values() if inspect.isclass(config)}
    assert configured == classes - {"torch.optim.Optimizer", "torch.optim.LBFGS"}
    for name, config in GROUPS["optimizer"].items():
        if inspect.isclass(config):
            assert name == config._target_.rpartition(".")[2].lower()


def test_every_scheduler_class_has_a_config():
    module = importlib.import_module("ssr_hydra.schedulers")
    classes = {
        name for name in dir(module) if name.endswith("Scheduler") and dataclasses.is_dataclass(getattr(module, name))
    }
    configured = {
        config._target_.rpartition(".")[2]
        for config in GROUPS["scheduler"].values()
        if getattr(config, "_target_", "").startswith("ssr_hydra.schedulers.")
    }
    assert configured == classes


def test_data_config_has_the_arguments_of_make_loaders():
    own = [p.name for p in parameters(make_loaders)]
    assert own == ["train", "eval", "augment", "seed", "device", "rank", "world_size", "settings"]
    # Values that the run sets are not fields of the data: its seed, device and processes.
    defaults = {name: default_of(field) for name, field in fields(GROUPS["data"]["custom"]).items()}
    assert defaults == {
        "train": {"_target_": "???"},
        "eval": None,
        "test": None,
        "augment": None,
        **vars(DataSettings()),
    }


def test_trainer_config_has_the_arguments_of_the_trainer():
    # Values that the app itself sets or creates. The argument precision is a shortcut for step.precision.
    built = (
        "model train_dataloader eval_dataloader test_dataloader optimizers schedulers schedules max_duration ssr seed "
        "run_dir name config callbacks loggers checkpoint resume control precision step counts"
    ).split()
    expected = {p.name: p.default for p in parameters(Trainer) if p.name not in built}
    for setting in (CountSettings, StepSettings):
        expected |= {p.name: p.default for p in parameters(setting)}
    defaults = {name: default_of(field) for name, field in fields(TrainerConfig).items()}
    assert defaults.pop("threads") == 1
    assert list(defaults) == list(expected)
    # The config states these values, so that the command line can override them. They equal the trainer's defaults.
    assert defaults.pop("loss") == {"_target_": "torch.nn.CrossEntropyLoss"}
    assert defaults.pop("metrics") == {"accuracy": {"_target_": "ssr_hydra.trainer.accuracy", "_partial_": True}}
    assert defaults.pop("objective") == "eval/accuracy"
    for name, default in defaults.items():
        assert default == expected[name], name


@pytest.mark.parametrize(
    ("config", "setting"), [(CheckpointConfig, CheckpointSettings), (ResumeConfig, ResumeSettings)]
)
def test_config_of_a_settings_class_has_the_arguments_and_defaults_of_the_class(config, setting):
    assert vars(config()) == vars(setting())
    node = OmegaConf.structured(config)
    for name, value in vars(setting()).items():  # the setting is frozen, but its config is not
        node[name] = value
    assert setting_of(setting, OmegaConf.to_container(node), "x") == setting()


@pytest.mark.parametrize("group", GROUPS)
def test_every_config_can_be_loaded_and_changed_with_omegaconf(group):
    for name, config in GROUPS[group].items():
        node = OmegaConf.structured(config) if not isinstance(config, dict) else OmegaConf.create(config)
        assert not OmegaConf.is_readonly(node), name
