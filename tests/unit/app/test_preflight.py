"""Preflight refuses bad commands before Hydra runs any code, and passes valid ones to Hydra."""

import io
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from checkpoint_helpers import save
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from refusals import refused

from ssr_hydra.app.command_line import parse_command_line
from ssr_hydra.app.compose import Composer, composing
from ssr_hydra.app.preflight import JobComposer, checked, sweep_axes
from ssr_hydra.checkpoints import CheckpointStore
from ssr_hydra.errors import InputError, MismatchError, PathError
from ssr_hydra.sweeps.combinations import combinations
from ssr_hydra.sweeps.folder import StudyFolder
from ssr_hydra.sweeps.job_status import describe
from ssr_hydra.sweeps.plan import show_plan
from ssr_hydra.versions import code_version, software


def flight(*typed):
    with checked(parse_command_line(list(typed)), "id") as preflight:
        return preflight


def sweep_of(*typed):
    sweep = flight("-m", *typed).sweep
    assert sweep is not None
    return sweep


def refusal(*typed):
    with pytest.raises(InputError) as caught:
        flight(*typed)
    return caught.value


OF_A_RUN = {
    "a number": "5",
    "a list": "[1]",
    "invalid YAML": "a: [",
    "aliases": "a: &a [x]\nb: &b [*a, *a]\n" + "".join(f"c{n}: &b [{'*b, ' * 50}]\n" for n in range(6)),
    "levels": f"x: {'[' * 20_000}{']' * 20_000}",
    "a long number": "seed: 1" + ":59" * 60_000,
    "a pipe": None,
}


@pytest.mark.parametrize("text", OF_A_RUN.values(), ids=OF_A_RUN)
def test_run_folder_with_an_unreadable_config_is_accepted_quickly(in_tmp, text):
    """The checkpoint of a run decides whether the command may continue the run. The config is read within limits."""
    save(CheckpointStore(in_tmp / "r/checkpoints"), 2)
    config = in_tmp / "r/.hydra/config.yaml"
    config.parent.mkdir()
    if text is None:
        os.mkfifo(config)
    else:
        config.write_text(text)
    began = time.process_time()
    assert flight("hydra.run.dir=r").folder == Path("r")
    assert time.process_time() - began < 5


def test_run_folder_must_not_contain_a_pipe(in_tmp):
    (in_tmp / "r").mkdir()
    os.mkfifo(in_tmp / "r/train.log")
    with refused("hydra.run.dir", PathError, match="train.log is a pipe"):
        flight("hydra.run.dir=r")


@pytest.mark.parametrize(
    ("typed", "folder"),
    [
        (["study=a.b-c_1+"], "studies/a.b-c_1+"),
        (["study=/data/a"], "/data/a"),
        (["hydra.sweep.dir=x/${name}", "name=y"], "x/y"),
    ],
)
def test_a_sweep_is_written_to_the_folder_of_its_study(typed, folder):
    preflight = flight("-m", *typed)
    assert str(preflight.folder) == folder
    assert preflight.argv[-1] == f"hydra.sweep.dir={folder}"
    assert "hydra.mode=MULTIRUN" in preflight.argv


def test_the_working_folder_is_importable_only_if_a_module_is_trusted(in_tmp, monkeypatch):
    path = list(sys.path)
    monkeypatch.setattr(sys, "path", path)
    monkeypatch.setenv("PYTHONPATH", "/own")
    flight()
    assert (str(in_tmp) in sys.path, os.environ["PYTHONPATH"]) == (False, "/own")
    flight("trust=[pytest]")
    flight("trust=[pytest]")
    assert (sys.path.count(str(in_tmp)), os.environ["PYTHONPATH"]) == (1, f"/own{os.pathsep}{in_tmp}")


SWEEPS = [
    ["scheduler=cosine,wsd", "optimizer.lr=0.1,0.01", "ssr=1"],
    ["scheduler=product", "scheduler@scheduler.factors.decay=step,rex", "scheduler.factors.warmup.alpha=0.1,0.2"],
    ["optimizer={lr:0.1},{lr:0.2}", "optimizer.lr=0.3"],
    ["+trainer.metrics.x._target_=a.b,c.d", "seed=1,2"],
    ["data.train.eval_fraction=0.2,0.5", "model.widths=[4,8],[8]"],
]


