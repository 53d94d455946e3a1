"""The events of a run, and their listeners: the methods of callbacks and loggers."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ssr_hydra.errors import (
    ConflictError,
    InputError,
    MissingValueError,
    RunError,
    UnknownNameError,
    WrongTypeError,
    callable_name,
)
from ssr_hydra.records import as_number
from ssr_hydra.settings.base import did_you_mean

Listener = Callable[..., object]

EVENTS: dict[str, tuple[str, ...]] = {
    "fit_start": ("trainer",),
    "batch_end": ("trainer", "loss"),
    "epoch_end": ("trainer",),
    "eval_start": ("trainer",),
    "eval_end": ("trainer", "metrics"),
    "log": ("trainer", "record"),
    "checkpoint_saved": ("trainer", "path"),
    "fit_end": ("trainer", "result"),
    "close": (),
}
"""A mapping from the name of an event to the names of the arguments that its listeners get."""

# These events call every listener, even after a listener has raised an error. Otherwise files would stay open, and the
# model might keep averaged weights.
_FOR_ALL = frozenset({"eval_end", "fit_end", "close"})


class Events:
    """The listeners of a run: the functions to call at each event. Callbacks are called before loggers.

    A callback is any object with one or more of the methods in :data:`EVENTS`. An event without a listener takes no
    time. A logger is a callback with the method ``log``. If a callback has ``state_dict`` and ``load_state_dict``,
    checkpoints contain its state under its name.

    If a callback raises an exception, the run ends with this exception. If a logger raises an exception, the run ends
    with a :class:`~ssr_hydra.errors.RunError` that names the logger. Even then, ``metrics.jsonl`` has every record, and
    the run can be resumed.

    Args:
        callbacks: A mapping from name to callback, or a sequence of callbacks. In a sequence, a callback is named after
            its class: ``ema``, and ``ema-2`` for a second callback of the class.
        loggers: A mapping or a sequence of loggers, in the format of ``callbacks``.
        is_main: Whether this process is rank 0. Other processes ignore loggers, and callbacks whose attribute
            ``main_only`` is true.

    Raises:
        InputError: An object has no method for any event; a method does not accept the arguments of its event; a logger
            has no ``log``; or two objects have the same name.

    Example:
        >>> class Count:
        ...     batches = 0
        ...     def batch_end(self, trainer, loss):
        ...         self.batches += 1
        >>> count = Count()
        >>> events = Events([count])
        >>> events.fire("batch_end", None, 0.5)
        >>> count.batches, len(events.listeners("batch_end")), len(events.listeners("epoch_end"))
        (1, 1, 0)
    """

    def __init__(
        self,
        callbacks: Mapping[str, object] | Sequence[object] | None = None,
        loggers: Mapping[str, object] | Sequence[object] | None = None,
        is_main: bool = True,
    ) -> None:
        self._listeners: dict[str, tuple[Listener, ...]] = dict.fromkeys(EVENTS, ())
        self._stateful: dict[str, Any] = {}
        self._closed = False
        self._completing = 0  # the number of callbacks with a method ``log``, which may add values
        named = [(name, item, False) for name, item in _with_names(callbacks, "callbacks")]
        named += [(name, item, True) for name, item in _with_names(loggers, "loggers")]
        names: set[str] = set()
        for name, item, is_logger in named:
            field = f"{'loggers' if is_logger else 'callbacks'}.{name}"
            methods = _methods(item, field, is_logger)
            if name in names:
                rule = "has the same name as another callback or logger"
                raise ConflictError(field, type(item).__name__, rule, "rename one of the two")
            names.add(name)
            if not is_main and (is_logger or getattr(item, "main_only", False)):
                continue
            self._completing += "log" in methods and not is_logger
            for event, method in methods.items():
                self._listeners[event] += (_guarded(method, name, event) if is_logger else method,)
            if _is_stateful(item, field):
                self._stateful[name] = item

    def on(self, event: str, function: Listener) -> None:
        """Add a function as the last listener of an event.

        Args:
            event: One of :data:`EVENTS`.
            function: A function that accepts the event's arguments, such as ``(trainer, loss)`` for ``batch_end``.

        Raises:
            InputError: The event is unknown, or the function cannot be called with the event's arguments.
        """
        if event not in EVENTS:
            raise UnknownNameError("event", event, "is unknown", did_you_mean(str(event).removeprefix("on_"), EVENTS))
        if not callable(function):
            takes = ", ".join(EVENTS[event])
            raise WrongTypeError("function", function, "must be a function", f"pass a function of ({takes})")
        _check_takes(function, event, "function")
        self._listeners[event] += (function,)

    def listeners(self, event: str) -> tuple[Listener, ...]:
        """Return the listeners of an event, in the order in which they are called."""
        return self._listeners[event]

    def fire(self, event: str, *args: Any) -> None:
        """Call all listeners of an event.

        A listener of ``eval_end`` may add metrics. This method converts their values to floats.

        Raises:
            InputError: A listener removed a metric, or added a metric that is not a number.
            Exception: The first exception that a listener raised. At ``eval_end``, ``fit_end`` and ``close``, this
                method first calls the other listeners.
        """
        if event not in _FOR_ALL:
            for listener in self._listeners[event]:
                listener(*args)
            return
        first: BaseException | None = None
        for listener in self._listeners[event]:
            names = list(args[1]) if event == "eval_end" else ()
            try:
                listener(*args)
                if event == "eval_end":
                    _take_numbers(args[1], listener, names)
            except BaseException as error:  # after an interrupt too, other listeners must close files
                first = error if first is None else first
        if first is not None:
            raise first

    def record(self, trainer: Any, record: dict[str, Any], write: Callable[[dict[str, Any]], object] | None) -> None:
        """Pass a record to the callbacks, then to ``write``, then to the loggers. Callbacks may add values.

        ``write`` adds the record to ``metrics.jsonl``. So ``metrics.jsonl`` contains the values that callbacks add, and
        contains the record even if a logger fails.

        Raises:
            InputError: A callback added a value that is not plain data.
        """
        listeners = self._listeners["log"]
        for listener in listeners[: self._completing]:
            listener(trainer, record)
            for name, value in record.items():
                record[name] = _plain_value(value, name, listener)
        if write is not None:
            write(record)
        for listener in listeners[self._completing :]:
            listener(trainer, record)

    def close(self) -> None:
        """Close every listener, even after an error, and then raise the first error. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self.fire("close")

    def state_dict(self) -> dict[str, Any]:
        """Return a mapping from callback name to state. Omit callbacks that have no state."""
        return {name: item.state_dict() for name, item in self._stateful.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the state of each callback by its name. Ignore the state of a callback that this run does not have."""
        if not isinstance(state, Mapping):
            raise TypeError("the state of the callbacks must be a mapping from name to state")
        for name, item in self._stateful.items():
            if name in state:
                item.load_state_dict(state[name])


def _with_names(items: Any, field: str) -> list[tuple[str, object]]:
    if items is None:
        return []
    if isinstance(items, Mapping):
        for name in items:
            if not isinstance(name, str) or not name.strip():
                raise WrongTypeError(field, name, "each name of a callback must be a string", 'write {"name": object}')
        return list(items.items())
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        rule = "must be a list of objects, or a mapping of names to objects"
        raise WrongTypeError(field, items, rule, "put the objects into a list")
    named: dict[str, object] = {}
    for item in items:
        base = (
            type(item).__name__.removesuffix("Logger").removesuffix("Callback").lower() or type(item).__name__.lower()
        )
        name, number = base, 1
        while name in named:
            number += 1
            name = f"{base}-{number}"
        named[name] = item
    return list(named.items())


def _methods(item: object, field: str, is_logger: bool) -> dict[str, Listener]:
    if isinstance(item, type):
        raise WrongTypeError(field, item.__name__, "must be an object, not a class", f"write {item.__name__}()")
    methods = {event: getattr(item, event) for event in EVENTS if callable(getattr(item, event, None))}
    if is_logger and "log" not in methods:
        rule = "must have a method log(trainer, record)"
        raise WrongTypeError(field, type(item).__name__, rule, "define this method")
    slip = next((name for name in dir(item) if _is_slip(item, name)), None)
    if slip is not None:
        rule = f"has a method {slip}, which is not the name of an event"
        fix = f"rename it ({did_you_mean(slip.removeprefix('on_'), EVENTS)}), or rename a helper method to _{slip}"
        raise UnknownNameError(field, type(item).__name__, rule, fix)
    if not methods:
        rule, fix = "has no method for any event of a run", f"define one of the methods {', '.join(EVENTS)}"
        raise UnknownNameError(field, type(item).__name__, rule, fix)
    for event, method in methods.items():
        _check_takes(method, event, f"{field}.{event}")
    return methods


def _check_takes(function: Listener, event: str, field: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions that are written in C have no signature
        return
    names = EVENTS[event]
    try:
        signature.bind(*names)
    except TypeError:
        name = getattr(function, "__qualname__", type(function).__name__)
        rule = f"is called as {event}({', '.join(names)}), but its arguments are {signature}"
        raise WrongTypeError(field, name, rule, f"change its arguments to ({', '.join(names)})") from None


def _is_stateful(item: object, field: str) -> bool:
    has = [callable(getattr(item, name, None)) for name in ("state_dict", "load_state_dict")]
    if any(has) and not all(has):
        rule = "must have both state_dict and load_state_dict, or neither"
        raise MissingValueError(field, type(item).__name__, rule, "define both")
    return all(has)


def _guarded(method: Listener, name: str, event: str) -> Listener:
    """Return a function that calls a logger's method and adds the logger's name to its errors."""

    def call(*args: Any) -> None:
        try:
            method(*args)
        except (InputError, RunError):  # these errors already have one-line messages
            raise
        except Exception as error:
            text = " ".join(str(error).split()) or "no message"
            raise RunError(
                f"logger {name} failed at {event}: {type(error).__name__}: {text}; metrics.jsonl has every record, "
                "and the run can be resumed"
            ) from error

    return call


def _take_numbers(metrics: dict[str, Any], listener: Listener, names: Iterable[str]) -> None:
    """Convert the metrics, which ``listener`` may have changed, to floats. Refuse a removal of one of ``names``."""
    for name in names:
        if name not in metrics:
            rule = f"must not be removed from the metrics (removed by {callable_name(listener)})"
            raise MissingValueError(f"metrics.{name}", None, rule, "change the callback to keep this metric")
    for name, value in metrics.items():
        if type(value) is not float:
            number = as_number(value)
            if number is None:
                rule = f"must be one number (got {type(value).__name__} from {callable_name(listener)})"
                raise WrongTypeError(f"metrics.{name}", value, rule, "change the value that the callback adds")
            metrics[name] = number


def _plain_value(value: Any, name: str, listener: Listener) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain_value(item, f"{name}.{key}", listener) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_value(item, f"{name}[{index}]", listener) for index, item in enumerate(value)]
    if isinstance(value, str):
        return str(value)
    number = as_number(value)
    if number is None:
        rule = f"must be a number, string, list or dict (got {type(value).__name__} from {callable_name(listener)})"
        raise WrongTypeError(f"record.{name}", value, rule, "change the value that the callback adds")
    return int(number) if isinstance(value, int) else number


def _is_slip(item: object, name: str) -> bool:
    """Return whether ``name`` is a public method of ``item`` and looks like a misspelled event name."""
    if name.startswith("_") or name in EVENTS or not callable(inspect.getattr_static(item, name, None)):
        return False
    cutoff = 0.75 if name.startswith("on_") else 0.92
    return bool(difflib.get_close_matches(name.removeprefix("on_"), EVENTS, n=1, cutoff=cutoff))
