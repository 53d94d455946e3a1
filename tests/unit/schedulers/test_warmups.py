"""Warmups that the run never finishes, and schedules with warmup that end before the run: refused by all schedulers."""

import pytest
from cases import each
from refusals import refused
from schedule_helpers import alphas

from ssr_hydra import schedulers as s
from ssr_hydra.errors import RangeError

WARMUPS = {
    "multistep": lambda warmup, **options: s.MultiStepWithWarmupScheduler(warmup, ["1dur"], **options),
    "constant": s.ConstantWithWarmupScheduler,
    "linear": s.LinearWithWarmupScheduler,
    "cosine": s.CosineAnnealingWithWarmupScheduler,
    "polynomial": s.PolynomialWithWarmupScheduler,
    "wsd": lambda warmup, **options: s.WarmupStableDecayScheduler(warmup, "1ba", **options),
    "wsd that goes on": lambda warmup, **options: s.WarmupStableDecayScheduler(warmup, "1ba", "9dur", **options),
    "inverse square root": s.InverseSquareRootWithWarmupScheduler,
    "with a scale": lambda warmup, **options: s.InverseSquareRootWithWarmupScheduler(warmup, "5ba", **options),
    "with a cooldown": lambda warmup, **options: s.InverseSquareRootWithWarmupScheduler(
        warmup, t_cooldown="1ba", **options
    ),
}


@pytest.mark.parametrize("name", WARMUPS)
def test_error_for_a_warmup_longer_than_the_run_shows_the_ssr(name):
    make = WARMUPS[name]
    for warmup in ("20ba", "2ep", "640sp"):
        of_run = {"max_duration": "30ba", "dataloader_len": 10, "samples_per_batch": 32}
        assert alphas(make(warmup), [10], 1, **of_run) == [0.5]
        with refused("t_warmup", RangeError, match=r"\(ends at (20ba|640sp), .* 15ba at ssr 0\.5\)"):
            alphas(make(warmup), [0], 0.5, **of_run)
        assert alphas(make(warmup, scale_warmup=True), [5], 0.5, **of_run) == [0.5]
    with refused("t_warmup", RangeError, match=r"\(ends at 31ba, .* 30ba\)"):  # no ssr causes this error
        alphas(make("31ba"), [0], max_duration="30ba")


LATE, DECAY = s.ConstantWithWarmupScheduler("20ba"), s.LinearScheduler()


@each(
    "scheduler,ssr,max_duration,field,match",
    [
        (s.OneCycleScheduler("20ba", "100ba"), 2, "10ba", "t_up", "ends at 40ba, but the run ends at 20ba at ssr 2"),
        (s.ProductScheduler({"a": LATE}), 0.5, "30ba", "factors.a.t_warmup", "the run ends at 15ba at ssr 0.5"),
        # The phase ends at 10, before its warmup.
        (
            s.SequentialScheduler({"a": s.Phase(LATE, "10ba"), "b": DECAY}), 1, "30ba",
            "phases.a.scheduler.t_warmup", r"\(ends at 20ba, but the phase ends at 10ba\)",
        ),
        # The last phase has 25 batches at ssr 1 and 10 at ssr 0.5, because the first phase keeps its 5 batches.
        (
            s.SequentialScheduler({"a": s.Phase(DECAY, "5ba", scale=False), "b": s.Phase(LATE, scale=False)}),
            0.5, "30ba", "phases.b.scheduler.t_warmup", r"but the phase ends at 10ba at ssr 0\.5\)",
        ),
        # A phase that is longer than the rest of the run.
        (
            s.SequentialScheduler({"a": s.Phase(DECAY, "5ba"), "b": s.Phase(LATE, "40ba")}), 1, "24ba",
            "phases.b.scheduler.t_warmup", r"\(ends at 25ba, but the run ends at 24ba\)",
        ),
    ],
)  # fmt: skip
def test_error_shows_the_end_of_the_phase_or_run(scheduler, ssr, max_duration, field, match):
    with refused(field, RangeError, match=match):
        alphas(scheduler, [0], ssr, max_duration=max_duration)


def test_warmup_is_accepted_if_it_cannot_be_compared_with_the_run():
    assert alphas(s.ConstantWithWarmupScheduler("90s", t_max="90m"), [0], max_duration="1ba") == [0.0]
    assert alphas(s.ConstantWithWarmupScheduler("20ba", t_max="20ba"), [10]) == [0.5]


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "polynomial"])
def test_too_early_t_max_is_refused_in_dur_and_in_batches(name):
    for t_max in ("75ba", "0.75dur"):
        with refused("t_max", RangeError):
            alphas(WARMUPS[name]("5ba", t_max=t_max), [0], 0.5, max_duration="100ba")
    with refused("t_max", RangeError):  # also if the rates of the run are unknown
        alphas(WARMUPS[name]("0ba", t_max="0.75dur"), [0], max_duration="5sec")
    assert alphas(WARMUPS[name]("5ba", t_max="1.25dur"), [1], max_duration="100ba") == [0.2]