@pytest.mark.parametrize("typed", SWEEPS, ids=" ".join)
def test_job_made_from_a_copied_config_equals_the_job_composed_by_hydra(typed):
    with composing(parse_command_line(["-m", *typed])) as composer:
        parsed = composer.parse(typed)
        fixed = [str(each.input_line) for each in parsed if not each.is_sweep_override()]
        jobs = JobComposer(composer, parsed, parsed, composer.compose(fixed))
        job_configs = [(job, OmegaConf.to_container(jobs.compose(job))) for job in combinations(parsed)]
        for job, config in (job_configs[1], job_configs[-1]):
            whole = OmegaConf.to_container(composer.compose(job))
            del whole["hydra"]
            assert config == whole


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_named_scheduler_that_no_param_group_uses_is_refused(sweep):
    schedulers = ["~scheduler", "+scheduler@scheduler.default=cosine", "+scheduler@scheduler.head=linear"]
    assert refusal(*sweep, *schedulers).field == "scheduler.head"
    assert refusal(*sweep, *schedulers, "+scheduler@scheduler.a=cosine").field == "scheduler.head"  # the first one
    flight(*sweep, *schedulers, "+param_groups.head={params:x,schedule:head}")


def test_preflight_lists_the_jobs_of_the_sweep():
    sweep = sweep_of("ssr=0.5,1", "seed=3,4", "trust=[pytest]")
    assert [job for job, _ in sweep.jobs] == [
        (f"ssr={ssr}", f"seed={seed}", "trust=[pytest]") for ssr in ("0.5", "1") for seed in (3, 4)
    ]
    assert sweep.swept == {"ssr", "seed"}
    assert len({description.identity for _, description in sweep.jobs}) == 4


def jobs_of(*typed, params=None, stated=None):
    """Return the jobs of a sweep of this command line, ``hydra.sweeper.params`` and ``zip`` of the config."""
    composer = SimpleNamespace(parse=OverridesParser.create().parse_overrides)
    axes, zips = sweep_axes(composer, OmegaConf.create({"zip": stated}), composer.parse(list(typed)), params or {})
    return [" ".join(job) for job in combinations(axes, zips)]


PAIRS = ("ssr=0.5,1", "lr=3,4", "seed=0,1")
PAIRED = ["ssr=0.5 lr=3 seed=0", "ssr=0.5 lr=3 seed=1", "ssr=1 lr=4 seed=0", "ssr=1 lr=4 seed=1"]


@pytest.mark.parametrize(
    "typed", ["ssr,lr", "[lr,ssr]", "[[ssr,lr]]", "choice(ssr,lr)", "'ssr',\"lr\"", "['ssr', lr]", "ssr, lr"]
)
def test_zip_keys_can_be_a_list_or_separated_by_commas(typed):
    assert jobs_of(*PAIRS, f"zip={typed}") == PAIRED
    assert jobs_of(f"zip={typed}", *PAIRS) == PAIRED
    assert jobs_of(params={"ssr": "0.5,1", "zip": typed, "lr": "3,4", "seed": "0,1"}) == PAIRED


@pytest.mark.parametrize("stated", [["ssr", "lr"], [["lr", "ssr"]], "ssr, lr"])
def test_zip_on_the_command_line_replaces_the_zip_of_a_file(stated):
    params = {"ssr": "0.5,1", "lr": "3,4", "seed": "0,1"}
    assert jobs_of(params=params, stated=stated) == PAIRED
    assert jobs_of(params={**params, "zip": "seed,ssr"}, stated=stated) == jobs_of(*PAIRS, "zip=seed,ssr")
    assert jobs_of("zip=seed,ssr", params={**params, "zip": "ssr,lr"}, stated=stated) == jobs_of(*PAIRS, "zip=seed,ssr")
    assert len(jobs_of("zip=null", params={**params, "zip": "ssr,lr"}, stated=stated)) == 8
    assert len(jobs_of("ssr=1,2,3", "lr=1,2,3", params=params, stated=stated)) == 3 * 2
    with refused("zip", MismatchError):
        jobs_of("ssr=1", params=params, stated=stated)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            ("zip=ssr,seed", "zip=lr,x"),
            "zip='lr,x': must be set only once; to pair several groups of keys, write 'zip=[a,b],[c,d]'",
        ),
        (("zip=ssr,study", "study=a"), "zip='ssr,study': must list keys that the sweep varies (got study)"),
        (("zip=ssr,hydra.job.name", "hydra.job.name=a"), "must list keys that the sweep varies (got hydra.job.name)"),
        (("zip=range(3)",), "zip='range(3)': must list keys that the sweep varies (got range(3))"),
        (("zip=glob(*)",), "zip='glob(*)': must list keys that the sweep varies (got glob(*))"),
        (("zip=ssr:lr",), "zip='ssr:lr': must list keys that the sweep varies (got ssr:lr)"),
        (("zip=true",), "zip='true': must list keys (got True)"),
        (("zip={ssr:lr}",), "zip='{ssr:lr}': must list keys (got {'ssr': 'lr'})"),
        (("zip=[[ssr,lr],[0.5,3]]",), "zip='[[ssr,lr],[0.5,3]]': must list keys (got 0.5); e.g. ssr=0.5,1"),
    ],
)
def test_zip_that_is_not_a_list_of_swept_keys_is_refused(typed, words):
    with pytest.raises(InputError) as caught:
        jobs_of(*PAIRS, *typed)
    assert words in str(caught.value)


