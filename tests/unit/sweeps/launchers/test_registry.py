"""The launcher as Hydra finds it, and its config against its signature."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ssr_hydra.configs import GROUPS, LAUNCHERS, ProcessLauncherConfig, StudySweeperConfig, conf_dir, register
from ssr_hydra.sweeps.launchers.processes import ProcessLauncher
from ssr_hydra.sweeps.sweeper import StudySweeper


def test_the_config_has_the_arguments_of_the_launcher() -> None:
    arguments = {name: item.default for name, item in inspect.signature(ProcessLauncher).parameters.items()}
    fields = {item.name: item.default for item in dataclasses.fields(ProcessLauncherConfig) if item.init}
    assert list(fields.items()) == list(arguments.items())


@pytest.mark.parametrize(
    ("node", "own"), [(ProcessLauncherConfig(3), ProcessLauncher), (StudySweeperConfig(), StudySweeper)]
)
def test_hydra_finds_the_plugins(node: Any, own: type) -> None:
    found = instantiate(OmegaConf.structured(node), _target_=Plugins.instance().class_name_to_class[node._target_])
    assert [type(inner) for inner in vars(found).values()] == [own]


@pytest.mark.usefixtures("clean_hydra")
def test_it_is_the_default_and_no_part_of_a_job() -> None:
    register(GROUPS)
    assert "processes.yaml" in ConfigStore.instance().list("hydra/launcher")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", return_hydra_config=True)
        other = compose("config", ["launcher=basic"])
    assert cfg.hydra.launcher == OmegaConf.structured(LAUNCHERS["processes"])
    assert cfg.hydra.sweeper == OmegaConf.structured(StudySweeperConfig)
    assert "launcher" not in other
    assert other == OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
