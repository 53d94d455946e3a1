"""A preview has the numbers of the schedule."""

import math
from itertools import pairwise

import numpy as np
import pytest
from refusals import refused

import ssr_hydra
from ssr_hydra import MissingRateError, State, Time, Timestamp
from ssr_hydra import schedulers as s


def curve(scheduler, max_duration="100ba", ssr=1, **options):
    (preview_curve,) = ssr_hydra.preview(scheduler, max_duration=max_duration, ssr=ssr, **options).curves
    return preview_curve


def alphas(preview_curve):
    return {mark.label: mark.alpha for mark in preview_curve.landmarks}


@pytest.mark.parametrize("ssr", [0.25, 1.3])
def test_cosine_with_warmup_equals_its_formula(ssr):
    preview_curve = curve(s.CosineAnnealingWithWarmupScheduler("0.1dur"), "20ep", ssr)
    assert str(preview_curve.max_duration) == str(Time("20ep") * ssr)
    got = alphas(preview_curve)
    assert got["start"] == 0.0
    assert got["end of warmup"] == 1.0
    assert got["end"] == 0.0
    for share in (0.25, 0.5, 0.75):
        expected = (1 + math.cos(math.pi * (share - 0.1) / 0.9)) / 2
        assert got[f"{100 * share:g} %"] == pytest.approx(expected, abs=1e-15)
    assert preview_curve.times[0] == 0.0
    assert preview_curve.times[-1] == float(Time("20ep") * ssr)
    assert max(preview_curve.alphas) == 1.0
    assert float(Time("2ep") * ssr) in preview_curve.times


EVERY = [
    s.LinearScheduler(),
    s.StepScheduler("7ba", 0.7),
    s.MultiStepWithWarmupScheduler("9ba", ["30ba", "0.5dur"]),
    s.CosineAnnealingWarmRestartsScheduler("10ba", t_mult=1.5),
    s.PolynomialWithWarmupScheduler("5ba", power=3),
    s.InverseSquareRootWithWarmupScheduler("5ba", t_cooldown="0.2dur"),
    s.OneCycleScheduler(),
    s.ProductScheduler({"a": s.StepScheduler("20ba"), "b": s.RexScheduler()}),
    s.SequentialScheduler(
        {"up": s.Phase(s.LinearScheduler(0, 1), until="10ba"), "down": s.ExponentialScheduler(0.9, "5ba")}
    ),
    lambda state, ssr: 1 / (1 + state.timestamp.batch.value / ssr),
]


@pytest.mark.parametrize("scheduler", EVERY, ids=lambda scheduler: type(scheduler).__name__)
@pytest.mark.parametrize("ssr", [0.5, 1.7])
def test_polygon_passes_through_the_value_of_every_batch(scheduler, ssr):
    preview_curve = curve(scheduler, ssr=ssr)
    times, values = np.array(preview_curve.times), np.array(preview_curve.alphas)
    bound = s.bind(scheduler, State(max_duration=Time("100ba") * ssr), ssr)
    assert (np.diff(times) >= 0).all()
    for k in range(math.ceil(100 * ssr)):
        expected = bound(Timestamp(batch=k))
        if k in times:
            assert values[times == k][-1] == expected
        else:
            assert np.interp(k, times, values) == pytest.approx(expected, abs=max(values) / 2000)


def jumps(preview_curve):
    """Return the times at which the polygon has a vertical line."""
    vertices = pairwise(zip(preview_curve.times, preview_curve.alphas, strict=True))
    return [x for (x, a), (y, b) in vertices if x == y and a != pytest.approx(b)]


def test_jumps_at_landmarks_are_exact():
    assert jumps(curve(s.StepScheduler("3ba"), "10ba", 0.5)) == [1.5, 3, 4.5]
    assert jumps(curve(s.MultiStepScheduler(["1/3dur"]), "1ep")) == [1 / 3]
    assert jumps(curve(s.StepScheduler("1000sp"), samples_per_batch=32)) == [31.25, 62.5, 93.75]
    restarts = curve(s.CosineAnnealingWarmRestartsScheduler("0.25dur", alpha_f=0.1), "8ep")
    assert jumps(restarts) == [2, 4, 6]
    place = restarts.times.index(2.0)
    assert restarts.alphas[place : place + 2] == (0.1, 1.0)
    assert restarts.alphas[-1] == 0.1  # no batch uses the restart at the end
    assert jumps(curve(s.ConstantScheduler(0.5))) == []


def test_custom_function_is_drawn_with_the_counters_of_a_run():
    def every_third_epoch(state):
        return 0.5 ** (state.timestamp.epoch.value // 3)

    preview_curve = curve(every_third_epoch, "70ba", dataloader_len=7)
    for x, alpha in zip(preview_curve.times[:-1], preview_curve.alphas[:-1], strict=True):
        assert alpha == 0.5 ** (x // 21)
    assert preview_curve.name == "every_third_epoch"
    assert alphas(preview_curve)["end"] == 0.125


def test_dataloader_len_is_not_needed_if_all_times_are_epochs_or_fractions():
    scheduler = s.SequentialScheduler({"a": s.Phase(s.StepScheduler("2ep"), until="0.5dur"), "b": s.RexScheduler()})
    free, counted = curve(scheduler, "10ep", 0.7), curve(scheduler, "10ep", 0.7, dataloader_len=13)
    assert free == counted
    with refused("t_max", MissingRateError):
        curve(s.CosineAnnealingWithWarmupScheduler("100ba"), "10ep")
    with refused("dataloader_len", MissingRateError):
        curve(lambda state: 1.0, "10ep")
    preview_curve = curve(s.CosineAnnealingWithWarmupScheduler("100ba"), "10ep", dataloader_len=50)
    assert preview_curve.landmarks[1][:2] == ("end of warmup", Time("2ep"))


def test_times_are_converted_to_the_unit_of_the_run():
    with refused("step_size", MissingRateError):
        curve(s.StepScheduler("1000sp"))
    preview_curve = curve(s.LinearWithWarmupScheduler("1m"), "1h30m", 0.5)
    assert preview_curve.landmarks[1][:2] == ("end of warmup", Time("60sec"))
    assert preview_curve.landmarks[-1].time == Time("45m")
