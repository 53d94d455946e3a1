"""The command line, as a user types it."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from checkout import REPO
from cli_helpers import cold, command
from omegaconf import OmegaConf
from warm import warm

TRAIN = str(REPO / "train.py")
QUICK = ("max_duration=4ba", "trainer.progress=none")

Show = Callable[..., Any]


@pytest.fixture
def show(app):
    """Return the config that the app would run."""

    def run(*arguments):
        answer = app(*arguments, "--cfg", "job", "--resolve")
        assert answer.code == 0, answer.err
        return OmegaConf.create(answer.out)

    return run


OVERRIDES = [
    (["scheduler=wsd", "scheduler.t_decay=0.2dur"], "scheduler.t_decay", "0.2dur"),
    (["experiment=digits_wsd", "name=mine"], "name", "mine"),
    (["experiment=digits_wsd", "scheduler.t_decay=0.3dur"], "scheduler.t_decay", "0.3dur"),
    (["scheduler=product", "scheduler@scheduler.factors.decay=polynomial"], "scheduler.factors.decay.power", 2.0),
    (["scheduler=product", "+scheduler@scheduler.factors.third=step"], "scheduler.factors.third.gamma", 0.1),
    (
        [
            "scheduler=sequence",
            "scheduler@scheduler.phases.decay.scheduler=product",
            "scheduler@scheduler.phases.decay.scheduler.factors.decay=step",
            "scheduler.phases.decay.scheduler.factors.decay.gamma=0.3",
        ],
        "scheduler.phases.decay.scheduler.factors.decay.gamma",
        0.3,
    ),
    (["scheduler=sequence", "+scheduler@scheduler.phases.x.scheduler=rex"], "scheduler.phases.x.until", None),
    (
        ["scheduler=piecewise_linear", "scheduler.points=[[0dur,0],[1dur,1]]"],
        "scheduler.points",
        [["0dur", 0], ["1dur", 1]],
    ),
    (["data.train.eval_fraction=0.5"], "data.eval.eval_fraction", 0.5),
    (["data.augment=null", "data.eval=null"], "data.augment", None),
    (["+trainer.metrics.mine._target_=a.b"], "trainer.metrics.mine._target_", "a.b"),
]


@pytest.mark.parametrize(("overrides", "place", "value"), OVERRIDES, ids=[" ".join(case[0]) for case in OVERRIDES])
def test_override_sets_its_key(show, overrides, place, value):
    assert OmegaConf.select(show(*overrides), place) == value


def test_override_can_remove_a_factor_of_a_product_and_a_phase_of_a_sequence(show):
    assert list(show("scheduler=product", "~scheduler@scheduler.factors.warmup").scheduler.factors) == ["decay"]
    assert list(show("scheduler=sequence", "~scheduler.phases.warmup").scheduler.phases) == ["decay"]


def test_config_dir_adds_choices_of_the_user(show, mine):
    mine("scheduler/slow", "defaults: [cosine_warmup, _self_]\nt_warmup: 0.2dur\n")
    mine("experiment/u", "# @package _global_\ndefaults:\n  - override /scheduler: slow\nssr: 0.5\n")
    mine("optimizer/mine", "defaults: [sgd_nesterov, _self_]\nlr: 0.3\n")
    config = show("--config-dir", "mine", "experiment=u", "optimizer=mine")
    assert config.scheduler.t_warmup == "0.2dur"
    assert config.scheduler._target_ == "ssr_hydra.schedulers.CosineAnnealingWithWarmupScheduler"
    assert (config.ssr, config.optimizer.lr, config.optimizer.nesterov) == (0.5, 0.3, True)


def test_help_lists_groups_and_commands(app):
    text = app("--help").out
    for group in ("scheduler", "optimizer", "model", "data", "trainer", "experiment"):
        assert re.search(rf"^  {group} +\w+", text, re.MULTILINE), group
    assert len(re.findall(r"^ +python train\.py .*=", text, re.MULTILINE)) == 5
    assert "cosine_warmup" in text
    assert "trust=[my_package]" in text
    # Hydra lists each group in one line.
    written = [line for line in text.splitlines() if not re.match(r"\w+: \w+,", line)]
    assert max(map(len, written)) <= 120


def test_the_commands_in_help_are_valid(show, app):
    for line in re.findall(r"^ +python train\.py (.*)$", app("--help").out, re.MULTILINE):
        arguments = [part for part in re.split(r"\s+", line.split("     ")[0]) if "=" in part or part == "-m"]
        if "-m" in arguments or any("mine" in part or "experiment=u" in part for part in arguments):
            continue
        show(*[part for part in arguments if part != "job"])


def test_flags_can_be_at_any_position_in_the_command(app):
    answer = app("ssr=2", "--cfg", "job", "seed=3", "-p", "seed", "name=x")
    assert (answer.code, answer.out.strip()) == (0, "3")


# -- in new processes


@pytest.mark.parametrize(("python", "start"), [(cold, (TRAIN,)), (command, ("-m", "ssr_hydra"))])
def test_script_and_module_can_start_a_run(tmp_path, python, start):
    answer = python(*start, *QUICK, "hydra.run.dir=run", cwd=tmp_path)
    assert answer.code == 0, answer.err
    record = json.loads((tmp_path / "run/result.json").read_text())
    assert (record["status"], record["steps"]) == ("completed", 4)
    assert (tmp_path / "run/.hydra/config.yaml").is_file()


def test_refused_command_exits_with_2_and_writes_no_file(tmp_path):
    answer = command(TRAIN, "scheduler.t_warmup=10", cwd=tmp_path)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err == ("error: scheduler.t_warmup='10': a duration needs a unit; did you mean '10ba' or '10ep'?\n")
    assert not list(tmp_path.iterdir())
    assert "Traceback" in command(TRAIN, "ssr=-1", cwd=tmp_path, HYDRA_FULL_ERROR="1").err


NO_TORCH = """
import os, sys
from ssr_hydra.app.main import main
for arguments, code in (
    ("--version", 0), ("--cfg job", 0), ("--help", 0), ("--info defaults", 0), ("-sc query=bash", 0), ("ssr=nan", 2)
):
    try:
        main(arguments.split())
    except SystemExit as leaving:
        assert (leaving.code or 0) == code, (arguments, leaving.code)
    heavy = {"torch", "numpy", "sklearn", "matplotlib", "rich"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
"""


def test_help_and_refused_commands_do_not_load_torch(tmp_path):
    line = "python train.py scheduler="
    answer = cold("-c", NO_TORCH, cwd=tmp_path, COMP_LINE=line, COMP_POINT=str(len(line)))
    assert answer.code == 0, answer.err
    assert answer.out.startswith("ssr_hydra ")
    assert "(hydra 1." in answer.out
    assert "scheduler=wsd" in answer.out


def test_completion_suggests_choices_and_keys(tmp_path):
    for typed, expected in (
        ("optimizer=ada", {"optimizer=adam", "optimizer=adamw"}),
        ("scheduler.t_", {"scheduler.t_warmup=", "scheduler.t_max="}),
        ("exp", {"experiment="}),
    ):
        line = f"python train.py {typed}"
        answer = command(TRAIN, "-sc", "query=bash", cwd=tmp_path, COMP_LINE=line, COMP_POINT=str(len(line)))
        assert expected <= set(answer.out.split()), answer


def test_runs_started_in_the_same_second_have_different_folders(tmp_path):
    arguments = ([], [], [], *[["-m", "seed=0,1", "study_report=false"]] * 2)
    started = [warm.start(TRAIN, *QUICK, *each, cwd=tmp_path) for each in arguments]
    for process in started:
        process.communicate(timeout=600)
    assert [process.returncode for process in started] == [0] * 5
    assert len(list(tmp_path.glob("outputs/*/*/result.json"))) == 3
    assert len(list(tmp_path.glob("multirun/*/*/*/result.json"))) == 4


def test_run_repeated_from_its_saved_config_has_the_same_metrics_and_hash(tmp_path):
    assert command(TRAIN, *QUICK, "scheduler=product", "hydra.run.dir=a", "seed=3", cwd=tmp_path).code == 0
    answer = command(TRAIN, "--config-path", "a/.hydra", "--config-name", "config", cwd=tmp_path)
    assert answer.code == 0, answer.err
    (replayed,) = tmp_path.glob("outputs/*/*/result.json")
    first, second = json.loads((tmp_path / "a/result.json").read_text()), json.loads(replayed.read_text())
    assert first["metrics"] == second["metrics"]
    assert first["config_hash"] == second["config_hash"]
    longer = command(TRAIN, "--config-path", "a/.hydra", "--config-name", "config", "ssr=-2", cwd=tmp_path)
    assert longer.code == 2
