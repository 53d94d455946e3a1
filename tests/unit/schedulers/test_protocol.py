"""What counts as a scheduler (this package's, other libraries', functions), and properties of scheduler objects."""

import copy
import functools
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from fractions import Fraction

import pytest
from cases import each
from refusals import refused
from schedule_helpers import EXAMPLES, ForeignState, ForeignTimestamp, alphas, run

import ssr_hydra
from ssr_hydra import convert_time
from ssr_hydra import schedulers as s
from ssr_hydra.errors import FormatError, InputError, MissingRateError, RangeError, UnsupportedError, WrongTypeError
from ssr_hydra.schedulers import bind
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp

every_scheduler = pytest.mark.parametrize("scheduler", EXAMPLES.values(), ids=EXAMPLES)


@each("state", [State("10ba", timestamp="5ba"), "10ba", None])
def test_state_without_a_timestamp_is_refused(state):
    with refused("state.timestamp", WrongTypeError):
        s.LinearScheduler()(state)


def test_test_cases_have_an_example_of_every_class():
    classes = {name for name in s.__all__ if type(getattr(s, name)) is type(s.Scheduler)}
    assert {n for n in classes if issubclass(getattr(s, n), s.Scheduler)} - {"Scheduler"} == set(EXAMPLES)


# As objects


@every_scheduler
def test_calling_a_scheduler_and_calling_its_curve_return_equal_values(scheduler):
    assert isinstance(scheduler, s.ComposerScheduler)
    for batch in range(14):
        state = run(batch, 0.7, max_duration="12ba")
        assert scheduler(state, 0.7) == bind(scheduler, state, 0.7)(state.timestamp)


@every_scheduler
def test_schedulers_are_hashable_values(scheduler):
    for other in (copy.copy(scheduler), copy.deepcopy(scheduler), pickle.loads(pickle.dumps(scheduler))):
        assert (other, repr(other)) == (scheduler, repr(scheduler))
    assert eval(repr(scheduler), {**vars(s), "Time": Time}) == scheduler
    for field in fields(scheduler):
        with pytest.raises(FrozenInstanceError):
            setattr(scheduler, field.name, None)


@every_scheduler
def test_every_argument_of_a_scheduler_has_an_effect(scheduler):
    # Every argument of every example differs from its default, so resetting one must change the values.
    stretched = functools.partial(alphas, ssr=0.8, max_duration="12ba", dataloader_len=5)
    before = stretched(scheduler, [Fraction(k, 2) for k in range(30)])
    for field in fields(scheduler):
        if isinstance(field.default, (int, float, str)):
            default = "18ba" if field.default in ("1dur", "0ba") else field.default
            if field.default != "0ba":
                changed = replace(scheduler, **{field.name: default})
            else:  # these arguments need a cooldown
                changed = replace(scheduler, t_cooldown="0ba", t_max="1dur", alpha_f=0.0)
            if type(scheduler).__name__ == "ConstantWithWarmupScheduler" and field.name == "t_max":
                continue  # this argument affects only a check, not the multiplier
            assert stretched(changed, [Fraction(k, 2) for k in range(30)]) != before, field.name


def test_schedulers_are_equal_if_their_times_are_equal():
    assert s.LinearScheduler(t_max="1m") == s.LinearScheduler(t_max=Time("60s")) != s.LinearScheduler(t_max="60ba")
    assert s.MultiStepScheduler(["1ba"]) == s.MultiStepScheduler((Time("1ba"),))
    assert len({s.LinearScheduler(t_max="1m"), s.LinearScheduler(t_max="60s")}) == 1


def test_bind_reads_the_state_of_the_run_only_once():
    state = run(max_duration="10ba")
    curve = bind(s.LinearScheduler(), state)
    state.max_duration = "100ba"
    assert curve(Timestamp(batch=5)) == 0.5


def test_custom_scheduler_class_needs_only_a_curve():
    class Half(s.Scheduler):
        def curve(self, run):
            return lambda timestamp: 0.5

    assert alphas(s.ProductScheduler({"a": Half(), "b": s.LinearScheduler()}), [5], 0.5, max_duration="20ba") == [0.25]
    with pytest.raises(TypeError, match="abstract"):
        s.Scheduler()


