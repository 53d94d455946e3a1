"""Learning rates computed from the schedule in a run's config."""

import json
import math

import numpy as np
import pytest
import yaml
from report_study import write_run

from ssr_hydra.report.drawn_curves import rates
from ssr_hydra.studies import load

COSINE = {"_target_": "ssr_hydra.schedulers.CosineAnnealingWithWarmupScheduler", "t_warmup": "0.05dur"}


def curve_of(folder, scheduler, *, log=False, **changes):
    """Return the rates of a run of 1,200 steps at SSR 1, in 16 epochs of 75 batches, at a learning rate of 0.1."""
    write_run(folder, rates=log, **changes)
    path = folder / ".hydra/config.yaml"
    config = yaml.safe_load(path.read_text()) | {"scheduler": scheduler, "optimizer": {"lr": 0.1}}
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    record = json.loads((folder / "result.json").read_text())
    record["data"]["batches"] = 75
    (folder / "result.json").write_text(json.dumps(record))
    return rates(load(folder), ["steps", "samples", "seconds"]).drawn


def at(curve, step):
    return float(np.interp(step, curve.places["steps"], curve.values))


def test_learning_rate_equals_the_schedule_with_its_warmup(tmp_path):
    (curve,) = curve_of(tmp_path / "0", COSINE, ssr=0.5)
    # At SSR 0.5 there are 600 steps, 30 of them warmup; the cosine is at its half in the middle of the rest.
    assert [at(curve, step) for step in (0, 15, 30, 315, 600)] == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=5e-5)
    quarter = 0.05 * (1 + math.cos(math.pi / 4))
    assert at(curve, 30 + 570 / 4) == pytest.approx(quarter, abs=1e-4)
    assert not curve.dots
    assert len(curve.values) < 60
    # 16 samples and 5 ms a step.
    assert (curve.places["samples"][-1], curve.places["seconds"][-1]) == (9600, pytest.approx(3.0))


def test_truncated_run_has_the_rate_of_the_full_schedule_up_to_its_end(tmp_path):
    (curve,) = curve_of(tmp_path / "0", COSINE, ssr=0.5, control="truncate")
    assert curve.places["steps"][-1] == 600
    assert at(curve, 60) == pytest.approx(0.1)
    # The last batch starts after 599 steps.
    assert curve.values[-1] == pytest.approx(0.05 * (1 + math.cos(math.pi * 539 / 1140)), abs=1e-4)


def test_several_schedulers_multiply_the_learning_rate(tmp_path):
    step = {"_target_": "ssr_hydra.schedulers.StepScheduler", "step_size": "0.5dur", "gamma": 0.1}
    product = {"_target_": "ssr_hydra.schedulers.ProductScheduler", "factors": {"a": COSINE, "b": step}}
    for place, scheduler in enumerate(([COSINE, step], product)):
        (curve,) = curve_of(tmp_path / f"{place}", scheduler)
        assert at(curve, 599) == pytest.approx(0.05 * (1 + math.cos(math.pi * 539 / 1140)), abs=1e-4)
        assert at(curve, 601) == pytest.approx(0.005 * (1 + math.cos(math.pi * 541 / 1140)), abs=1e-4)


@pytest.mark.parametrize(
    "scheduler",
    [
        {"_target_": "os.system", "command": "false"},
        {"_target_": "ssr_hydra.schedulers.ProductScheduler", "factors": {"a": {"_target_": "os.system"}}},
        {"_target_": "ssr_hydra.schedulers.StepScheduler", "step": "1ep"},
        {"_target_": "ssr_hydra.schedulers.StepScheduler", "step_size": "${max_duration}"},
        {"heads": COSINE, "body": COSINE},
        COSINE | {"t_warmup": "100sp", "t_max": "1tok"},
        None,
    ],
)
def test_logged_rates_of_an_unknown_schedule_are_drawn_as_dots(tmp_path, scheduler):
    (curve,) = curve_of(tmp_path / "0", scheduler, log=True)
    assert curve.dots
    assert len(curve.values) == 61


@pytest.mark.parametrize(("lag", "dots"), [(1, False), (0, True)])
def test_logged_rates_that_contradict_the_config_are_drawn_as_dots(tmp_path, lag, dots):
    folder = tmp_path / "0"
    curve_of(folder, COSINE)
    lines = []
    for step in range(10, 1201, 10):
        batch = step - lag  # a run logs the rate of batch n - 1 at step n
        alpha = batch / 60 if batch < 60 else (1 + math.cos(math.pi * (batch - 60) / 1140)) / 2
        clocks = {"batch": step, "sample": 16 * step, "token": 0, "train_seconds": step * 5e-3}
        lines.append(json.dumps({"event": "train", **clocks, "lr": 0.1 * alpha}))
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    (curve,) = rates(load(folder), ["steps"]).drawn
    assert curve.dots == dots
