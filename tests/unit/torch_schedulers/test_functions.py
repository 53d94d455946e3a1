"""Users' functions under SSR: called with fractions if they accept them, otherwise refused in one line."""

import pytest
from cases import each
from refusals import refused

from ssr_hydra.errors import RangeError, UnsupportedError
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp
from ssr_hydra.torch_schedulers import CyclicLR, LambdaLR, MultiplicativeLR

TABLE = [1.0, 0.5, 0.25, 0.125, 0.0625, 0.0]


def asked_at(ssr, batches, scheduler=LambdaLR):
    """Return the steps at which a run calls a function, with their types."""
    steps = []

    def note(step):
        steps.append(step)
        return 1.0

    course = scheduler(note, pace="batch").bind(State("60ba"), ssr)
    steps.clear()  # one test call when the function is bound
    for batch in range(batches):
        course.rates(Timestamp(batch=batch), [1.0])
    return steps


def test_function_gets_an_int_at_whole_steps_and_a_float_between_them():
    for ssr, expected in ((1, [0, 1, 2, 3]), (0.5, [0, 2, 4, 6]), (2, [0, 0.5, 1, 1.5]), (0.4, [0, 2.5, 5, 7.5])):
        steps = asked_at(ssr, 4)
        assert steps == expected
        assert [type(step) for step in steps] == [int if step == int(step) else float for step in expected]


def test_multiplicative_lr_calls_its_function_once_per_whole_step():
    assert asked_at(0.4, 4, MultiplicativeLR) == [1, 2, 3, 4, 5, 6, 7]
    course = MultiplicativeLR(lambda step: TABLE[step], pace="batch").bind(State("60ba"), 2)
    # The k-th factor comes at 2k: 0.5, then 0.5 * 0.25.
    assert [course.rates(Timestamp(batch=k), [8.0])[0] for k in range(5)] == [8.0, 8.0, 4.0, 4.0, 1.0]
    assert course.rates(Timestamp(batch=1), [8.0]) == [8.0]  # the clock may go back, because this is a function of time


def test_function_for_ints_is_accepted_only_if_all_steps_are_whole():
    scheduler = LambdaLR(lambda step: TABLE[step], pace="batch")
    course = scheduler.bind(State("60ba"), 0.5)
    assert [course.rates(Timestamp(batch=k), [1.0])[0] for k in range(3)] == [1.0, 0.25, 0.0625]
    with pytest.raises(IndexError):  # an error of the function at a whole step is unchanged
        course.rates(Timestamp(batch=9), [1.0])
    with refused("lr_lambda", UnsupportedError, match=r"\(0.5\).*write lambda step: f\(int\(step\)\)"):
        scheduler.bind(State("60ba"), 2)
    wrapped = LambdaLR(lambda step: TABLE[int(step)], pace="batch").bind(State("60ba"), 2)
    assert [wrapped.rates(Timestamp(batch=k), [1.0])[0] for k in range(5)] == [1.0, 1.0, 0.5, 0.5, 0.25]


@each("value", [float("nan"), float("inf"), None, "half"])
def test_function_must_return_finite_numbers(value):
    course = LambdaLR(lambda step: value, pace="batch").bind(State("60ba"))
    with refused("lr_lambda", RangeError, match="at step 3"):
        course.rates(Timestamp(batch=3), [1.0])


def test_scale_fn_gets_cycles_or_steps():
    steps = []

    def note(step):
        steps.append(step)
        return 1.0

    for mode in ("cycle", "iterations"):
        course = CyclicLR(0.1, 1.0, 2, scale_fn=note, scale_mode=mode, cycle_momentum=False).bind(State("9ba"), 2)
        for batch in (0, 7, 8):
            course.rates(Timestamp(batch=batch), [1.0])
    assert steps == [1, 1, 2, 0, 3.5, 4]