# In another library's trainer


@every_scheduler
def test_only_documented_attributes_of_a_composer_state_are_read(scheduler):
    # ForeignState has only timestamp, max_duration, dataloader_len and the optional rates. ForeignTimestamp has only
    # get(unit). Any other attribute is an error.
    for batch in (0, 1, 5, 11, 13):
        foreign = ForeignState("12ba", ForeignTimestamp(batch, 4, 32, 1024), 4)
        assert scheduler(foreign) == scheduler(run(batch, max_duration="12ba", dataloader_len=4))


@pytest.mark.parametrize("max_duration", ["3ep", "12288tok", "6sec"])
def test_state_of_another_library_may_have_any_unit(max_duration):
    for batch in range(13):
        foreign = ForeignState(max_duration, ForeignTimestamp(batch, 4, 32, 1024), 4)
        assert s.LinearScheduler()(foreign) == pytest.approx(1 - batch / 12, abs=1e-15)


@pytest.mark.parametrize(
    ("max_duration", "dataloader_len", "field"),
    [("0ep", 4, "max_duration"), ("1dur", 4, "max_duration"), ("3ep", 0, "dataloader_len"), ("3ep", None, "t_max")],
)
def test_state_of_another_library_is_checked(max_duration, dataloader_len, field):
    with refused(field, MissingRateError if field == "t_max" else InputError):
        s.LinearScheduler()(ForeignState(max_duration, ForeignTimestamp(0, 4, 32, 1024), dataloader_len))


def test_function_gets_the_state_of_the_other_library():
    foreign = ForeignState("12ba", ForeignTimestamp(3, 4, 32, 1024), 4)
    factors = {"mine": lambda state: 0.5 if state is foreign else 0.0, "decay": s.LinearScheduler()}
    assert s.ProductScheduler(factors)(foreign) == 0.375


# Functions


def ten_epoch_decay_scheduler(state):
    if state.timestamp.epoch < 10:
        return 1.0
    return 0.5


class VariableEpochDecayScheduler(s.ComposerScheduler):
    def __init__(self, num_epochs):
        self.num_epochs = num_epochs

    def __call__(self, state):
        if state.time.epoch < self.num_epochs:
            return 1.0
        return 0.5


@pytest.mark.parametrize(
    "scheduler",
    [
        ten_epoch_decay_scheduler, VariableEpochDecayScheduler(num_epochs=10),
        lambda state: 1.0 if state.timer.get("ep").value < 10 else 0.5,
        lambda state, /: 1.0 if state.timestamp.epoch < 10 else 0.5,
        lambda state, epochs=10: 1.0 if state.time.epoch < epochs else 0.5,
    ],
)  # fmt: skip
def test_any_callable_that_takes_the_state_can_be_a_scheduler(scheduler):
    of_run = {"max_duration": "20ep", "dataloader_len": 3}
    assert alphas(scheduler, (0, 29, 30, 59), **of_run) == [1.0, 1.0, 0.5, 0.5]
    # Test it in a product, and in a phase that begins at epoch 5 and counts epochs from there.
    product = s.ProductScheduler({"a": scheduler, "b": scheduler})
    assert alphas(product, (29, 30), **of_run) == [1.0, 0.25]
    phases = s.SequentialScheduler({"a": s.Phase(s.LinearScheduler(), "5ep"), "b": scheduler})
    assert alphas(phases, (15, 44, 45), **of_run) == [1.0, 1.0, 0.5]
    # It cannot be stretched, and the error says so.
    for whole in (scheduler, product, phases):
        with pytest.raises(UnsupportedError):
            alphas(whole, [0], 0.5, **of_run)


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda state, ssr: float(state.timestamp.batch) / 100 * ssr,
        lambda state, *, ssr=1.0: float(state.timestamp.batch) / 100 * ssr,
        lambda state, sigma, /: float(state.timestamp.batch) / 100 * sigma,
        lambda state, scale=1, ssr=1.0: float(state.timestamp.batch) / 100 * ssr,
        lambda *arguments: float(arguments[0].timestamp.batch) / 100 * arguments[1],
        functools.partial(lambda gain, state, ssr: float(state.timestamp.batch) / gain * ssr, 100),
    ],
)
def test_function_with_an_argument_ssr_gets_ssr(scheduler):
    assert alphas(s.ProductScheduler({"a": scheduler}), (0, 10), 0.5, max_duration="100ba") == [0.0, 0.05]
    for scale, expected in ((True, 0.025), (False, 0.05)):  # an unscaled phase has the ssr 1
        sequence = s.SequentialScheduler({"a": s.Phase(scheduler, "20ba", scale=scale), "b": s.LinearScheduler()})
        assert alphas(sequence, [5], 0.5, max_duration="100ba") == [expected]


