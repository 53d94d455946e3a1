"""Fixtures of the app's tests: composed experiments, and the app in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import Answer, answer
from omegaconf import DictConfig, OmegaConf

from ssr_hydra.app.command_line import CommandLine
from ssr_hydra.app.compose import composing
from ssr_hydra.build.check import plain


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """Compose an experiment."""

    def compose(*overrides: str) -> DictConfig:
        with composing(CommandLine(overrides)) as composer:
            return composer.compose(overrides)

    return compose


@pytest.fixture(scope="session")
def _default(composed: Callable[..., DictConfig]) -> dict[str, Any]:
    return plain(composed())


@pytest.fixture
def experiment(_default: dict[str, Any]) -> dict[str, Any]:
    """The default experiment as plain values, to be changed."""
    copy = OmegaConf.to_container(OmegaConf.create(_default))
    assert isinstance(copy, dict)
    return copy  # type: ignore[return-value]


@pytest.fixture
def app(in_tmp: Path, capsys: pytest.CaptureFixture[str], clean_hydra: None) -> Callable[..., Answer]:
    """The app in this process, in an empty folder."""
    return lambda *arguments: answer(capsys, *arguments)


@pytest.fixture
def refused(app: Callable[..., Answer], in_tmp: Path) -> Callable[..., str]:
    """The one line by which the app refuses; it leaves nothing behind."""

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
    """Write a file of somebody's config folder, ``mine``."""

    def write(name: str, text: str) -> None:
        path = in_tmp / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write
