from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from ssr_hydra.build.check import plain
from ssr_hydra.configs import register
from ssr_hydra.train import conf_dir


@pytest.fixture(scope="module")
def composed() -> Iterator[Callable[..., DictConfig]]:
    """Compose an experiment by Hydra's own loader."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield lambda *overrides: compose("config", list(overrides))
    GlobalHydra.instance().clear()


@pytest.fixture(scope="module")
def _default(composed: Callable[..., DictConfig]) -> dict[str, Any]:
    return plain(composed())


@pytest.fixture
def experiment(_default: dict[str, Any]) -> dict[str, Any]:
    """The default experiment as plain values, to be changed."""
    copy = OmegaConf.to_container(OmegaConf.create(_default))
    assert isinstance(copy, dict)
    return copy  # type: ignore[return-value]