@pytest.mark.parametrize("thing", [None, s.LinearScheduler, lambda: 1.0])
def test_invalid_schedulers_are_refused(thing):
    with refused("scheduler", WrongTypeError):
        bind(thing, run(max_duration="4ba"))


def returns(state, value):
    if isinstance(value, Exception):
        raise value
    return value


class Own:
    def __init__(self, value=-1.0):
        self.value = value

    def __call__(self, state):
        return returns(state, self.value)


def test_error_of_a_function_gets_a_note_that_names_the_function():
    error = KeyError("mine")
    for function, name in ((functools.partial(returns, value=error), "returns"), (Own(error), "Own")):
        error.__dict__.clear()
        with pytest.raises(KeyError, match="mine") as caught:
            alphas(s.ProductScheduler({"a": function}), [0], max_duration="4ba")
        assert caught.value.__notes__ == [f"raised by the scheduler {name}"]


def _invalid():
    yield functools.partial(lambda state, x: x, x=-1.0), "the lambda at test_protocol.py, line "
    yield Own().__call__, "Own.__call__"
    for value in (None, "x", float("nan"), -0.1):
        yield functools.partial(returns, value=value), "returns"
        yield Own(value), "Own"


@each("function,name", _invalid())
def test_error_for_an_invalid_multiplier_names_the_function(function, name):
    with pytest.raises(RangeError, match=rf"^{name}.*=.*: "):
        alphas(function, [0], max_duration="4ba")


# Times as schedules read them


@pytest.mark.parametrize(
    ("time", "ssr", "of_run", "expected"),
    [
        ("0.29dur", 1, {"max_duration": "100ba"}, "29ba"),
        ("0.5dur", 0.5, {"max_duration": "5ep", "dataloader_len": 10}, "12.5ba"),  # never scaled twice
        ("3ep", "1/2", {"max_duration": "5ep", "dataloader_len": 10}, "15ba"),
        ("9007199254740993tok", 1, {}, "9007199254740993tok"),
        ("7sp", 1.3, {}, "9.1sp"),
        ("0.5dur", Fraction(3), {"max_duration": "1h"}, "1h30m"),
        ("2iter", 2, {}, "4iter"),
    ],
)
def test_function_convert_time_is_exact(time, ssr, of_run, expected):
    assert ssr_hydra._convert_time is s._convert_time is convert_time  # Composer's name
    state = run(0, ssr, **of_run)
    assert convert_time(time, state, ssr) == convert_time(Time(time), state, ssr) == Time(expected)


@each(
    "time,state,ssr,field,kind,match",
    [
        ("1ep", State("100ba"), 1, "time", MissingRateError, "dataloader_len"),
        ("0.5dur", State(), 1, "time", MissingRateError, "max_duration"),
        *((time, State("100ba"), 1, "time", FormatError, None) for time in ("10", 10, None)),
        *(("1ba", State("100ba"), ssr, "ssr", RangeError, None) for ssr in (0, float("nan"), 1e9, "half", None)),
    ],
)
def test_error_of_convert_time_names_the_argument(time, state, ssr, field, kind, match):
    with refused(field, kind, match=match):
        convert_time(time, state, ssr)
