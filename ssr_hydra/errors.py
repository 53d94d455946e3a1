"""The error types of the package: :class:`InputError` for invalid input and :class:`RunError` for a run that failed.

The message of each error is one line, which the command line prints instead of a traceback.
"""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

SCHEDULER_NOTE = "raised by the scheduler "
_LONGEST_VALUE = 80
_STANDARD_LIBRARY = rf"{re.escape(str(Path(os.__file__).parent))}[\\/](?!(site|dist)-packages)"
# Files that are not the user's code. A traceback may contain them.
_NOT_THE_USERS = re.compile(
    rf"^<|^{re.escape(str(Path(__file__).parent))}\b|^{_STANDARD_LIBRARY}|[\\/](torch|numpy)[\\/]"
)


class _Shown(str):
    """The text that an error shows for a value that cannot be pickled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _value_text(value: object) -> str:
    try:
        text = str(value) if isinstance(value, Fraction) else repr(value)
    except Exception:  # for example, 10**5000 has no repr
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


class InputError(ValueError):
    """A value breaks a rule. The message is one line with the field, the value, the rule and the fix.

    Programs and tests can distinguish errors by the subclass, and need not read the message.

    Args:
        field: Name of the argument or config field, dotted if nested.
        value: The invalid value.
        rule: The rule for values of this field, such as ``must be >= 0``.
        fix: A suggestion for what to write instead.

    Example:
        >>> error = FormatError("t_max", "10", "a duration needs a unit", "did you mean '10ba' or '10ep'?")
        >>> print(error.within("scheduler"))
        scheduler.t_max='10': a duration needs a unit; did you mean '10ba' or '10ep'?
    """

    def __init__(self, field: str, value: object, rule: str, fix: str) -> None:
        self.field, self.value, self.rule, self.fix = field, value, rule, fix
        # The repr of an array or a tensor may have several lines.
        message = f"{field}={_value_text(value)}: {rule}; {fix}"
        super().__init__(" ".join(line.strip() for line in message.splitlines()))

    def renamed(self, field: str, fix: str | None = None) -> InputError:
        """Return the same error for a different field, and optionally with a different fix."""
        return type(self)(field, self.value, self.rule, self.fix if fix is None else fix)

    def within(self, prefix: str) -> InputError:
        """Return the same error for the field ``prefix.field``, where ``field`` is the field of this error."""
        return self.renamed(f"{prefix}.{self.field}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str, str]]:
        # Launchers pickle exceptions. By default, unpickling would call __init__ with the message alone.
        value = self.value
        try:
            pickle.dumps(value)
        except Exception:  # for example, the value is a lambda or an open file
            value = _Shown(_value_text(value))
        return type(self), (self.field, value, self.rule, self.fix)


@contextmanager
def within(prefix: str) -> Iterator[None]:
    """Inside the ``with`` block, an :class:`InputError` names the field ``prefix.field`` instead of ``field``."""
    try:
        yield
    except InputError as error:
        raise error.within(prefix) from None


class ConflictError(InputError):
    """Two settings cannot be used together, one setting has no effect, or one value occurs twice."""


class FormatError(InputError):
    """A text or file has invalid syntax, such as a duration without a unit."""


class MismatchError(InputError):
    """A value does not match the data, the model, the checkpoint, or the value of another process or run."""


class MissingValueError(InputError):
    """A required value is missing."""


class NotInstalledError(InputError):
    """A feature needs an optional package that is not installed."""


class RangeError(InputError):
    """A number, time or size is outside of its range."""


class PathError(InputError):
    """A file or folder does not exist, cannot be read or written, or has an invalid path."""


class UnknownNameError(InputError):
    """A name is not one of the known names."""


class UnsupportedError(InputError):
    """The machine, an installed package, or a user's object does not support what a setting asks for."""


class UntrustedError(InputError):
    """Only the command line may set this value, because the value can run code."""


class WrongTypeError(InputError):
    """A value has the wrong type or structure."""


class MissingRateError(InputError, RuntimeError):
    """A time cannot be converted to a different unit, for example because the batches per epoch are unknown."""


class RunError(Exception):
    """A run failed, for example because of a full disk or a loss that is not finite.

    The message explains the failure, so the command line prints no traceback.
    """


class UserCodeError(RunError, RuntimeError):
    """A user's function raised an error. The message names the function. ``__cause__`` contains the traceback."""


class FirstBatchError(UserCodeError):
    """The model, the loss or a metric failed on the first batch. ``__cause__`` contains the traceback."""


def visible(text: str) -> str:
    r"""Return the text with control characters, line ends and text direction marks escaped.

    A text may contain the name of a file, and the name must not control the terminal.

    Example:
        >>> visible("a\x1b[31m"), visible("two\nlines"), visible("é")
        ('a\\x1b[31m', 'two\\nlines', 'é')
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def visible_lines(text: str) -> str:
    r"""Escape each line of a text as :func:`visible` does, and keep the line ends.

    Example:
        >>> visible_lines("a\x1b[31m\nb")
        'a\\x1b[31m\nb'
    """
    return "\n".join(map(visible, text.split("\n")))


def callable_name(function: Any) -> str:
    """Return a function's name for a message.

    For a partial, return the name of its inner function. For an object, return the name of its class. For a lambda,
    return its file and line.

    Example:
        >>> callable_name(functools.partial(round, ndigits=2)), callable_name(Path.exists)
        ('round', 'Path.exists')
    """
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    name = getattr(function, "__qualname__", type(function).__qualname__).rpartition("<locals>.")[2]
    code = getattr(function, "__code__", None)
    if code is not None and name.endswith("<lambda>"):
        return f"the lambda at {Path(code.co_filename).name}, line {code.co_firstlineno}"
    return name


def user_code_error(what: str, function: Any, error: Exception) -> UserCodeError | None:
    """Return an error that names the user's function that raised ``error``.

    Return None for a MemoryError, an OSError, a Warning, and for a type that is not built into Python. The messages of
    these errors are already clear.

    Args:
        what: The role of the function, such as ``loss``.
        function: The function.
        error: The error that it raised.

    Example:
        >>> print(user_code_error("metrics.f1", round, ZeroDivisionError("division by zero")))
        metrics.f1 (round): ZeroDivisionError: division by zero
    """
    if type(error).__module__ != "builtins" or isinstance(error, (MemoryError, OSError, Warning)):
        return None
    return UserCodeError(f"{what} ({callable_name(function)}): {described_error(error)}")


def own_message(error: Exception) -> str | None:
    """Return the message of a RunError, or of an error in a user's scheduler, in one line; None for other errors."""
    if isinstance(error, RunError):
        return str(error)
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(SCHEDULER_NOTE)]
    return f"{described_error(error)} ({notes[0]})" if notes else None


def described_error(error: BaseException) -> str:
    """Return an error's type, the first line of its message, and the line of the user's code that raised it."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _NOT_THE_USERS.search(f.filename)]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"


def missing_package(field: str, value: object, package: str, extra: str) -> InputError:
    """Return the error for a feature whose optional package is not installed.

    Args:
        field: The setting that needs the package.
        value: The value of the setting.
        package: The missing package.
        extra: The extra of ``ssr_hydra`` that installs the missing package.

    Example:
        >>> print(missing_package("model", "resnet18", "torchvision", "vision"))
        model='resnet18': needs torchvision, which is not installed; pip install "ssr-hydra[vision]"
    """
    return NotInstalledError(
        field, value, f"needs {package}, which is not installed", f'pip install "ssr-hydra[{extra}]"'
    )
