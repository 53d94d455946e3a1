import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from refusals import refused

from ssr_hydra.callbacks import EVENTS, Events
from ssr_hydra.errors import ConflictError, InputError, MissingValueError, RunError, UnknownNameError, WrongTypeError


class Heard:
    """Records the calls of two event methods, in order."""

    def __init__(self, into, name):
        self.into, self.name = into, name

    def batch_end(self, trainer, loss):
        self.into.append(f"{self.name} batch {loss}")

    def close(self):
        self.into.append(f"{self.name} close")


class Logger(Heard):
    def log(self, trainer, record):
        self.into.append(f"{self.name} log {record['batch']}")


class Memory:
    def __init__(self, value=0):
        self.value = value

    def batch_end(self, trainer, loss): ...
    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def raises(error):
    """Return a listener to any event that raises this error."""

    def listener(*args):
        raise error

    return listener


def test_callbacks_are_called_before_loggers_and_in_order():
    calls = []
    events = Events({"a": Heard(calls, "a"), "b": Heard(calls, "b")}, {"l": Logger(calls, "l")})
    events.on("batch_end", lambda trainer, loss: calls.append(f"function {loss}"))
    events.fire("batch_end", None, 7)
    events.fire("log", None, {"batch": 3})
    assert calls == ["a batch 7", "b batch 7", "l batch 7", "function 7", "l log 3"]


class Gives:
    """Adds a value to metrics and records."""

    def __init__(self, value):
        self.value = value

    def eval_end(self, trainer, metrics):
        metrics["eval/own"] = self.value

    def log(self, trainer, record):
        record["own"] = self.value


@pytest.mark.parametrize(
    "value", [3, True, np.float32(0.5), np.int64(3), np.array([2.0]), torch.tensor(0.5), torch.tensor([1])]
)
def test_callback_values_of_any_number_type_become_python_numbers(value):
    events, written = Events([Gives(value)]), []
    metrics = {"eval/loss": 1.0}
    events.fire("eval_end", None, metrics)
    events.record(None, {"batch": 1}, written.append)
    number = float(getattr(value, "item", lambda: value)())
    assert metrics == {"eval/loss": 1.0, "eval/own": number}
    assert type(metrics["eval/own"]) is float
    assert json.loads(json.dumps(written)) == [{"batch": 1, "own": number}]


@pytest.mark.parametrize("value", [torch.ones(2), np.ones(2), object(), {1, 2}, 1j])
def test_error_names_a_callback_that_adds_an_invalid_value(value):
    events = Events([Gives(value)])
    with refused("metrics.eval/own", WrongTypeError, r"must be one number \(got .* from Gives.eval_end\)"):
        events.fire("eval_end", None, {})
    with refused("record.own", WrongTypeError, r"must be a number.* from Gives.log\)"):
        events.record(None, {}, None)


def test_error_names_a_callback_that_removes_a_metric():
    class Clears:
        def eval_end(self, trainer, metrics):
            metrics.clear()

    with refused("metrics.eval/loss", MissingValueError, r"removed by .*Clears\.eval_end\)"):
        Events([Clears()]).fire("eval_end", None, {"eval/loss": 1.0})


def test_lists_and_dicts_of_numbers_in_a_record_become_plain_data():
    record = {}
    Events([Gives({"a": [np.float32(0.5), None, "x"], 1: (torch.tensor(2.0),)})]).record(None, record, None)
    assert record == {"own": {"a": [0.5, None, "x"], "1": [2.0]}}


def test_callbacks_can_add_values_to_a_record_before_it_is_written_and_logged():
    calls = []
    far = SimpleNamespace(log=lambda trainer, record: calls.append(f"logged {record}"))
    Events([Heard([], "other"), Gives(1)], [far]).record(None, {}, lambda record: calls.append(f"written {record}"))
    assert calls == ["written {'own': 1}", "logged {'own': 1}"]


def test_events_that_no_callback_handles_call_nothing():
    events = Events([Heard([], "a")])
    assert [event for event in EVENTS if events.listeners(event)] == ["batch_end", "close"]
    assert Events().listeners("batch_end") == ()
    Events().fire("fit_start", None)


def test_only_rank_0_calls_loggers_and_callbacks_marked_main_only():
    calls = []
    for_main = Heard(calls, "main")
    for_main.main_only = True
    events = Events({"all": Heard(calls, "all"), "main": for_main}, {"l": Logger(calls, "l")}, is_main=False)
    events.fire("batch_end", None, 1)
    events.fire("log", None, {"batch": 1})
    assert calls == ["all batch 1"]


def test_error_of_a_logger_names_the_logger_and_comes_after_the_record_is_written():
    written = []
    for error, reason in (
        (OSError("no\nroute to host"), "OSError: no route to host"),
        (OSError(), "OSError: no message"),
    ):
        events = Events(loggers={"far": SimpleNamespace(log=raises(error))})
        events.on("log", lambda trainer, record: written.append("never"))
        with pytest.raises(RunError) as caught:
            events.record(None, {"batch": 1}, written.append)
        rest = "metrics.jsonl has every record, and the run can be resumed"
        assert str(caught.value) == f"logger far failed at log: {reason}; {rest}"
        assert caught.value.__cause__ is error
    assert written == [{"batch": 1}] * 2


