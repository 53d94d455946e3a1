"""Run the app like a user: in this process in an empty folder, or in a separate process."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from warm import warm

from ssr_hydra.app.main import main


class Answer(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


@contextmanager
def like_a_process() -> Iterator[None]:
    """Undo all changes that the app makes to this process, at the end of the block."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        HydraConfig.instance().cfg = None


def run_in(folder: Path, *arguments: str) -> None:
    """Run the app in this process, in a folder. Fixtures with the scope of a module need this function."""
    threads, here = torch.get_num_threads(), Path.cwd()
    os.chdir(folder)
    try:
        with like_a_process():
            main(list(arguments))
    finally:
        os.chdir(here)
        torch.set_num_threads(threads)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Answer:
    """Run the app in this process."""
    code: object = 0
    capsys.readouterr()
    try:
        with like_a_process():
            main(list(arguments))
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    return Answer(code if isinstance(code, int) else int(code is not None), out, err)


def command(*arguments: str, cwd: Path, **env: str) -> Answer:
    """Run Python with these arguments in a new warm process."""
    process = warm.run(*arguments, cwd=cwd, env=env)
    return Answer(process.returncode, process.stdout, process.stderr)


def cold(*arguments: str, cwd: Path, **env: str) -> Answer:
    """Run Python with these arguments in a new interpreter, which imports torch and all other modules itself."""
    process = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=600
    )
    return Answer(process.returncode, process.stdout, process.stderr)
