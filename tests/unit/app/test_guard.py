"""What somebody else's file must not say, and what it may."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401  # its first import starts a process

Write = Callable[[str, str], None]
App = Callable[..., Any]
Refused = Callable[..., str]

GLOBAL = "# @package _global_\n"

FORBIDDEN = {
    "callbacks": "hydra: {callbacks: {x: {_target_: os.system, command: touch PWNED}}}",
    "callbacks of the project's own": "hydra: {callbacks: {x: {_target_: ssr_hydra.app.train.main}}}",
    "job_logging": "hydra: {job_logging: {handlers: {x: {class: logging.FileHandler, filename: PWNED}}}}",
    "job_logging factory": "hydra: {job_logging: {handlers: {x: {(): os.system, command: touch PWNED}}}}",
    "hydra_logging": "hydra: {hydra_logging: {handlers: {x: {class: logging.FileHandler, filename: PWNED}}}}",
    "launcher": "hydra: {launcher: {_target_: os.system}}",
    "launcher's shell": "hydra: {launcher: {setup: [touch PWNED]}}",
    "launcher's words": "hydra: {launcher: {partition: x}}",
    "sweeper": "hydra: {sweeper: {_target_: os.system}}",
    "env_set": "hydra: {job: {env_set: {LD_PRELOAD: x.so}}}",
    "env_copy": "hydra: {job: {env_copy: [HOME]}}",
    "job name": "hydra: {job: {name: ../../PWNED}}",
    "output_subdir": "hydra: {output_subdir: ../../PWNED}",
    "sweep subdir": "hydra: {sweep: {subdir: ../../PWNED}}",
    "search path": "hydra: {searchpath: ['pkg://antigravity']}",
    "run dir up": "hydra: {run: {dir: ../PWNED}}",
    "run dir up within": "hydra: {run: {dir: a/../../PWNED}}",
    "run dir up in Windows' words": "hydra: {run: {dir: 'a\\..\\..\\PWNED'}}",
    "run dir absolute": "hydra: {run: {dir: /tmp/PWNED}}",
    "run dir home": "hydra: {run: {dir: ~/PWNED}}",
    "run dir by interpolation": "name: /tmp/PWNED\nhydra: {run: {dir: '${name}/x'}}",
    "run dir by environment": "hydra: {run: {dir: '${oc.env:HOME}/PWNED'}}",
    "run dir that resolves to nothing": "hydra: {run: {dir: '${nowhere}'}}",
    "runtime": "hydra: {runtime: {output_dir: ../PWNED}}",
    "overrides": "hydra: {overrides: {task: [trust=os]}}",
    "a word": "hydra: {x: y}",
    "no mapping": "hydra: text",
    "trust": "trust: [os]",
    "trust as a word": "trust: os",
}


@pytest.mark.parametrize("text", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_an_experiment_must_not(mine: Write, refused: Refused, in_tmp: Path, text: str) -> None:
    mine("experiment/u", GLOBAL + text)
    line = refused("--config-dir", "mine", "experiment=u")
    assert "hydra" in line or "trust" in line
    assert "antigravity" not in sys.modules
    assert not list(in_tmp.rglob("PWNED"))


def test_help_runs_nothing_either(mine: Write, app: App, in_tmp: Path) -> None:
    """Hydra sets up its logging for --help."""
    mine("experiment/u", GLOBAL + FORBIDDEN["hydra_logging"])
    for flag in ("--help", "--hydra-help", "--info", "--cfg=hydra"):
        assert app("--config-dir", "mine", "experiment=u", flag).code == 2
        assert not list(in_tmp.rglob("PWNED"))


@pytest.mark.parametrize("text", [FORBIDDEN[name] for name in ("callbacks", "job_logging", "search path", "trust")])
def test_nor_must_a_main_config_such_as_a_replayed_one(mine: Write, refused: Refused, in_tmp: Path, text: str) -> None:
    mine("config", text)
    refused("--config-path", "mine", "--config-name", "config")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "defaults",
    [
        "- /model/evil@hydra.callbacks.x",
        "- override /hydra/callbacks: evil",
        "- /hydra/callbacks/evil@_global_.hydra.callbacks",
    ],
)
def test_a_file_cannot_be_put_where_it_runs(mine: Write, refused: Refused, defaults: str) -> None:
    mine("model/evil", "_target_: os.system\ncommand: touch PWNED\n")
    mine("hydra/callbacks/evil", "x: {_target_: os.system, command: touch PWNED}\n")
    mine("experiment/u", f"{GLOBAL}defaults:\n  {defaults}\n")
    refused("--config-dir", "mine", "experiment=u")


def test_choosing_a_file_for_one_thing_is_not_choosing_it_for_another(mine: Write, refused: Refused) -> None:
    mine("hydra/job_logging/evil", f"{GLOBAL}hydra: {{callbacks: {{x: {{_target_: os.system}}}}}}\n")
    refused("--config-dir", "mine", "hydra/job_logging=evil")


SECRET = "tell-nobody"

READING = {
    "value": "name: ${oc.env:SECRET}",
    "part of a value": "name: run-${oc.env:SECRET}",
    "default": "name: ${oc.select:nowhere,'${oc.env:SECRET}'}",
    "list": "+model: {parts: [1, {a: ['${oc.env:SECRET}']}]}".replace("+", ""),
    "name of the resolver": "max_duration: oc.env\nname: ${${max_duration}:SECRET}",
    "decoded": "max_duration: '\\${oc.env:SECRET}'\nname: '${oc.decode:${max_duration}}'",
    "deprecated": "name: ${oc.deprecated:seed}",
    "defaults": "defaults: [override /model: '${oc.env:SECRET}']",
    "folder": "hydra: {run: {dir: 'out/${oc.env:SECRET}'}}",
    "sweep": "hydra: {mode: MULTIRUN, sweeper: {params: {name: '${oc.env:SECRET}'}}}",
    "escaped sweep": "hydra: {mode: MULTIRUN, sweeper: {params: {name: \"'\\\\${oc.env:SECRET}'\"}}}",
    "escaped twice": "hydra: {mode: MULTIRUN, sweeper: {params: {name: '$\\{oc.env\\:SECRET\\}'}}}",
}


@pytest.mark.parametrize("text", READING.values(), ids=READING.keys())
def test_a_file_reads_no_environment(
    mine: Write, app: App, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    mine("experiment/u", GLOBAL + text)
    for flags in ([], ["-m"], ["--cfg", "job", "--resolve"]):
        answer = app("--config-dir", "mine", "experiment=u", "max_duration=1ba", "trainer.progress=none", *flags)
        if "sweeper" not in text or flags != ["--cfg", "job", "--resolve"]:  # which runs no sweep
            assert answer.code == 2
            assert answer.err.count("\n") == 1
        assert SECRET not in answer.out + answer.err
    assert not any(SECRET in str(path) for path in in_tmp.rglob("*"))


def test_the_person_may_let_it_read_the_environment(mine: Write, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    mine("experiment/u", GLOBAL + READING["value"])
    show = ("--config-dir", "mine", "--cfg", "job", "--resolve")
    assert f"name: {SECRET}" in app(*show, "experiment=u", "trust=[oc.env]").out
    assert f"name: {SECRET}" in app(*show, "name=${oc.env:SECRET}").out


def test_a_file_may_refer_to_other_values(mine: Write, app: App) -> None:
    mine("experiment/u", GLOBAL + "name: ${model.widths}-${oc.select:nowhere,x}-${now:%Y}")
    answer = app("--config-dir", "mine", "experiment=u", "--cfg", "job", "--resolve")
    assert "name: '[8, 16]-x-2" in answer.out, answer


@pytest.mark.parametrize("text", ["", "name: x", "[1, 2]"])
def test_an_overlay_says_that_it_goes_over_everything(mine: Write, refused: Refused, text: str) -> None:
    mine("experiment/u", text)
    assert "begin its file with # @package _global_" in refused("--config-dir", "mine", "experiment=u")


def test_what_is_said_on_the_command_line_is_the_persons_own(mine: Write, app: App, in_tmp: Path) -> None:
    mine("hydra/job_logging/mine", "version: 1\nroot: {level: WARNING}\ndisable_existing_loggers: false\n")
    answer = app("--config-dir", "mine", "hydra/job_logging=mine", "--cfg", "hydra", "-p", "hydra.job_logging")
    assert answer.code == 0
    assert "WARNING" in answer.out
    assert app("hydra.run.dir=../elsewhere", "+hydra.job.env_set.X=y", "--cfg", "hydra").code == 0


ALLOWED = """
hydra:
  verbose: true
  job: {chdir: false}
  mode: MULTIRUN
  run: {dir: runs/mine}
  sweep: {dir: sweeps/mine}
  sweeper: {params: {seed: "0,1", scheduler.t_max: "1ep,2ep"}}
