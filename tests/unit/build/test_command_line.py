"""What is taken off the command line before Hydra reads it."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ssr_hydra.build.command_line import StudyOptions, Typed, find_configs, take_study, take_trust
from ssr_hydra.errors import InputError


@pytest.mark.parametrize(
    ("typed", "trust", "rest"),
    [
        ([], (), []),
        (["ssr=1", "trust=a"], ("a",), ["ssr=1"]),
        (["trust=[a,b.c]", "+trust=d", "++trust=[]"], ("a", "b.c", "d"), []),
        (["model.trust=a", "name=trust"], (), ["model.trust=a", "name=trust"]),
    ],
)
def test_trust_is_taken_and_the_rest_left(typed: list[str], trust: tuple[str, ...], rest: list[str]) -> None:
    assert take_trust(typed) == (trust, rest)


@pytest.mark.parametrize("typed", ["trust=[a", "trust=", "trust=3", "trust=[os]", "trust=torch", "=a", "+=a"])
def test_what_names_nobody(typed: str) -> None:
    with pytest.raises(InputError):
        take_trust([typed])


PYTHON = ("python", "train.py")


@pytest.mark.parametrize(("typed", "workers"), [("workers=2", 2), ("+workers=12", 12), ("workers=null", None)])
def test_workers_are_taken_off_the_command_line(typed: str, workers: int | None) -> None:
    assert take_study(["ssr=1,2", typed], is_sweep=True) == (StudyOptions(workers=workers), ["ssr=1,2"])


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "two", "", "[2]", "1e3", "٣"])
def test_workers_are_a_whole_number(value: str) -> None:
    with pytest.raises(InputError, match="must be a whole number of at least 1, or null") as caught:
        take_study([f"workers={value}"], is_sweep=True)
    assert caught.value.field == "workers"


@pytest.mark.parametrize(
    ("typed", "folder", "command"),
    [
        ("-m ssr=0.5,1", "multirun/a", "python train.py -m ssr=0.5,1 study=multirun/a"),
        ("-m ssr=1 study=a seed=1", "studies/a", "python train.py -m ssr=1 study=a seed=1"),  # it goes on as it is
        ("-m +hydra.sweep.dir=a", "a", "python train.py -m +hydra.sweep.dir=a"),
        ("-m hydra.sweep.dir=a/${now:%S} seed=1", "a/07", "python train.py -m seed=1 study=a/07"),
        ("-m", "a", "python train.py -m study=./a"),
        ("-m", "a b", "python train.py -m 'hydra.sweep.dir=\"a b\"'"),
        ("-m", "/a/größe", "python train.py -m 'study=/a/größe'"),
    ],
)
def test_command_that_continues_a_sweep(typed: str, folder: str, command: str) -> None:
    found = Typed(tuple(typed.split()), PYTHON).in_study(Path(folder))
    assert found == command
    arguments = shlex.split(found)[2:]
    _, rest = take_study(arguments, is_sweep=True)
    (place,) = (item for item in rest if "hydra.sweep.dir=" in item)
    assert Path(str(OverridesParser.create().parse_override(place).value())) == Path(folder)


@pytest.mark.parametrize(
    ("typed", "resume", "command"),
    [
        ("ssr=0.5", "auto", "python train.py ssr=0.5 hydra.run.dir=runs/a"),
        ("hydra.run.dir=runs/a ssr=0.5", "auto", "python train.py hydra.run.dir=runs/a ssr=0.5"),
        ("hydra.run.dir=runs/${name} ssr=0.5", "auto", "python train.py ssr=0.5 hydra.run.dir=runs/a"),
        ("resume=never ssr=0.5", "never", "python train.py ssr=0.5 hydra.run.dir=runs/a resume=auto"),
        ("resume.path=runs/b", "runs/b", "python train.py hydra.run.dir=runs/a resume=auto"),
        (
            "--config-dir mine experiment=u",
            "auto",
            "python train.py --config-dir mine experiment=u hydra.run.dir=runs/a",
        ),
    ],
)
def test_command_that_continues_a_run(typed: str, resume: str, command: str) -> None:
    assert Typed(tuple(typed.split()), PYTHON).in_run(Path("runs/a"), resume) == command


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
def test_program_is_shown_as_it_was_started(
    whole: list[str], argv: list[str], program: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", whole)
    monkeypatch.setattr(sys, "argv", argv)
    assert Typed.here() == Typed(tuple(argv[1:]), program)


def flags(**given: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"config_path": None, "config_dir": None, **given})


def test_only_what_is_installed_is_trusted(in_tmp: Path) -> None:
    conf, mine = in_tmp / "conf", in_tmp / "mine"
    mine.mkdir()

    def untrusted(**given: Any) -> list[str]:
        path, trusted = find_configs(flags(**given), conf)
        return [str(element.path) for element in path.get_path() if element.provider not in trusted]

    assert untrusted() == []
    assert untrusted(config_dir="mine") == [f"file://{mine}"]
    assert untrusted(config_path="mine") == [str(mine)]
    assert untrusted(config_path="mine", config_dir="mine") == [str(mine), f"file://{mine}"]


@pytest.mark.parametrize("flag", ["config_dir", "config_path"])
def test_a_folder_that_is_not_there(in_tmp: Path, flag: str) -> None:
    with pytest.raises(InputError) as caught:
        find_configs(flags(**{flag: "nowhere"}), in_tmp)
    assert caught.value.field == f"--{flag.replace('_', '-')}"


@pytest.mark.parametrize(
    ("typed", "options", "rest"),
    [
        (["ssr=1"], StudyOptions(), ["ssr=1"]),
        (["study=a.b-c_1+", "x=1"], StudyOptions(), ["x=1", "hydra.sweep.dir=studies/a.b-c_1+"]),
        (["+study=results/a"], StudyOptions(), ["hydra.sweep.dir=results/a"]),
        (["study=/data/a"], StudyOptions(), ["hydra.sweep.dir=/data/a"]),
        (["study_code=any", "study_report=false"], StudyOptions(any_code=True, reports=False), []),
        (["study_code=same", "study_report=true"], StudyOptions(), []),
    ],
)
def test_study_is_short_for_its_folder(typed: list[str], options: StudyOptions, rest: list[str]) -> None:
    assert take_study(typed, is_sweep=True) == (options, rest)


@pytest.mark.parametrize("value", ["", ".", "..", "/", "a b", "a,b", "a=b", "${x}", "~", "~/a"])
def test_a_study_is_called_by_what_hydra_reads_as_a_folder(value: str) -> None:
    # Neither a shell nor Hydra takes "~" for the home folder here.
    with pytest.raises(InputError, match=r"^study='.*': names a study's folder"):
        take_study([f"study={value}"], is_sweep=True)


@pytest.mark.parametrize("typed", ["study_code=maybe", "study_report=1", "study_code="])
def test_a_studys_options_have_choices(typed: str) -> None:
    with pytest.raises(InputError, match=rf"^{typed.partition('=')[0]}='.*': must be "):
        take_study([typed], is_sweep=True)


@pytest.mark.parametrize("typed", ["study=a", "study_code=any", "study_report=false"])
def test_a_single_run_has_no_study(typed: str) -> None:
    with pytest.raises(InputError, match="is of a sweep, and this is a single run; add -m"):
        take_study([typed], is_sweep=False)


@pytest.mark.parametrize("typed", [["study=a", "study=b"], ["study=a", "hydra.sweep.dir=b"]])
def test_a_sweep_has_one_folder(typed: list[str]) -> None:
    with pytest.raises(InputError, match="a sweep has one folder, and here are several; leave one"):
        take_study(typed, is_sweep=True)


def test_the_folder_of_the_command_is_importable_once_something_is_trusted(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", ["/before"])
    monkeypatch.setenv("PYTHONPATH", "/own")
    take_trust(["ssr=1"])
    assert (sys.path, os.environ["PYTHONPATH"]) == (["/before"], "/own")
    take_trust(["trust=[lab]"])
    take_trust(["trust=[lab]"])
    assert (sys.path, os.environ["PYTHONPATH"]) == (["/before", str(in_tmp)], f"/own{os.pathsep}{in_tmp}")
