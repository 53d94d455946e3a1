"""Names and exact times of the landmarks of every scheduler."""

import pytest

import ssr_hydra
from ssr_hydra import schedulers as s


def landmarks(scheduler, max_duration="100ba", ssr=1, **rates):
    (curve,) = ssr_hydra.preview(scheduler, max_duration=max_duration, ssr=ssr, **rates).curves
    shares = ("start", "25 %", "50 %", "75 %", "end")
    marks = [(label, str(mark.time)) for mark in curve.landmarks for label in mark.label.split(", ")]
    return {label: time for label, time in marks if label not in shares}


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (s.LinearScheduler(), {}),
        (s.RexScheduler(t_max="30ba"), {"t_max": "30ba"}),
        (s.ConstantScheduler(0.5, t_max="1/3dur"), {"t_max": "100/3ba"}),
        (s.StepScheduler("30ba"), {"step 1": "30ba", "step 2": "60ba", "step 3": "90ba"}),
        (s.StepScheduler("50ba"), {"step 1": "50ba"}),
        (s.MultiStepScheduler(["0.8dur", "5ba"]), {"milestone 1": "5ba", "milestone 2": "80ba"}),
        (s.MultiStepWithWarmupScheduler("10ba", ["5ba", "20ba"]),
         {"end of warmup": "10ba", "milestone 1": "10ba", "milestone 2": "20ba"}),
        (s.ConstantWithWarmupScheduler("10ba"), {"end of warmup": "10ba"}),
        (s.CosineAnnealingWarmRestartsScheduler("10ba", t_mult=1.5),
         {"restart 1": "10ba", "restart 2": "25ba", "restart 3": "47.5ba", "restart 4": "81.25ba"}),
        (s.OneCycleScheduler(), {"peak": "30ba"}),
        (s.WarmupStableDecayScheduler("5ba"), {"end of warmup": "5ba", "start of decay": "90ba"}),
        (s.InverseSquareRootWithWarmupScheduler("5ba", t_cooldown="0.2dur"),
         {"end of warmup": "5ba", "start of cooldown": "80ba"}),
        (s.PiecewiseLinearScheduler([("0ba", 0), ("7ba", 1), ("1dur", 0)]), {"point 2": "7ba"}),
        (s.ProductScheduler({"a": s.StepScheduler("60ba"), "b": s.LinearWithWarmupScheduler("10ba")}),
         {"b: end of warmup": "10ba", "a: step 1": "60ba"}),
    ],
)  # fmt: skip
def test_marked_points_of_a_schedule_have_their_times(scheduler, expected):
    assert landmarks(scheduler) == expected


def test_steps_of_a_nested_phase_are_counted_from_the_start_of_the_phase():
    inner = s.SequentialScheduler({"x": {"scheduler": s.ConstantScheduler(), "until": "0.5dur"}, "y": s.RexScheduler()})
    scheduler = s.SequentialScheduler(
        {
            "ramp": {"scheduler": s.LinearScheduler(0.0, 1.0), "until": "10ba", "scale": False},
            "steps": {"scheduler": s.StepScheduler("20ba"), "until": "60ba"},
            "last": inner,
        }
    )
    # The ramp keeps its 10 batches; what follows is stretched by two.
    assert landmarks(scheduler, ssr=2) == {
        "steps: start": "10ba",
        "steps: step 1": "50ba",
        "steps: step 2": "90ba",
        "last: start": "120ba",
        "last: y: start": "160ba",
    }


def test_times_in_several_units_are_converted_to_the_unit_of_the_run():
    scheduler = s.WarmupStableDecayScheduler("160sp", t_decay="1ep")
    times = landmarks(scheduler, "1000tok", dataloader_len=5, samples_per_batch=32, tokens_per_batch=20)
    assert times == {"end of warmup": "100tok", "start of decay": "900tok"}


def test_only_the_first_1000_steps_of_a_schedule_are_marked():
    assert len(landmarks(s.StepScheduler("1ba", 0.999), "5000ba")) == 1000