"""


def test_what_an_experiment_may_say(mine: Write, app: App) -> None:
    mine("experiment/u", GLOBAL + ALLOWED)
    answer = app("--config-dir", "mine", "experiment=u", "--cfg", "hydra")
    assert answer.code == 0
    assert "scheduler.t_max: 1ep,2ep" in answer.out


def test_an_overlay_chooses_no_launcher(mine: Write, refused: Refused) -> None:
    # The main config's would win, and the file's be ignored without a word.
    mine("experiment/u", "# @package _global_\ndefaults:\n  - override /hydra/launcher: joblib\n")
    said = refused("-m", "--config-dir", "mine", "experiment=u", "ssr=0.5,1")
    assert "hydra/launcher='joblib': cannot be chosen in a file (experiment/u.yaml)" in said
    assert "write launcher=joblib on the command line" in said


def test_parameters_of_a_sweep_are_the_experiments_alone(mine: Write, refused: Refused) -> None:
    for key in ("hydra.callbacks.x._target_", "+hydra.callbacks.x._target_", "hydra/job_logging", "trust", "++trust"):
        mine("experiment/u", f"{GLOBAL}hydra: {{mode: MULTIRUN, sweeper: {{params: {{'{key}': os.system}}}}}}\n")
        refused("--config-dir", "mine", "experiment=u")


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 40)]
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: " + "[" * 9000 + "]" * 9000,
        "a: [1",
        "a: b: c",
        "\tx: 1",
        "a: !!python/name:os.system x",
    ],
    ids=["bomb", "circle", "circle of mappings", "deep", "open", "colons", "tab", "tag"],
)
def test_a_file_that_does_not_end_or_parse(mine: Write, refused: Refused, text: str) -> None:
    mine("experiment/u", GLOBAL + text)
    refused("--config-dir", "mine", "experiment=u")  # the bomb stands for 8**40 values: unfolding it never returns


def test_a_file_of_other_bytes(mine: Write, refused: Refused, in_tmp: Path) -> None:
    mine("experiment/u", "")
    (in_tmp / "mine/experiment/u.yaml").write_bytes(b"a: \xff\xfe")
    refused("--config-dir", "mine", "experiment=u")
    (in_tmp / "mine/experiment/u.yaml").write_text(f"a: {'x' * 2_000_000}")
    refused("--config-dir", "mine", "experiment=u")


def test_a_record_is_not_written_over(refused: Refused, in_tmp: Path) -> None:
    (in_tmp / "run").mkdir()
    (in_tmp / "run/result.json").write_text("{}")
    assert "hydra.run.dir" in refused("hydra.run.dir=run")


NEVER_RUN = {
    "a parameter with a target": (
        "hydra: {mode: MULTIRUN, sweeper: {params: {seed: {_target_: os.system, command: touch PWNED}}}}"
    ),
    "a parameter with a nested target": (
        "hydra: {mode: MULTIRUN, sweeper: {params: {seed: {a: [{_target_: os.system, command: touch PWNED}]}}}}"
    ),
    "parameters with a target": (
        "hydra: {mode: MULTIRUN, sweeper: {params: {_target_: os.system, command: touch PWNED}}}"
    ),
    "a list as a parameter": "hydra: {mode: MULTIRUN, sweeper: {params: {seed: [0, 1]}}}",
    "a zip with a target": "hydra: {mode: MULTIRUN}\nzip: {_target_: os.system, command: touch PWNED}",
    "a zip of a reference": "hydra: {mode: MULTIRUN}\nzip: ['${hydra.mode}', seed]",
    "a zip of brackets": "hydra: {mode: MULTIRUN}\nzip: '" + "[" * 90_000 + "'",
    "a zip as a parameter of references": "hydra: {sweeper: {params: {seed: '0,1', ssr: '1,2', zip: 'seed,${name}'}}}",
    "a zip as a list of parameters": "hydra: {sweeper: {params: {seed: '0,1', ssr: '1,2', zip: [seed, ssr]}}}",
    "a parameter that is the app's": "hydra: {mode: MULTIRUN, sweeper: {params: {trust: os}}}",
    "a reference to the mode": "hydra: {run: {dir: '${hydra.mode}/../../PWNED'}}",
    "a reference to the job": "hydra: {mode: MULTIRUN, sweep: {dir: '${hydra.job.num}'}}",
    "an escaped reference": "hydra: {run: {dir: '\\\\${oc.env:HOME}'}}",
    "a folder by a study": "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}\nstudy: ../PWNED",
    "more jobs than a sweep may have": "hydra: {mode: MULTIRUN, sweeper: {params: {seed: 'range(0,100000000)'}}}",
    "jobs by a product": (
        "hydra: {mode: MULTIRUN, sweeper: {params: {seed: 'range(0,1000)', ssr: 'range(0.1,9,0.1)', name: 'a,b,c'}}}"
    ),
    "thousands of defaults": "defaults: [" + ", ".join(["override /model: mlp"] * 3000) + "]",
    "a number to the base of 60": "seed: " + "1:" * 400_000 + "1",
    "a run of spaces": "name: ${" + " " * 900_000 + "}",
    "a run of references": "name: " + "${" * 400_000,
    "references in references": "name: " + "${a" * 5000 + "}" * 5000,
}


@pytest.mark.parametrize("text", NEVER_RUN.values(), ids=NEVER_RUN.keys())
def test_what_did_harm_is_refused_at_once(mine: Write, refused: Refused, in_tmp: Path, text: str) -> None:
    mine("experiment/u", GLOBAL + text)
    began = time.process_time()
    refused("--config-dir", "mine", "experiment=u", "max_duration=1ba")
    assert time.process_time() - began < 5
    assert not list(in_tmp.parent.rglob("PWNED"))


def test_a_file_cannot_take_the_place_of_a_launcher(mine: Write, refused: Refused) -> None:
    for name in ("hydra/launcher/processes", "hydra/sweeper/study", "launcher/processes", "optimizer/adamw"):
        mine(name, "_target_: os.system\ncommand: touch PWNED\n")
    assert "is a name of the package" in refused("-m", "--config-dir", "mine", "ssr=0.5,1")
    assert "is a name of the package" in refused("--config-dir", "mine", "optimizer=adamw")


def test_defaults_that_name_each_other_end(mine: Write, refused: Refused) -> None:
    for number in range(20):  # each names the next one twice: 2**20 configs
        mine(f"model/m{number}", f"defaults: [m{number + 1}@a, m{number + 1}@b]\n")
    mine("model/m20", "x: 1\n")
    began = time.process_time()
    refused("--config-dir", "mine", "+model@x=m0")
    assert time.process_time() - began < 5


def test_a_file_that_changes_after_the_check_is_not_read_again(
    mine: Write, app: App, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssr_hydra.app import main

    mine("experiment/u", f"{GLOBAL}seed: 1\n")
    call = main._call_hydra

    def edited_in_between(arguments: list[str]) -> None:
        mine("experiment/u", f"{GLOBAL}seed: 2\nhydra: {{callbacks: {{x: {{_target_: os.system}}}}}}\n")
        call(arguments)

    monkeypatch.setattr(main, "_call_hydra", edited_in_between)
    answer = app("--config-dir", "mine", "experiment=u", "max_duration=1ba", "trainer.progress=none", "hydra.run.dir=r")
    assert answer.code == 0, answer.err
    assert "seed: 1\n" in (in_tmp / "r/.hydra/config.yaml").read_text()


def test_a_replayed_run_keeps_nothing_of_its_trust(app: App, in_tmp: Path, refused: Refused) -> None:
    quick = ("max_duration=1ba", "trainer.progress=none")
    assert app(*quick, "trust=[pytest]", "hydra.run.dir=r").code == 0
    replay = ("--config-path", "r/.hydra", "--config-name", "config")
    assert "say trust=[pytest] on the command line" in refused(*replay)
    assert app(*replay, "trust=[pytest]", "hydra.run.dir=again").code == 0
    assert app(*replay, "trust=[]", "hydra.run.dir=other").code == 0
