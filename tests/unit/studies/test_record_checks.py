"""The direction of an objective, and impossible records."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import refused
from study_runs import METRIC, record

from ssr_hydra.errors import MissingValueError
from ssr_hydra.studies.record_checks import check_record, direction_of


def test_direction_comes_from_the_option_then_the_config_then_the_name() -> None:
    assert direction_of("eval/loss", "max", {"min"}) == "max"
    assert direction_of("eval/loss", None, {"max"}) == "max"
    assert direction_of("eval/loss", None, set()) == "min"
    for modes in (set(), {"max", "min"}):
        with refused("direction", MissingValueError):
            direction_of("eval/thing", None, modes)


def test_complete_record_is_accepted() -> None:
    check_record(record(), {"ssr": 1.0, "seed": 0, "control": None})
    check_record(record(seed=None, evaluations=[]), {"ssr": 1})
    check_record(record(), {"ssr": "${other}", "seed": "${other}"})  # an interpolation is not compared


@pytest.mark.parametrize(
    "change",
    [
        {"ssr": 0}, {"ssr": 10**400}, {"seed": -1}, {"seed": 2**63}, {"seed": 1.0}, {"steps": 100.0}, {"resumes": -1},
        {"steps": 99},  # fewer than the 100 steps of the last evaluation
        {"train_seconds": None}, {"error": 3}, {"max_duration": 16}, {"control": "shorten"}, {"data": []},
        {"metrics": {METRIC: "0.9"}}, {"metrics": {METRIC: 0.91}}, {"evaluations": {}}, {"evaluations": [[]]},
    ],
)  # fmt: skip
def test_impossible_record_is_refused(change: dict[str, Any]) -> None:
    run_record = record()
    for name, value in change.items():
        setattr(run_record, name, value)
    with pytest.raises(ValueError, match=r"cannot be|must be|in the last evaluation") as caught:
        run_record.check()
        check_record(run_record, {})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("config", [{"ssr": 2.0}, {"seed": 1}, {"control": "truncate"}])
def test_record_that_contradicts_its_config_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="in its config.yaml"):
        check_record(record(), config)


def test_a_failed_run_may_end_between_evaluations() -> None:
    check_record(record(status="failed", steps=120, metrics={}), {})
