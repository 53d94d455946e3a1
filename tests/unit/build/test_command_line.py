"""What is taken off the command line before Hydra reads it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from ssr_hydra.build.command_line import StudyOptions, find_configs, take_study, take_trust
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
