"""Events of a run, and their listeners: the methods of callbacks and loggers."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ssr_hydra.errors import InputError, RunError, callable_name
from ssr_hydra.records import as_number
from ssr_hydra.settings.base import did_you_mean

__all__ = ["EVENTS", "Events", "Listener"]

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
"""A mapping from event to the arguments of its listeners."""

# End events call every listener even after an error, because files must be closed and weights restored.
_FOR_ALL = frozenset({"eval_end", "fit_end", "close"})


class Events:
    """The listeners of a run: for each event the functions to call, in order, callbacks before loggers.

    A callback is any object with one or more of the methods in :data:`EVENTS`. Events without a method cost nothing. A
    logger is a callback that has ``log``. A callback with ``state_dict`` and ``load_state_dict`` is part of
    checkpoints, under its name.

    An exception of a callback ends the run unchanged, because it is the user's code. An exception of a logger ends the
    run as a :class:`~ssr_hydra.errors.RunError` that names the logger. Nothing is lost: ``metrics.jsonl`` has every
    record, and the run can be resumed.

    Args:
        callbacks: A mapping from name to object, or a sequence of objects, named after their classes (``ema``, a second
            ``ema-2``).
        loggers: The same for loggers.
        is_main: Whether this process is rank 0. Other processes have no loggers, and no callbacks whose attribute
            ``main_only`` is true.

    Raises:
        InputError: An object has no method for an event, or one that does not accept the event's arguments; a logger
            has no ``log``; or two have the same name.

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
        self._completing = 0  # how many of the listeners to records are callbacks
        named = [(name, item, False) for name, item in _with_names(callbacks, "callbacks")]
        named += [(name, item, True) for name, item in _with_names(loggers, "loggers")]
        names: set[str] = set()
        for name, item, is_logger in named:
            field = f"{'loggers' if is_logger else 'callbacks'}.{name}"
            methods = _methods(item, field, is_logger)
            if name in names:
                raise InputError(field, type(item).__name__, "two of one name", "give it another name")
            names.add(name)
            if not is_main and (is_logger or getattr(item, "main_only", False)):
                continue
            self._completing += "log" in methods and not is_logger
            for event, method in methods.items():
                self._listeners[event] += (_guarded(method, name, event) if is_logger else method,)
            if _is_stateful(item, field):
                self._stateful[name] = item

    def on(self, event: str, function: Listener) -> None:
        """Call a function at an event, after all earlier listeners.

        Args:
            event: One of :data:`EVENTS`.
            function: Accepts the event's arguments, such as ``(trainer, loss)`` for ``batch_end``.

        Raises:
            InputError: The event is unknown, or the function cannot be called with the event's arguments.
        """
        if event not in EVENTS:
            raise InputError("event", event, "is unknown", did_you_mean(str(event).removeprefix("on_"), EVENTS))
        if not callable(function):
            takes = ", ".join(EVENTS[event])
            raise InputError("function", function, "must be a function", f"give one of ({takes})")
        _check_takes(function, event, "function")
        self._listeners[event] += (function,)

    def listeners(self, event: str) -> tuple[Listener, ...]:
        """Return the listeners of an event, in order; empty if there are none."""
        return self._listeners[event]

    def fire(self, event: str, *args: Any) -> None:
        """Call all listeners of an event.

        A listener to ``eval_end`` may add a metric as a number of any kind; it becomes a float.

        Raises:
            InputError: A listener added something else; the error names the listener and the metric.
            Exception: The first exception of a listener. At ``eval_end``, ``fit_end`` and ``close`` the other
                listeners are still called.
        """
        if event not in _FOR_ALL:
            for listener in self._listeners[event]:
                listener(*args)
            return
        first: BaseException | None = None
        for listener in self._listeners[event]:
            try:
                listener(*args)
                if event == "eval_end":
                    _take_numbers(args[1], listener)
            except BaseException as error:  # noqa: PERF203  # noqa: PERF203  # also after an interrupt: other listeners must close files
                first = error if first is None else first
        if first is not None:
            raise first

    def record(self, trainer: Any, record: dict[str, Any], write: Callable[[dict[str, Any]], object] | None) -> None:
        """Call ``log`` listeners and write the record: first callbacks, which may add to it; the file; then loggers.

        So ``metrics.jsonl`` has what a callback adds, and also a record whose logger fails.

        Args:
            trainer: The object that listeners get as the trainer.
            record: The record.
            write: Writes it to ``metrics.jsonl``; None if there is no such file.
        """
        listeners = self._listeners["log"]
        for listener in listeners[: self._completing]:
            listener(trainer, record)
            for name, value in record.items():
                record[name] = _plain(value, name, listener)
        if write is not None:
            write(record)
        for listener in listeners[self._completing :]:
            listener(trainer, record)

    def close(self) -> None:
        """Close every listener, even after an error; raise the first error at the end. Later calls do nothing."""
        if not self._closed:
            self._closed = True
            self.fire("close")

    def state_dict(self) -> dict[str, Any]:
        """Return a mapping from name to state, for listeners that have state."""
        return {name: item.state_dict() for name, item in self._stateful.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load each listener's state, by name.

        A state without a listener is ignored, and a listener without a state starts new. What may change in a run is
        checked elsewhere, when it resumes.
        """
        if not isinstance(state, Mapping):
            raise TypeError("callbacks have a state each, by their names")
        for name, item in self._stateful.items():
            if name in state:
                item.load_state_dict(state[name])


def _with_names(items: Any, field: str) -> list[tuple[str, object]]:
    if items is None:
        return []
    if isinstance(items, Mapping):
        for name in items:
            if not isinstance(name, str) or not name.strip():
                raise InputError(field, name, "is named by a word", "write {name: object}")
        return list(items.items())
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        rule = "must be a list of objects, or a mapping of names to objects"
        raise InputError(field, items, rule, f"write [{type(items).__name__}(...)]")
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
        raise InputError(field, item.__name__, "is a class, and a run needs an object", f"write {item.__name__}()")
    methods = {event: getattr(item, event) for event in EVENTS if callable(getattr(item, event, None))}
    if is_logger and "log" not in methods:
        raise InputError(field, type(item).__name__, "a logger has a method log(trainer, record)", "write one")
    if not methods:
        wrong = next((name for name in dir(item) if not name.startswith("_") and _near(name)), None)
        rule = "has no method for any event of a run"
        fix = f"define one of {', '.join(EVENTS)}"
        if wrong is not None:
            fix = f"{wrong}? {did_you_mean(wrong.removeprefix('on_'), EVENTS)}"
        raise InputError(field, type(item).__name__, rule, fix)
    for event, method in methods.items():
        _check_takes(method, event, f"{field}.{event}")
    return methods


def _check_takes(function: Listener, event: str, field: str) -> None:
    """Refuse at once a listener that would fail at its event."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        return
    names = EVENTS[event]
    try:
        signature.bind(*names)
    except TypeError:
        shown = getattr(function, "__qualname__", type(function).__name__)
        rule = f"is called as {event}({', '.join(names)}), and takes {signature}"
        raise InputError(field, shown, rule, f"let it take ({', '.join(names)})") from None


def _is_stateful(item: object, field: str) -> bool:
    has = [callable(getattr(item, name, None)) for name in ("state_dict", "load_state_dict")]
    if any(has) and not all(has):
        rule = "state_dict and load_state_dict belong together: one alone is lost on resume"
        raise InputError(field, type(item).__name__, rule, "define both")
    return all(has)


def _guarded(method: Listener, name: str, event: str) -> Listener:
    """Add the logger's name to the errors of its method."""

    def call(*args: Any) -> None:
        try:
            method(*args)
        except (InputError, RunError):
            raise  # these are one-line errors already
        except Exception as error:
            text = " ".join(str(error).split()) or "no message"
            raise RunError(
                f"logger {name} failed at {event}: {type(error).__name__}: {text}; metrics.jsonl has every record, "
                "and the run can be resumed"
            ) from error

    return call


def _take_numbers(metrics: dict[str, Any], listener: Listener) -> None:
    for name, value in metrics.items():
        if type(value) is not float:
            number = as_number(value)
            if number is None:
                rule = f"must be one number (got {type(value).__name__} from {callable_name(listener)})"
                raise InputError(f"metrics.{name}", value, rule, "change what the callback puts there")
            metrics[name] = number


def _plain(value: Any, name: str, listener: Listener) -> Any:
    """Convert a record to plain data; numbers of any kind become Python numbers."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}", listener) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{name}[{index}]", listener) for index, item in enumerate(value)]
    if isinstance(value, str):
        return str(value)
    number = as_number(value)
    if number is None:
        rule = f"must be a number, string, list or dict (got {type(value).__name__} from {callable_name(listener)})"
        raise InputError(f"record.{name}", value, rule, "change what the callback adds")
    return int(number) if isinstance(value, int) else number


def _near(name: str) -> list[str]:
    return difflib.get_close_matches(name.removeprefix("on_"), EVENTS, n=1, cutoff=0.75)
