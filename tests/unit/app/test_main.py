"""Messages of the app if a run cannot be written; test_cli.py has the messages for bad input."""

import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from cli_helpers import Answer

from ssr_hydra.app import check
from ssr_hydra.schedulers import bind

QUICK = ("max_duration=4ba", "trainer.progress=none")
App = Callable[..., Answer]


def one_line(answer):
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    return answer.err


@pytest.mark.parametrize(
    "typed", ["hydra.run.dir=file/run", "hydra.run.dir=run", "-m ssr=0.5 hydra.sweep.dir=file/sweep"]
)
def test_error_names_a_folder_that_cannot_be_written(app, in_tmp, typed):
    (in_tmp / "file").touch()
    (in_tmp / "run/train.log").mkdir(parents=True)  # Hydra cannot open this log
    answer = app(*typed.split(), *QUICK)
    field, _, value = typed.split()[-1].partition("=")
    assert answer.code == 2
    assert one_line(answer).startswith(f"error: {field}='{value}': cannot be written (")


def test_message_of_a_run_that_stops_before_the_first_checkpoint_says_how_to_continue(app, in_tmp, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ssr_hydra.app.train.train", interrupted)
    answer = app("hydra.run.dir=run", *QUICK)
    assert answer.code == 130
    assert answer.err == "interrupted; no checkpoint exists, so the same command starts the run again\n"


def test_error_of_user_code_before_a_run_says_how_to_see_its_traceback(app, in_tmp, monkeypatch):
    (in_tmp / "halved_lab.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(in_tmp)
    # To decide whether the jobs can share steps, the command imports the class of each callback.
    answer = app("-m", "seed=0,1", "share=true", "trust=[halved_lab]", "+callbacks.a._target_=halved_lab.A", *QUICK)
    assert answer.code == 1
    assert one_line(answer) == (
        "error: callbacks.a._target_ (halved_lab.A): ZeroDivisionError: division by zero (halved_lab.py, line 1) "
        "(HYDRA_FULL_ERROR=1 prints its traceback)\n"
    )


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        ("--cfg job --package name", "null\n"),  # Hydra refuses a package whose value is null
        ("--cfg job --package optimizer.lr optimizer.lr=0.3", "0.3\n"),
        ("--cfg hydra --package hydra.sweeper.params", "null\n"),
        ("--cfg all --package=_global_ ssr=2", "ssr: 2.0\n"),
    ],
)
def test_flags_cfg_and_package_print_a_part_of_the_config(app, typed, printed):
    answer = app(*typed.split())
    assert (answer.code, answer.err) == (0, "")
    assert printed in answer.out if "_global_" in typed else printed == answer.out


@pytest.mark.parametrize("flag", ["--cfg job", "--info defaults", "--help"])
@pytest.mark.parametrize("override", ["model=null", "data=null", "experiment=3"])
def test_override_that_names_no_choice_is_a_one_line_error_with_every_flag(app, override, flag):
    answer = app(override, *flag.split())
    assert answer.code == 2
    assert one_line(answer).startswith(f"error: {override.partition('=')[0]}=")
    assert "must name a config of this group" in answer.err


def test_error_names_a_record_that_cannot_be_written(app, in_tmp, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    answer = app("hydra.run.dir=run", *QUICK)
    assert answer.code == 1
    line = one_line(answer)
    assert "No space left on device" in line
    assert "run/metrics.jsonl" in line
    assert " bytes" in line
    assert not [path for path in (in_tmp / "run").iterdir() if "result.json" in path.name]


IN_FILE = "(in mine/experiment/u.yaml)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer: {lrr: 0.3}", f"optimizer.lrr=0.3: unknown key {IN_FILE}; did you mean lr?"),
        ("sheduler: wsd", f"sheduler='wsd': unknown key {IN_FILE}; did you mean scheduler?"),
        ("optimizer: {lr: fast}", f"optimizer.lr='fast': must be a number {IN_FILE}; e.g. optimizer.lr=0.5"),
        (
            "defaults: [{override /scheduler@scheduler: wsdd}]",
            f"scheduler='wsdd': unknown choice {IN_FILE}; did you mean wsd?",
        ),
        ("defaults: [{override /logger: [cvs]}]", f"logger='cvs': unknown choice {IN_FILE}; did you mean csv?"),
    ],
)
def test_error_for_a_typo_in_a_file_names_the_file_and_the_value(refused, mine, text, message):
    mine("experiment/u", f"# @package _global_\n{text}\n")
    assert refused("--config-dir", "mine", "experiment=u") == f"error: {message}\n"


def test_error_for_a_config_whose_name_ends_in_yml_says_how_to_rename_it(refused, mine, in_tmp):
    mine("experiment/u", "# @package _global_")
    (in_tmp / "mine/experiment/u.yaml").rename(in_tmp / "mine/experiment/u.yml")
    message = refused("--config-dir", "mine", "experiment=u", *QUICK)
    assert "experiment='u': unknown choice; rename u.yml to u.yaml" in message


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "--config-path mine --config-name config.yaml optimizer=adam",
            "optimizer='adam': cannot be chosen, because mine/config.yaml sets the values of optimizer; set single",
        ),
        ("--config-path mine scheduler=wsd", "scheduler='wsd': cannot be chosen, because mine/config.yaml sets the v"),
        ("--config-path mine logger=csv", "to add it, write +logger=csv"),
        ("--config-path mine debug=limit", "to add it, write +debug=limit"),
        ("--config-path mine/config.yaml", "--config-path='mine/config.yaml': must be a folder, not a file; check the"),
    ],
)
def test_error_names_the_file_that_is_the_main_config(refused, mine, typed, message):
    values = "optimizer: {_target_: torch.optim.SGD, lr: 0.1}\nscheduler: [{_target_: a.B}]\nlogger: {}\ndebug: null"
    mine("config", f"defaults: [base_config, _self_]\n{values}")
    assert message in refused(*typed.split(), *QUICK)


def test_completion_is_installed_with_a_config_folder(app, mine):
    mine("experiment/u", "# @package _global_")
    answer = app("--config-dir", "mine", "--shell-completion", "install=bash")  # as the script of a project does
    assert (answer.code, answer.err) == (0, "")
    assert "complete -o nospace" in answer.out


# If the data is a table and the warmup is in epochs, the check binds the schedule again after it has read the table.
@pytest.mark.parametrize(
    ("typed", "bound"),
    [
        ((), 1),
        (("data=arrays", "data.train.path=t.csv", "model=mlp", "model.in_features=1", "scheduler.t_warmup=1ep"), 2),
    ],
)
def test_config_is_checked_once_and_bound_once_for_training(app, in_tmp, typed, bound):
    Path("t.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(64)))
    with (
        patch("ssr_hydra.app.check.check_targets", wraps=check.check_targets) as checks,
        patch("ssr_hydra.schedulers.bind", wraps=bind) as binds_of_check,
        patch("ssr_hydra.optim.alpha.bind", wraps=bind) as binds_of_trainer,
    ):
        assert app(*QUICK, *typed).code == 0
    assert [each.call_count for each in (checks, binds_of_check, binds_of_trainer)] == [1, bound, 1]
