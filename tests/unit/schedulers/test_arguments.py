"""Bad input to every argument of every scheduler: one error type that names the argument, raised at construction."""

from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from refusals import refused
from schedule_helpers import EXAMPLES, ForeignTime

from ssr_hydra import schedulers as s
from ssr_hydra.errors import RangeError
from ssr_hydra.time import Time

NAN, INF = float("nan"), float("inf")
DURATION = [
    "10", "", " ", "5 epochs", "-1ep", "nandur", "infdur", "1e400ba", "nanep", "1_000ba", "١٠ba", "10ba\n", 10, 0.5,
    None, True, [], Time(-1, "ba"), "1parsec",
]  # fmt: skip
WORD = ["exp", "", None, ["linear"], 1, np.array(["linear", "cosine"])]
LENGTH = [*DURATION, "0ba", "0dur", "0sec", Time(0, "ep")]
MULTIPLIER = [-0.5, -1, NAN, INF, -INF, None, True, "0.1", "x", [], 1j, 10**400, np.array([1.0, 2.0]), np.bool_(True)]
BAD = {
    "t_warmup": DURATION, "t_cooldown": DURATION,
    **dict.fromkeys(("t_max", "t_0", "step_size", "decay_period", "t_decay", "t_up"), LENGTH),
    "t_scale": [bad for bad in LENGTH if bad is not None],
    **dict.fromkeys(("gamma", "alpha", "alpha_i", "alpha_f"), MULTIPLIER),
    "power": [*MULTIPLIER, 0, 0.0],
    "t_mult": [*MULTIPLIER, 0, 0.999],
    "milestones": ["5ep", b"5ep", None, 5, Time("5ep"), {"5ep"}],
    "points": [[], "5ep", None, 5],
    "scale_warmup": [None, 0, 1, "true", "false", []],
    **dict.fromkeys(("anneal", "decay"), WORD),
    "factors": [{}, None, [s.LinearScheduler()]], "phases": [{}, None, [s.LinearScheduler()]],
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_argument_refuses_invalid_values_at_construction(name):
    for field in fields(EXAMPLES[name]):
        for value in BAD[field.name]:
            print(f"{field.name}={value!r}")  # the last line is the one that failed
            with refused(field.name) as caught:
                replace(EXAMPLES[name], **{field.name: value})
            assert caught.value.rule
            assert caught.value.fix


@pytest.mark.parametrize("bad", DURATION[:16])
def test_error_for_an_invalid_time_in_a_list_shows_its_index(bad):
    with refused("milestones[1]"):
        s.MultiStepScheduler(["1ba", bad])


@pytest.mark.parametrize(
    "value", [0.5, np.float64(0.5), np.float32(0.5), np.array(0.5), Fraction(1, 2), Decimal("0.5")]
)
def test_numbers_of_every_kind_are_kept_as_floats(value):
    scheduler = s.ExponentialScheduler(value, "2ba")
    assert scheduler.gamma == 0.5
    assert type(scheduler.gamma) is float
    assert type(s.PolynomialScheduler(np.int64(2)).power) is float


@pytest.mark.parametrize("value", ["9007199254740993tok", "25h", "90m", "1.5dur", Time("3ep"), ForeignTime(3, "ep")])
def test_unusual_valid_durations_are_accepted(value):
    stored = s.ConstantScheduler(0.5, value).t_max
    assert isinstance(stored, Time)
    assert stored == (Time(3, "ep") if isinstance(value, ForeignTime) else value)


def test_lowest_value_of_a_range_is_valid():
    assert s.ConstantScheduler(0).alpha == 0.0
    assert s.PolynomialScheduler(5e-324).power == 5e-324
    assert s.CosineAnnealingWarmRestartsScheduler("1ba", 1).t_mult == 1.0


def test_error_of_t_mult_suggests_a_valid_value():
    with refused("t_mult", RangeError, match="at least 1; write e.g. 1 or 2"):
        s.CosineAnnealingWarmRestartsScheduler("1ba", 0.5)