def test_zip_and_product_give_the_same_jobs_with_the_same_identities():
    """A sweep without a zip can extend a study with a zip, and the reverse."""
    axes = ("ssr=0.5,1", "optimizer.lr=0.1,0.05", "seed=0,1")
    paired, product = sweep_of(*axes, "++zip=ssr,optimizer.lr"), sweep_of(*axes)
    assert [job for job, _ in paired.jobs] == [
        (f"ssr={ssr}", f"optimizer.lr={lr}", f"seed={seed}")
        for ssr, lr in (("0.5", "0.1"), ("1", "0.05"))
        for seed in (0, 1)
    ]
    assert paired.swept == product.swept == {"ssr", "optimizer.lr", "seed"}
    assert (paired.product, product.product) == ("2 ssr,optimizer.lr x 2 seed", "2 ssr x 2 optimizer.lr x 2 seed")
    assert dict(paired.jobs).items() < dict(product.jobs).items()


def test_experiment_file_can_define_the_zip_of_its_sweep(mine):
    params = "hydra: {sweeper: {params: {ssr: '0.5,1', optimizer.lr: '0.1,0.05'}}}"
    mine("experiment/u", f"# @package _global_\nzip: [ssr, optimizer.lr]\n{params}")
    sweep = sweep_of("--config-dir", "mine", "experiment=u")
    assert [job[:2] for job, _ in sweep.jobs] == [("ssr=0.5", "optimizer.lr=0.1"), ("ssr=1", "optimizer.lr=0.05")]


def test_plan_lists_a_job_once_even_if_its_values_are_spelled_differently():
    sweep = sweep_of("ssr=0.5,.5,0.50,1", "plan=true", "study=first", "study_report=false")
    printed = io.StringIO()
    show_plan(Path("s"), sweep, printed)
    assert printed.getvalue().splitlines() == [
        "2 jobs in s: 2 missing",
        "2 of 4 combinations repeat a listed job",
        "  missing   -     ssr=0.5",
        "  missing   -     ssr=1",
        "steps: 1,800",
    ]


def test_plan_of_a_different_study_is_refused_like_a_sweep(tmp_path):
    first, other = (sweep_of("ssr=0.5,1", "plan=true", *more) for more in ((), ("optimizer.lr=0.3",)))
    code = software(code_version(()))
    StudyFolder(tmp_path).open(first.base, first.swept, code, any_code=False)
    with refused("hydra.sweep.dir", MismatchError, match=r"optimizer\.lr was 0\.1 and is 0\.3"):
        show_plan(tmp_path, other, io.StringIO())
    StudyFolder(tmp_path).open(first.base, first.swept, {**code, "torch": "0.1"}, any_code=True)
    with refused("hydra.sweep.dir", MismatchError, match="torch was '0.1'"):
        show_plan(tmp_path, first, io.StringIO())
    show_plan(tmp_path, replace(first, any_code=True), io.StringIO())


@pytest.fixture
def compositions(monkeypatch):
    """Return the overrides of each composition by Hydra."""
    calls = []
    compose = Composer.compose
    monkeypatch.setattr(
        Composer, "compose", lambda self, overrides: calls.append(overrides) or compose(self, overrides)
    )
    return calls


def test_sweep_is_composed_once_per_choice_of_groups(compositions):
    # tests/chaos measures the time of 1,000 jobs.
    sweep = sweep_of("scheduler=rex,linear", "optimizer=sgd,adamw", "seed=range(3)", "zip=scheduler,optimizer")
    assert len(sweep.jobs) == 2 * 3
    assert len(compositions) == 1 + 2  # the sweep itself, and a job for each pair
    compositions.clear()
    flight("-m", "scheduler=wsd", "ssr=0.25,0.5", "seed=0,1")
    assert len(compositions) == 1  # all jobs are copies of this composition


def test_settings_of_the_app_are_not_part_of_a_job():
    plain = sweep_of("seed=1")
    assert sweep_of("seed=1", "study=x", "workers=3", "study_code=any", "trust=[pytest]").jobs[0][1] == plain.jobs[0][1]
    assert describe({"seed": 1}).identity != plain.jobs[0][1].identity


def test_interpolations_in_the_run_folder_are_resolved(in_tmp):
    preflight = flight("hydra.run.dir=runs/${name}-${ssr}", "name=a", "ssr=0.5")
    assert preflight.argv == ["name=a", "ssr=0.5", "hydra.mode=RUN", "hydra.run.dir=runs/a-0.5"]
    assert preflight.new_folders == [Path("runs/a-0.5"), Path("runs")]
