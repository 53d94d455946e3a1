"""A sweep with paired values, from the command line to the report."""

import json
from pathlib import Path

import yaml

from ssr_hydra.records import RunResult
from ssr_hydra.studies import load as load_study

QUIET = ("launcher=basic", "trainer.progress=none", "max_duration=24ba", "data.batch_size=200", "model=mlp")
PAIRS = ("ssr=0.5,1", "scheduler=rex,linear", "seed=0,1", "zip=ssr,scheduler", "study=pairs")


def overrides_of(folder):
    listed = yaml.safe_load(Path("studies/pairs", folder, ".hydra/overrides.yaml").read_text())
    return [each for each in listed if each.partition("=")[0] in ("ssr", "scheduler", "seed", "zip")]


def test_study_with_a_zip_can_be_extended_and_reported_and_can_share_steps(app, in_tmp):
    first = app("-m", *QUIET, *PAIRS)
    assert first.code == 0, first.err
    assert "4 jobs in studies/pairs: 4 completed" in first.out
    assert "zip" not in first.out
    assert [overrides_of(str(number)) for number in range(4)] == [
        [f"ssr={ssr}", f"scheduler={scheduler}", f"seed={seed}"]
        for ssr, scheduler in (("0.5", "rex"), ("1", "linear"))
        for seed in (0, 1)
    ]
    study = load_study("studies/pairs")  # each recipe has one SSR
    assert set(zip(study.frame["recipe"], study.frame["ssr"], strict=True)) == {("rex", 0.5), ("linear", 1.0)}
    assert (study.problems, study.notes, study.objective) == ((), (), "eval/accuracy")
    report = json.loads(Path("studies/pairs/report/report.json").read_text())
    assert "zip" not in json.dumps(report)

    grown = ("ssr=0.5,1,2", "scheduler=rex,linear,linear", *PAIRS[2:], "study_report=false", "share=true")
    planned = app("-m", *QUIET, *grown, "plan=true")
    assert "6 jobs in studies/pairs: 4 done, 2 missing\n6 = 3 ssr,scheduler x 2 seed\n" in planned.out
    again = app("-m", *QUIET, *grown)
    assert again.code == 0, again.err
    assert overrides_of("5") == ["ssr=2", "scheduler=linear", "seed=1"]

    alone = app(*QUIET[1:], *overrides_of("3"), "hydra.run.dir=alone")  # the overrides of a job reproduce it
    assert alone.code == 0, alone.err
    assert (
        RunResult.load(Path("alone/result.json")).metrics == RunResult.load(Path("studies/pairs/3/result.json")).metrics
    )
