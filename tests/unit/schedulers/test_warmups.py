"""Warmups that the run never finishes, and schedules with warmup that end before the run: refused by all schedulers."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import refused
from schedule_helpers import alphas

from ssr_hydra.errors import RangeError
from ssr_hydra.schedulers import (
    ConstantWithWarmupScheduler,
    CosineAnnealingWithWarmupScheduler,
    InverseSquareRootWithWarmupScheduler,
    LinearScheduler,
    LinearWithWarmupScheduler,
    MultiStepWithWarmupScheduler,
    OneCycleScheduler,
    Phase,
    PolynomialWithWarmupScheduler,
    ProductScheduler,
    SequentialScheduler,
    WarmupStableDecayScheduler,
)

WARMUPS: dict[str, Any] = {
    "multistep": lambda warmup, **options: MultiStepWithWarmupScheduler(warmup, ["1dur"], **options),
    "constant": ConstantWithWarmupScheduler,
    "linear": LinearWithWarmupScheduler,
    "cosine": CosineAnnealingWithWarmupScheduler,
    "polynomial": PolynomialWithWarmupScheduler,
    "wsd": lambda warmup, **options: WarmupStableDecayScheduler(warmup, "1ba", **options),
    "wsd that goes on": lambda warmup, **options: WarmupStableDecayScheduler(warmup, "1ba", "9dur", **options),
    "inverse square root": InverseSquareRootWithWarmupScheduler,
    "with a scale": lambda warmup, **options: InverseSquareRootWithWarmupScheduler(warmup, "5ba", **options),
    "with a cooldown": lambda warmup, **options: InverseSquareRootWithWarmupScheduler(
        warmup, t_cooldown="1ba", **options
    ),
}


@pytest.mark.parametrize("name", WARMUPS)
def test_error_for_a_warmup_longer_than_the_run_shows_the_ssr(name: str) -> None:
    make = WARMUPS[name]
    for warmup in ("20ba", "2ep", "640sp"):
        of_run: dict[str, Any] = {"max_duration": "30ba", "dataloader_len": 10, "samples_per_batch": 32}
        assert alphas(make(warmup), [10], 1, **of_run) == [0.5]
        with refused("t_warmup", RangeError, match=r"\(ends at (20ba|640sp), .* 15ba at ssr 0\.5\)"):
            alphas(make(warmup), [0], 0.5, **of_run)
        assert alphas(make(warmup, scale_warmup=True), [5], 0.5, **of_run) == [0.5]
    with refused("t_warmup", RangeError, match=r"\(ends at 31ba, .* 30ba\)"):  # no ssr causes this error
        alphas(make("31ba"), [0], max_duration="30ba")


def test_one_cycle_with_an_increase_longer_than_the_run_is_refused() -> None:
    with refused("t_up", RangeError, match=r"\(ends at 40ba, but the run ends at 20ba at ssr 2\)"):
        alphas(OneCycleScheduler("20ba", "100ba"), [0], 2, max_duration="10ba")


def test_combinators_refuse_a_warmup_longer_than_the_phase_or_the_run() -> None:
    warmup = ConstantWithWarmupScheduler("20ba")
    with refused("factors.a.t_warmup", RangeError, match="the run ends at 15ba at ssr 0.5"):
        alphas(ProductScheduler({"a": warmup}), [0], 0.5, max_duration="30ba")
    # The phase ends at 10, before its warmup.
    with refused("phases.a.scheduler.t_warmup", RangeError, match=r"\(ends at 20ba, but the phase ends at 10ba\)"):
        alphas(SequentialScheduler({"a": Phase(warmup, "10ba"), "b": LinearScheduler()}), [0], max_duration="30ba")
    # The last phase has 25 batches at ssr 1 and 10 at ssr 0.5, because the first phase keeps its 5 batches.
    last = {"a": Phase(LinearScheduler(), "5ba", scale=False), "b": Phase(warmup, scale=False)}
    assert alphas(SequentialScheduler(last), [15], max_duration="30ba") == [0.5]
    with refused("phases.b.scheduler.t_warmup", RangeError, match=r"but the phase ends at 10ba at ssr 0\.5\)"):
        alphas(SequentialScheduler(last), [0], 0.5, max_duration="30ba")
    # A phase that is longer than the rest of the run.
    long = {"a": Phase(LinearScheduler(), "5ba"), "b": Phase(warmup, "40ba")}
    with refused("phases.b.scheduler.t_warmup", RangeError, match=r"\(ends at 25ba, but the run ends at 24ba\)"):
        alphas(SequentialScheduler(long), [0], max_duration="24ba")


def test_warmup_is_accepted_if_it_cannot_be_compared_with_the_run() -> None:
    assert alphas(ConstantWithWarmupScheduler("90s", t_max="90m"), [0], max_duration="1ba") == [0.0]
    assert alphas(ConstantWithWarmupScheduler("20ba", t_max="20ba"), [10]) == [0.5]


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "polynomial"])
def test_too_early_t_max_is_refused_in_dur_and_in_batches(name: str) -> None:
    for t_max in ("75ba", "0.75dur"):
        for ssr in (0.5, 1, 2):
            with refused("t_max", RangeError):
                alphas(WARMUPS[name]("5ba", t_max=t_max), [0], ssr, max_duration="100ba")
    with refused("t_max", RangeError):  # also if the rates of the run are unknown
        alphas(WARMUPS[name]("0ba", t_max="0.75dur"), [0], max_duration="5sec")
    assert alphas(WARMUPS[name]("5ba", t_max="1.25dur"), [1], max_duration="100ba") == [0.2]
