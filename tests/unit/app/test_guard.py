"""Accepted and refused contents of config files from other people."""

from collections.abc import Callable
from typing import Any

import pytest
import torch  # noqa: F401  # its first import starts a process
import yaml
from refusals import refused as refused_by

from ssr_hydra.app.guard import check_parameters
from ssr_hydra.app.hydra_rules import check_hydra
from ssr_hydra.configs import conf_dir
from ssr_hydra.errors import ConflictError, UntrustedError

Write = Callable[[str, str], None]
App = Callable[..., Any]
Refused = Callable[..., str]

GLOBAL = "# @package _global_\n"

FORBIDDEN = {
    "callbacks": "{callbacks: {x: {_target_: os.system, command: touch PWNED}}}",
    "callbacks of the project's own": "{callbacks: {x: {_target_: ssr_hydra.app.train.main}}}",
    "job_logging": "{job_logging: {handlers: {x: {class: logging.FileHandler, filename: PWNED}}}}",
    "job_logging factory": "{job_logging: {handlers: {x: {(): os.system, command: touch PWNED}}}}",
    "hydra_logging": "{hydra_logging: {handlers: {x: {class: logging.FileHandler, filename: PWNED}}}}",
    "launcher": "{launcher: {_target_: os.system}}",
    "launcher's shell": "{launcher: {setup: [touch PWNED]}}",
    "sweeper": "{sweeper: {_target_: os.system}}",
    "env_set": "{job: {env_set: {LD_PRELOAD: x.so}}}",
    "env_copy": "{job: {env_copy: [HOME]}}",
    "search path": "{searchpath: ['pkg://antigravity']}",
    "run dir by interpolation": "{run: {dir: '${name}/x'}}",
    "runtime": "{runtime: {output_dir: ../PWNED}}",
    "overrides": "{overrides: {task: [trust=os]}}",
    "unknown key": "{x: y}",
    "no mapping": "text",
}


@pytest.mark.parametrize("text", FORBIDDEN.values(), ids=FORBIDDEN)
def test_file_cannot_set_dangerous_keys_of_hydra(text):
    with pytest.raises(UntrustedError) as caught:
        check_hydra(yaml.safe_load(text), "u.yaml")
    assert caught.value.field.startswith("hydra")


SECRET = "tell-nobody"

READING = {
    "value": "name: ${oc.env:SECRET}",
    "list": "model: {parts: [1, {a: ['${oc.env:SECRET}']}]}",
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
def test_file_cannot_read_environment_variables(mine, app, in_tmp, monkeypatch, text):
    monkeypatch.setenv("SECRET", SECRET)
    mine("experiment/u", GLOBAL + text)
    answer = app("--config-dir", "mine", "experiment=u", "max_duration=1ba", "trainer.progress=none")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert SECRET not in answer.out + answer.err
    assert not any(SECRET in str(path) for path in in_tmp.rglob("*"))


def test_command_line_can_let_a_file_read_environment_variables(mine, app, monkeypatch):
    monkeypatch.setenv("SECRET", SECRET)
    mine("experiment/u", GLOBAL + READING["value"])
    show = ("--config-dir", "mine", "--cfg", "job", "--resolve")
    assert f"name: {SECRET}" in app(*show, "experiment=u", "trust=[oc.env]").out
    assert f"name: {SECRET}" in app(*show, "name=${oc.env:SECRET}").out


def test_file_may_use_interpolations_and_harmless_resolvers(mine, app):
    mine("experiment/u", GLOBAL + "name: ${model.widths}-${oc.select:nowhere,x}-${now:%Y}")
    answer = app("--config-dir", "mine", "experiment=u", "--cfg", "job", "--resolve")
    assert "name: '[8, 16]-x-2" in answer.out, answer


@pytest.mark.parametrize("text", ["", "[1, 2]"])
def test_an_experiment_file_must_have_the_global_package_line(mine, refused, text):
    mine("experiment/u", text)
    assert "begin the YAML file with # @package _global_" in refused("--config-dir", "mine", "experiment=u")


def test_command_line_may_set_every_key_of_hydra(mine, app, in_tmp):
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


def test_experiment_may_set_harmless_keys_of_hydra(mine, app):
    mine("experiment/u", GLOBAL + ALLOWED)
    answer = app("--config-dir", "mine", "experiment=u", "--cfg", "hydra")
    assert answer.code == 0
    assert "scheduler.t_max: 1ep,2ep" in answer.out


def test_a_copy_of_the_main_config_is_valid(mine, app):
    mine("copy", (conf_dir() / "config.yaml").read_text())
    answer = app("--config-dir", "mine", "--config-name", "copy", "--cfg", "hydra", "-p", "hydra.sweeper")
    assert "hydra_plugins.ssr_hydra.StudySweeper" in answer.out, answer


def test_only_keys_of_the_experiment_can_be_swept():
    for key in (
        "hydra.callbacks.x._target_", "+hydra.callbacks.x._target_", "hydra/job_logging", "trust", "++trust", "launcher"
    ):  # fmt: skip
        with refused_by(key.lstrip("+"), ConflictError):
            check_parameters({key: "os.system"})


def test_folder_with_a_record_is_refused_as_run_folder(refused, in_tmp):
    (in_tmp / "run").mkdir()
    (in_tmp / "run/result.json").write_text("{}")
    assert "hydra.run.dir" in refused("hydra.run.dir=run")


def test_a_file_that_changes_after_the_check_is_not_read_again(mine, app, in_tmp, monkeypatch):
    from ssr_hydra.app import main

    mine("experiment/u", f"{GLOBAL}seed: 1\n")
    call = main._call_hydra

    def edited_in_between(arguments):
        mine("experiment/u", f"{GLOBAL}seed: 2\nhydra: {{callbacks: {{x: {{_target_: os.system}}}}}}\n")
        call(arguments)

    monkeypatch.setattr(main, "_call_hydra", edited_in_between)
    answer = app("--config-dir", "mine", "experiment=u", "max_duration=1ba", "trainer.progress=none", "hydra.run.dir=r")
    assert answer.code == 0, answer.err
    assert "seed: 1\n" in (in_tmp / "r/.hydra/config.yaml").read_text()


def test_run_repeated_from_its_saved_config_needs_trust_again(app, in_tmp, refused):
    quick = ("max_duration=1ba", "trainer.progress=none")
    assert app(*quick, "trust=[pytest]", "hydra.run.dir=r").code == 0
    replay = ("--config-path", "r/.hydra", "--config-name", "config")
    assert "write trust=[pytest] on the command line" in refused(*replay)
    assert app(*replay, "trust=[pytest]", "hydra.run.dir=again").code == 0
    assert app(*replay, "trust=[]", "hydra.run.dir=other").code == 0
