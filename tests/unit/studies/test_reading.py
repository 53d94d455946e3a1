"""Reading records into a study: accepted records, problems and notes."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from refusals import refused
from study_runs import METRIC, config, raw, record, write_run

from ssr_hydra.errors import MismatchError, MissingValueError, PathError, UnknownNameError
from ssr_hydra.metrics_log import MetricsLog
from ssr_hydra.studies import Note, load, summary
from ssr_hydra.studies.reading import check_record
from ssr_hydra.studies.study import COLUMNS
from ssr_hydra.sweeps.folder import STUDY, StudyFolder
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Heartbeat, Pulse
from ssr_hydra.sweeps.job_status import JOB


def add(folder, ssr=1.0, seed=0, settings=None, **changes):
    """Write a run with these settings in its config and these changes in its record."""
    write_run(folder, record(ssr, seed, **changes), config(ssr, seed, **(settings or {})))


def sweep(root, runs=4, **changes):
    """Write runs at two SSRs, with a seed for each two runs."""
    for job in range(runs):
        ssr, seed = (0.5, 1.0)[job % 2], job // 2
        overrides = [f"ssr={ssr}", f"seed={seed}"]
        write_run(root / str(job), record(ssr, seed, 0.9 + job / 100), config(ssr, seed, **changes), overrides)
    return root


def test_study_has_a_row_for_each_run(tmp_path):
    study = load(sweep(tmp_path / "digits"))
    assert tuple(study.frame.columns) == COLUMNS
    assert study.frame["quality"].tolist() == [0.90, 0.91, 0.92, 0.93]
    assert study.frame["ssr"].tolist() == [0.5, 1.0, 0.5, 1.0]
    assert study.frame["seed"].tolist() == [0, 0, 1, 1]
    assert set(study.frame["study"]) == {"digits"}
    assert study.frame["job"].tolist() == ["0", "1", "2", "3"]
    assert study.frame["seconds"].tolist() == [5.0, 10.0, 5.0, 10.0]
    assert (study.objective, study.direction, study.problems, study.notes) == (METRIC, "max", (), ())
    assert study.sources == (tmp_path / "digits",)
    many = load(sweep(tmp_path / "many", runs=12))
    assert many.frame["job"].tolist() == [str(job) for job in range(12)]  # job 10 comes after job 9
    assert study.hardware == (record().hardware,)
    assert list(study.totals(3600).values()) == [4, 4, 0, 30.0, 34.0, 34.0]
    assert study.curves["run"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert study.curves["steps"].tolist()[:4] == [25, 50, 50, 100]
    assert study.curves["samples"].tolist()[:2] == [400, 800]
    assert study.curves["value"].tolist()[:4] == [0.5, 0.90, 0.5, 0.91]


def test_ssr_with_a_rounding_error_is_read_as_the_nearest_simple_ratio(tmp_path):
    write_run(tmp_path / "0", record(0.3, 0), config(0.3, 0))
    write_run(tmp_path / "1", record(0.3, 1), config(0.1 + 0.2, 1))  # Hydra saves the computed value
    write_run(tmp_path / "2", record(0.1 + 0.2, 2), config(0.1 + 0.2, 2))  # as an earlier version wrote the record
    study = load(tmp_path)
    assert study.problems == ()
    assert study.frame["ssr"].tolist() == [0.3] * 3


def test_path_may_be_a_run_folder_or_a_record_or_a_folder_of_studies(tmp_path):
    one, two = sweep(tmp_path / "one", 2), tmp_path / "two"
    for job in range(2):
        write_run(two / "deep/er" / str(job), record(2.0, job, 0.95), config(2.0, job))
    study = load([one, two, one, one / "0"])  # each run once
    assert study.frame["study"].tolist() == ["one", "one", "two", "two"]
    assert study.frame["job"].tolist() == ["0", "1", "deep/er/0", "deep/er/1"]
    assert len(load(one / "0").frame) == len(load(str(one / "0/result.json")).frame) == 1
    assert load(one / "0").frame["job"][0] == "."
    link = tmp_path / "link"
    link.symlink_to(one)
    assert len(load([link, one]).frame) == 2
    (one / "0").rename(tmp_path / "moved")  # the folder of a job may be a link
    (one / "0").symlink_to(tmp_path / "moved")
    (one / "latest").symlink_to(one / "1")
    (one / "circle").symlink_to(one)
    assert load([one, tmp_path / "moved"]).frame["job"].tolist() == ["0", "1"]


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda path: None, "folder not found"),
        (Path.mkdir, "no runs"),
        (Path.touch, r"must be a folder \(got a file\)"),
    ],
    ids=["missing", "empty", "a file"],
)
def test_folder_without_runs_is_refused(tmp_path, make, rule):
    make(tmp_path / "study")
    with refused("study", PathError, match=rule):
        load(tmp_path / "study")


def test_problems_list_runs_that_did_not_complete(tmp_path):
    sweep(tmp_path)
    add(tmp_path / "10", 2.0, status="failed", error="ValueError: no")
    add(tmp_path / "11", 2.0, 1, status="diverged", error="train/loss is nan")
    write_run(tmp_path / "12", None, config(2.0, 2))
    add(tmp_path / "13", 2.0, 3, quality=None)
    add(tmp_path / "14", 2.0, 4, metrics={}, evaluations=[])
    study = load(tmp_path)
    problems = {Path(problem.where).name: (problem.kind, problem.reason) for problem in study.problems}
    assert problems["10"] == ("failed", "ValueError: no")
    assert problems["11"] == ("diverged", "train/loss is nan")
    assert problems["12"][0] == "unfinished"
    assert problems["13"] == ("no_value", f"{METRIC} is not a finite number")
    assert problems["14"] == ("no_value", f"{METRIC} is not among its metrics")
    assert (len(study.frame), len(study.completed)) == (8, 4)  # a failed run did not reach its final value
    assert study.notes == (Note("lost", "digits", (("failed", 1), ("diverged", 1), ("no_value", 2)), (2.0,)),)
    assert study.totals()["failed"] == 4


def test_note_about_diverged_seeds_needs_a_completed_seed(tmp_path):
    sweep(tmp_path)
    for seed in (0, 1):
        add(tmp_path / f"lost{seed}", 1.0, seed, {"optimizer__lr": 1e30}, status="diverged", error="train/loss is nan")
    study = load(tmp_path)
    (name,) = set(study.frame["recipe"]) - set(study.recipes)
    assert study.notes == (Note("lost", name, (("diverged", 2),)),)
    assert summary(study)[["recipe", "n", "failed"]].iloc[-1].tolist() == [name, 0, 2]
    add(tmp_path / "some", 1.0, 7, status="diverged", error="train/loss is nan")
    (note, _) = load(tmp_path).notes
    assert note == Note("diverged", counts=((study.recipes[0], 1),))


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the kernel does not tell")
def test_reading_a_study_does_not_disturb_a_running_job(tmp_path):
    sweep(tmp_path, 2)
    write_run(tmp_path / "7", None, config())
    with MetricsLog(tmp_path / "7") as log:
        (problem,) = load(tmp_path).problems
        log.write({"event": "train"})
    assert problem.kind in ("running", "unfinished")  # a sandbox may hide the locks of the kernel
    (problem,) = load(tmp_path).problems
    assert problem.kind == "unfinished"


def test_job_states_are_distinguished_and_internal_files_are_ignored(tmp_path):
    sweep(tmp_path, 2)
    internal = ["study.json", ".lock", "report/report.json", ".sweeps/1.json", ".submitit/1/x"]
    for name in [*internal, *(f"{job}/{JOB}" for job in range(2, 6))]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}", encoding="utf-8")
    (tmp_path / "3" / ".hydra").mkdir()  # the run started and its process ended
    write_run(tmp_path / "6", record(2.0, 0, status="failed", error="ValueError: no"), config(2.0))
    dead = Pulse("elsewhere", 1, "then")
    (tmp_path / "5" / HEARTBEAT).write_text(json.dumps(asdict(dead)), encoding="utf-8")
    os.utime(tmp_path / "5" / HEARTBEAT, (0, 0))
    before = sorted(tmp_path.rglob("*"))
    with Heartbeat(tmp_path / "4" / HEARTBEAT), Heartbeat(tmp_path / "6" / HEARTBEAT):
        during = sorted(tmp_path.rglob("*"))
        study = load(tmp_path)
        assert sorted(tmp_path.rglob("*")) == during  # reading writes no file
    problems = {Path(problem.where).name: problem for problem in study.problems}
    assert {name: problem.kind for name, problem in problems.items()} == {
        "2": "waiting", "3": "unfinished", "4": "running", "5": "unfinished", "6": "running",
    }  # fmt: skip
    assert "ended without a result" in problems["5"].reason
    assert problems["6"].reason == "the run is being retried: ValueError: no"
    assert len(study.frame) == 2  # a job that is being retried does not count as failed
    assert sorted(tmp_path.rglob("*")) == before
    assert [problem.kind for problem in load(tmp_path).problems][-1] == "failed"


BOMB = "c0: &c0 [1]\n" + "".join(f"c{i}: &c{i} [{', '.join([f'*c{i - 1}'] * 9)}]\n" for i in range(1, 10))


@pytest.mark.parametrize("text", ["ssr: [", "- a\n- b\n", "", BOMB], ids=["torn", "a list", "empty", "a bomb"])
def test_record_with_an_invalid_config_is_reported(tmp_path, text):
    sweep(tmp_path, 2)
    (tmp_path / "1/.hydra/config.yaml").write_text(text, encoding="utf-8")
    study = load(tmp_path)
    assert [problem.kind for problem in study.problems] == ["invalid"]
    assert len(study.frame) == 1


@pytest.mark.parametrize(
    ("names", "recipes"),
    [
        (["long", "long", "short", "short"], ("long", "short")),
        (["a", "b", "c", "c"], ("optimizer.lr=0.1", "optimizer.lr=0.2")),  # lr=0.1 has two names
    ],
)
def test_config_name_becomes_the_recipe_name_only_if_each_recipe_has_one_name(tmp_path, names, recipes):
    for seed, (lr, name) in enumerate(zip((0.1, 0.1, 0.2, 0.2), names, strict=True)):
        configured = config(1.0, seed, optimizer__lr=lr, name=name)
        write_run(tmp_path / str(seed), record(1.0, seed), configured, [f"optimizer.lr={lr}", f"name={name}"])
    assert load(tmp_path).recipes == recipes


def test_controls_are_distinguished_from_recipes(tmp_path):
    pairs = [(scaled, control) for scaled in (False, True) for control in (None, "truncate")]
    for job, (scaled, control) in enumerate(pairs):
        settings = {"control": control, "scheduler__scale_warmup": scaled}
        add(tmp_path / str(job), 0.5, settings=settings, control=control)
    study = load(tmp_path)
    assert len(study.recipes) == 1
    assert study.frame["control"].tolist() == ["", "truncate", "scale_warmup", "truncate+scale_warmup"]
    assert study.problems == ()
    # A scaled warmup is a control only next to an unscaled warmup.
    assert load([tmp_path / "2", tmp_path / "3"]).frame["control"].tolist() == ["", "truncate"]


def test_first_completed_run_of_a_repeated_seed_is_used(tmp_path):
    sweep(tmp_path / "first", 2)
    add(tmp_path / "again/0", 0.5, quality=0.7)
    add(tmp_path / "again/1", 1.0, quality=0.91)
    add(tmp_path / "a_failed_try", 0.5, status="failed", error="killed")
    study = load([tmp_path / "a_failed_try", tmp_path / "first", tmp_path / "again"])
    assert study.frame["quality"].tolist() == [0.90, 0.91]
    assert study.curves["run"].tolist() == [0, 0, 1, 1]
    assert study.curves["value"].tolist() == [0.5, 0.90, 0.5, 0.91]
    problems = {problem.where: (problem.kind, problem.reason) for problem in study.problems}
    assert problems[str(tmp_path / "again/0")] == (
        "duplicate",
        f"{tmp_path}/first/0 has the same recipe, ssr and seed, and only that run counts: 0.9 there, 0.7 here",
    )
    assert problems[str(tmp_path / "again/1")][1].endswith("the same value")
    assert problems[str(tmp_path / "a_failed_try")] == ("failed", "killed")
    for job in range(2):  # runs without a seed are not duplicates
        write_run(tmp_path / f"unseeded/{job}", record(1.0, None))
    study = load(tmp_path / "unseeded", objective=METRIC)
    assert (len(study.frame), summary(study)["seeds"].tolist()) == (2, [()])


def test_objective_comes_from_the_option_or_the_configs(tmp_path):
    write_run(tmp_path / "0", record())
    with refused("objective", MissingValueError, match=f"choose one of {METRIC}, train/loss"):
        load(tmp_path)
    with refused("objective", UnknownNameError, match=f"no run has this metric; the metrics are {METRIC}, train/loss"):
        load(tmp_path, objective="eval/lss")  # refused before its direction is needed
    add(tmp_path / "1", 1.0, 1)
    add(tmp_path / "2", 2.0, 0, {"trainer__objective": "eval/loss"}, metrics={"eval/loss": 0.1}, evaluations=[])
    with refused("objective", MismatchError, match=r"^objective=.*eval/accuracy \(1 run\), eval/loss \(1 run\)"):
        load(tmp_path)
    study = load(tmp_path, objective="eval/loss")
    assert study.completed["quality"].tolist() == [0.1]
    assert [problem.kind for problem in study.problems] == ["no_value", "no_value"]


def test_direction_comes_from_the_option_then_the_configs_then_the_name(tmp_path):
    for seed, (metric, mode) in enumerate((("train/loss", "max"), ("train/loss", "auto"), (METRIC, "min"))):
        add(tmp_path / str(seed), 1.0, seed, {"checkpoint__best": metric, "checkpoint__mode": mode})
    assert load(tmp_path).direction == "min"
    assert load(tmp_path, objective="train/loss").direction == "max"
    assert load(tmp_path, objective="train/loss", direction="min").direction == "min"
    with refused("direction", UnknownNameError):
        load(tmp_path, direction="up")
    add(tmp_path / "3", 1.0, 3, {"checkpoint__best": METRIC, "checkpoint__mode": "max"})
    with refused("direction", MissingValueError, match="some runs have checkpoint.mode=max and other runs"):
        load(tmp_path)
    add(tmp_path / "x/0", settings={"trainer__objective": "eval/thing"}, metrics={"eval/thing": 1.0}, evaluations=[])
    with refused("direction", MissingValueError, match="the name eval/thing does not show"):
        load(tmp_path / "x")


def test_note_lists_differences_between_runs(tmp_path):
    sweep(tmp_path, 2)
    hardware = {"cpu": "another", "gpu": "a gpu", "device": "cuda", "threads": 1, "processes": 2}
    versions = {"python": "3.12.1", "torch": "2.11.0"}
    data = {"dataset": {"name": "digits train", "sha256": "ffffffffff"}}
    add(tmp_path / "9", 2.0, versions=versions, data=data, hardware=hardware, resumes=1)
    # A run that never started has computed nothing.
    nothing = {"hardware": {}, "data": {}, "metrics": {}, "evaluations": [], "steps": 0}
    add(tmp_path / "8", 4.0, **nothing, versions={"torch": "2.9"}, status="failed", error="no such column")
    study = load(tmp_path)
    assert study.versions["torch"] == ("2.10.0", "2.11.0")
    assert study.hardware == (record().hardware, hardware)
    assert study.notes == (
        Note("data", counts=(("digits train 0e8e82d8", 2), ("digits train ffffffff", 1))),
        Note("versions", "torch", (("2.10.0", 2), ("2.11.0", 1))),
        Note("machines", counts=(("a cpu, 1 x 1 threads", 2), ("a gpu, 2 x 1 threads", 1))),
        Note("resumed", counts=(("", 1),)),
        Note("lost", "digits", (("failed", 1),), (4.0,)),
    )


def test_config_that_several_runs_share_is_parsed_once(tmp_path, monkeypatch):
    from ssr_hydra.studies import recipes

    parsed = []
    parse = recipes._parse
    monkeypatch.setattr(recipes, "_parse", lambda text: parsed.append(text) or parse(text))
    sweep(tmp_path, 8)
    assert len(load(tmp_path).frame) == 8
    assert sum("scheduler:" in text for text in parsed) == 1


def test_note_lists_the_code_that_differs_between_sweeps(tmp_path):
    root = sweep(tmp_path / "all/digits")
    code = {"python": "3.12.1", "ssr_hydra": "0.1.0 abc", "my_lab": "0c4f"}
    StudyFolder(root).open({}, [], code, any_code=False)
    assert load(root).notes == ()
    StudyFolder(root).open({}, [], code | {"my_lab": "77aa"}, any_code=True)
    StudyFolder(root).open({}, [], code, any_code=True)  # the first version again, which is not a third version
    assert load(root).notes == load(tmp_path / "all").notes == (Note("codes", "2", (("my_lab", 2),)),)
    assert load(root / "0").notes == ()  # a single run has only one version
    StudyFolder(root).open({}, [], code | {"ssr_hydra": "0.1.0 def"}, any_code=True)
    assert load(root).notes == (Note("codes", "3", (("ssr_hydra", 2), ("my_lab", 2))),)


def test_note_lists_runs_that_recorded_different_code(tmp_path):
    codes = [{"ssr_hydra": "aa", "my_lab": "0c4f"}, {"ssr_hydra": "aa", "my_lab": "77aa"}]
    for seed in range(3):
        add(tmp_path / f"{seed}", 1.0, seed, code=codes[seed > 0])
    study = load(tmp_path)
    note = Note("versions", "the code of my_lab", (("0c4f", 1), ("77aa", 2)))
    assert study.notes == (note,)
    assert study.versions["the code of my_lab"] == ("0c4f", "77aa")
    # study.json has the version at the start of the sweep; the records have the versions of the jobs.
    for code in codes:
        StudyFolder(tmp_path).open({}, [], code, any_code=True)
        assert load(tmp_path).notes == (note,)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"codes": [1, 2]}', '{"codes": null}'])
def test_study_with_invalid_code_information_can_be_read(tmp_path, content):
    root = sweep(tmp_path)
    (root / STUDY).write_text(content, encoding="utf-8")
    assert (len(load(root).frame), load(root).notes) == (4, ())


def test_conditions_are_read_from_the_records(tmp_path):
    for seed, conditions in enumerate(({"jobs_beside": 2.5, "load": 3.0, "cpus": 8}, {"load": "high"}, {})):
        add(tmp_path / str(seed), 1.0, seed, conditions=conditions)
    study = load(tmp_path)
    assert study.conditions.to_dict("index") == {0: {"jobs_beside": 2.5, "load": 3.0}}
    older = raw(record())
    del older["conditions"]
    (tmp_path / "2/result.json").write_text(json.dumps(older | {"seed": 2}), encoding="utf-8")
    assert len(load(tmp_path).completed) == 3


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"scheduler___target_": "ssr_hydra.schedulers.LinearScheduler"}, True),
        ({"optimizer__lr": 0.3}, True),
        ({"optimizer__betas": [0.9, 0.95]}, True),
        ({"optimizer___target_": "torch.optim.AdamW"}, False),
        ({"optimizer__nesterov": True}, False),
        ({"model": {"width": 64}}, False),
        ({"data": {"batch_size": 32}}, False),
    ],
)
def test_steps_are_equal_work_if_only_schedules_and_optimizer_values_differ(tmp_path, changes, same):
    add(tmp_path / "a")
    add(tmp_path / "b", settings=changes)
    assert load(tmp_path).same_work is same


def test_equal_work_is_unknown_for_runs_without_a_config(tmp_path):
    write_run(tmp_path / "a", record(), config())
    write_run(tmp_path / "b", record(name="other"))
    assert load(tmp_path).same_work is None


def test_complete_record_is_accepted():
    check_record(record(), {"ssr": 1.0, "seed": 0, "control": None})
    check_record(record(seed=None, evaluations=[]), {"ssr": 1})
    check_record(record(), {"ssr": "${other}", "seed": "${other}"})  # an interpolation is not compared
    check_record(record(status="failed", steps=120, metrics={}), {})  # a failed run may end between evaluations


@pytest.mark.parametrize(
    "change",
    [
        {"ssr": 0}, {"ssr": 10**400}, {"seed": -1}, {"seed": 2**63}, {"seed": 1.0}, {"steps": 100.0}, {"resumes": -1},
        {"steps": 99},  # fewer than the 100 steps of the last evaluation
        {"train_seconds": None}, {"error": 3}, {"max_duration": 16}, {"control": "shorten"}, {"data": []},
        {"metrics": {METRIC: "0.9"}}, {"metrics": {METRIC: 0.91}}, {"evaluations": {}}, {"evaluations": [[]]},
    ],
)  # fmt: skip
def test_impossible_record_is_refused(change):
    with pytest.raises(ValueError, match=r"cannot be|must be|is not a valid value|in the last evaluation") as caught:
        (run_record := replace(record(), **change)).check()
        check_record(run_record, {})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("config", [{"ssr": 2.0}, {"seed": 1}, {"control": "truncate"}])
def test_record_that_contradicts_its_config_is_refused(config):
    with pytest.raises(ValueError, match="in its config.yaml"):
        check_record(record(), config)
