"""Fixtures for tests of the app: composed experiments, and the app in this process."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import Answer, answer
from omegaconf import DictConfig, OmegaConf

from ssr_hydra.app.check import plain
from ssr_hydra.app.command_line import CommandLine, key_of
from ssr_hydra.app.compose import composing
from ssr_hydra.configs import APP_KEYS


class Compositions:
    """Compose each choice of groups only once, and set plain values on copies of the result, to save time."""

    def __init__(self) -> None:
        self._bases: dict[tuple[str, ...], DictConfig] = {}
        self._is_group: dict[str, bool] = {}

    def __call__(self, *overrides: str) -> DictConfig:
        with composing(CommandLine(overrides)) as composer:
            for key in map(key_of, overrides):
                if key not in self._is_group:
                    self._is_group[key] = composer.is_group(key)
            plain = [each for each in overrides if each[:1].isalpha() and not self._is_group[key_of(each)]]
            if any(each.startswith("hydra.") or key_of(each) in APP_KEYS for each in plain):
                return composer.compose(overrides)
            shared = tuple(each for each in overrides if each not in plain)
            if shared not in self._bases:
                self._bases[shared] = composer.compose(shared)
            cfg = copy.deepcopy(self._bases[shared])
            try:
                for each in composer.parse(plain):
                    OmegaConf.update(cfg, each.key_or_group, each.value(), merge=True)
            except Exception:  # Hydra's error names the wrong value
                return composer.compose(overrides)
            return cfg


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """Return a function that composes an experiment from overrides."""
    return Compositions()


@pytest.fixture(scope="session")
def _default(composed: Callable[..., DictConfig]) -> dict[str, Any]:
    return plain(composed())


@pytest.fixture
def experiment(_default: dict[str, Any]) -> dict[str, Any]:
    """Return the default experiment as plain values that a test may change."""
    copy = OmegaConf.to_container(OmegaConf.create(_default))
    assert isinstance(copy, dict)
    return copy  # type: ignore[return-value]


@pytest.fixture
def app(in_tmp: Path, capsys: pytest.CaptureFixture[str], clean_hydra: None) -> Callable[..., Answer]:
    """The app in this process, in an empty folder."""
    return lambda *arguments: answer(capsys, *arguments)


@pytest.fixture
def refused(app: Callable[..., Answer], in_tmp: Path) -> Callable[..., str]:
    """Return the error line of the app, and check that the app wrote no file."""

    def run(*arguments: str) -> str:
        before = sorted(in_tmp.rglob("*"))
        answer = app(*arguments)
        assert answer.code == 2, answer
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
        assert answer.out == ""
        assert sorted(in_tmp.rglob("*")) == before
        return answer.err

    return run


@pytest.fixture
def mine(in_tmp: Path) -> Callable[[str, str], None]:
    """Write a file of a user's config folder, ``mine``."""

    def write(name: str, text: str) -> None:
        path = in_tmp / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write