@pytest.mark.parametrize("error", [InputError("run_dir", None, "is needed", "give it"), KeyboardInterrupt()])
def test_input_errors_and_interrupts_in_a_logger_are_raised_unchanged(error):
    events = Events(loggers=[SimpleNamespace(fit_start=raises(error), log=print)])
    with pytest.raises(type(error)) as caught:
        events.fire("fit_start", None)
    assert caught.value is error


@pytest.mark.parametrize("event", ["batch_end", "eval_end", "fit_end", "close"])
def test_end_events_call_every_listener_and_other_events_stop_at_the_first_error(event):
    calls = []
    events = Events([SimpleNamespace(**{event: raises(ValueError("first"))})])
    events.on(event, raises(ValueError("second")))
    events.on(event, lambda *args: calls.append("after"))
    with pytest.raises(ValueError, match="first"):  # an error of a callback is not wrapped
        events.fire(event, *EVENTS[event])
    assert calls == ([] if event == "batch_end" else ["after"])


def test_second_call_of_close_has_no_effect():
    calls = []
    events = Events([Heard(calls, "a")])
    events.close()
    events.close()
    assert calls == ["a close"]


def test_callback_states_are_saved_by_name():
    saved = Events({"first": Memory(1), "second": Memory(2), "none": Heard([], "a")}).state_dict()
    assert saved == {"first": {"value": 1}, "second": {"value": 2}}
    again = {"second": Memory(), "first": Memory(), "new": Memory(9)}
    Events(again).load_state_dict({**saved, "gone": {"value": 5}})
    assert {name: item.value for name, item in again.items()} == {"first": 1, "second": 2, "new": 9}
    # Callbacks in a list are named after their class.
    events = Events([Memory(1), Memory(2)], [Logger([], "l")])
    assert events.state_dict() == {"memory": {"value": 1}, "memory-2": {"value": 2}}


class OneOfTwo:
    def batch_end(self, trainer, loss): ...
    def state_dict(self):
        return {}


@pytest.mark.parametrize(
    ("arguments", "field", "kind"),
    [
        ({"callbacks": [object()]}, "callbacks.object", UnknownNameError),
        ({"callbacks": [Memory]}, "callbacks.type", WrongTypeError),
        ({"callbacks": Memory()}, "callbacks", WrongTypeError),
        ({"callbacks": "ema"}, "callbacks", WrongTypeError),
        ({"callbacks": {3: Memory()}}, "callbacks", WrongTypeError),
        ({"loggers": [Memory()]}, "loggers.memory", WrongTypeError),
        ({"callbacks": [OneOfTwo()]}, "callbacks.oneoftwo", MissingValueError),
        ({"callbacks": {"a": Memory()}, "loggers": {"a": Logger([], "")}}, "loggers.a", ConflictError),
    ],
)
def test_invalid_callbacks_are_refused(arguments, field, kind):
    with refused(field, kind):
        Events(**arguments)


@pytest.mark.parametrize("more", [{}, {"epoch_end": lambda trainer: None}])
def test_error_for_a_method_of_another_library_suggests_the_event(more):
    with refused("callbacks.x", UnknownNameError, r"rename it \(did you mean batch_end\?\), or"):
        Events({"x": SimpleNamespace(on_batch_end=lambda: None, **more)})


def test_helper_methods_and_attributes_are_not_reported_as_misspelt_events():
    class Own:
        batch_ends = 3  # a number, not a method

        def epoch_end(self, trainer): ...
        def _batch_ended(self): ...
        def count(self): ...
        def eval_stats(self): ...  # 0.9 similar to eval_start

        @property
        def epoch_ends(self):
            raise AssertionError("a check must not read a property")

    assert len(Events([Own()]).listeners("epoch_end")) == 1


def test_functions_can_be_added_only_to_existing_events():
    with refused("event", UnknownNameError, "event='on_epoch_end': is unknown; did you mean epoch_end?"):
        Events().on("on_epoch_end", print)
    with refused("function", WrongTypeError):
        Events().on("batch_end", 3)


@pytest.mark.parametrize("function", [lambda: None, lambda trainer: None, lambda trainer, *, loss: None, [].append])
def test_function_that_does_not_accept_the_event_arguments_is_refused_immediately(function):
    events = Events()
    with refused("function", WrongTypeError, r"function=.*is called as batch_end\(trainer, loss\)"):
        events.on("batch_end", function)
    assert events.listeners("batch_end") == ()
    with refused("callbacks.own.batch_end", WrongTypeError) as caught:
        Events({"own": SimpleNamespace(batch_end=function)})
    assert caught.value.fix == "change its arguments to (trainer, loss)"


@pytest.mark.parametrize("function", [lambda a, b: None, lambda *args: None, lambda a, b, c=3: None, max, print])
def test_any_callable_with_matching_arguments_is_accepted(function):
    events = Events()
    events.on("batch_end", function)
    assert events.listeners("batch_end") == (function,)
