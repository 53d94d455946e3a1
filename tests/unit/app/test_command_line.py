"""The command line before Hydra reads it, and the commands that messages show."""

import shlex
import sys
from pathlib import Path

import pytest
from refusals import refused

from ssr_hydra.app.command_line import CommandLine, TypedCommand, parse_command_line
from ssr_hydra.app.preflight import checked
from ssr_hydra.errors import MissingValueError, PathError


def test_flags_and_overrides_are_separated(in_tmp):
    (in_tmp / "mine").mkdir()
    line = parse_command_line(["ssr=2", "--cfg", "job", "-p", "ssr", "resume=auto", "--config-dir", "mine"])
    assert line == CommandLine(
        overrides=("ssr=2", "resume.path=auto"),
        mode="cfg",
        show=("--cfg", "job", "--package", "ssr"),
        config_dir=str(in_tmp / "mine"),
    )
    assert line.is_typed("seed", "ssr")
    assert not line.is_typed("seed")


@pytest.mark.parametrize(
    ("typed", "field", "kind"),
    [
        ("=a", "overrides", MissingValueError),
        ("+=a", "overrides", MissingValueError),
        ("~", "overrides", MissingValueError),
        ("--config-dir nowhere", "--config-dir", PathError),
        ("--config-path nowhere", "--config-path", PathError),
        ("--config-path run", "--config-path", PathError),  # only its folder .hydra has the main config
    ],
)
def test_missing_key_or_folder_is_refused(in_tmp, typed, field, kind):
    (in_tmp / "run/.hydra").mkdir(parents=True)
    (in_tmp / "run/.hydra/config.yaml").touch()
    assert parse_command_line(["--config-path", "run/.hydra"]).config_path == str(in_tmp / "run/.hydra")
    with refused(field, kind):
        parse_command_line(typed.split())


PYTHON = ("python", "train.py")


@pytest.mark.parametrize(
    ("typed", "folder", "command"),
    [
        ("-m ssr=0.5,1", "multirun/a", "python train.py -m ssr=0.5,1 study=multirun/a"),
        ("-m ssr=1 study=a seed=1", "studies/a", "python train.py -m ssr=1 study=a seed=1"),  # the same command
        ("-m hydra.sweep.dir=a/${now:%S} seed=1", "a/07", "python train.py -m seed=1 study=a/07"),
        ("-m", "a", "python train.py -m study=./a"),
        ("-m", "a b", "python train.py -m 'hydra.sweep.dir=\"a b\"'"),
        ("-m", "/a/größe", "python train.py -m 'hydra.sweep.dir=\"/a/größe\"'"),
    ],
)
def test_printed_command_continues_a_sweep(typed, folder, command):
    printed = TypedCommand(tuple(typed.split()), PYTHON).in_study(Path(folder))
    assert printed == command
    with checked(parse_command_line(shlex.split(printed)[2:]), "id") as flight:
        assert flight.folder == Path(folder)


@pytest.mark.parametrize(
    ("typed", "resume", "command"),
    [
        ("ssr=0.5", "auto", "python train.py ssr=0.5 hydra.run.dir=runs/a"),
        ("hydra.run.dir=runs/a ssr=0.5", "auto", "python train.py hydra.run.dir=runs/a ssr=0.5"),
        ("hydra.run.dir=runs/${name} ssr=0.5", "auto", "python train.py ssr=0.5 hydra.run.dir=runs/a"),
        ("resume=never ssr=0.5", "never", "python train.py ssr=0.5 hydra.run.dir=runs/a resume=auto"),
        ("resume.path=runs/b", "runs/b", "python train.py hydra.run.dir=runs/a resume=auto"),
    ],
)
def test_printed_command_continues_a_run(typed, resume, command):
    assert TypedCommand(tuple(typed.split()), PYTHON).in_run(Path("runs/a"), resume) == command


@pytest.mark.parametrize(
    ("whole", "argv", "program"),
    [
        (["python3", "train.py", "-m", "a=1"], ["train.py", "-m", "a=1"], ("python3", "train.py")),
        (
            ["python", "-u", "-m", "ssr_hydra", "a=1"],
            ["/x/ssr_hydra/__main__.py", "a=1"],
            ("python", "-u", "-m", "ssr_hydra"),
        ),
        (["/x/python", "/nowhere/ssr-train", "a=1"], ["/nowhere/ssr-train", "a=1"], ("/nowhere/ssr-train",)),
    ],
)
def test_recorded_command_begins_with_the_program_that_the_user_started(whole, argv, program, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", whole)
    monkeypatch.setattr(sys, "argv", argv)
    assert TypedCommand.here() == TypedCommand(tuple(argv[1:]), program)
