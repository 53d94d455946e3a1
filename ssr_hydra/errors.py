"""The one error type for input that cannot be meant: it names the field, the value, the rule and the fix.

And the base of what ends a run through nobody's mistake in the code, so that one line says all about it.
"""

from __future__ import annotations

import functools
import inspect
import pickle
import re
import traceback
from pathlib import Path
from typing import Any

__all__ = [
    "FirstBatchError",
    "InputError",
    "MissingRateError",
    "RunError",
    "UserCodeError",
    "callable_name",
    "described_error",
    "missing_package",
    "user_code_error",
    "visible",
    "visible_lines",
]

_LONGEST_VALUE = 80
# Frames of this package, and of those that compute for it.
_NOT_THE_USERS = re.compile(rf"^<|^{re.escape(str(Path(__file__).parent))}\b|[\\/](torch|numpy)[\\/]")


class _Shown(str):
    """The text that stands for a value that cannot travel between processes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _show(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # a message about bad input must not fail on it: 10**5000 has no repr, for one
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


class InputError(ValueError):
    """A value that breaks a rule, told in one line.

    Args:
        field: Name of the argument or configuration field, dotted where it is nested.
        value: What was given.
        rule: What a value of this field has to be.
        fix: What to write instead.

    Example:
        >>> error = InputError("t_max", "10", "a duration needs a unit", "did you mean '10ba' or '10ep'?")
        >>> print(error.within("scheduler"))
        scheduler.t_max='10': a duration needs a unit; did you mean '10ba' or '10ep'?
    """

    def __init__(self, field: str, value: object, rule: str, fix: str) -> None:
        self.field, self.value, self.rule, self.fix = field, value, rule, fix
        # Arrays and tensors print on several lines.
        message = f"{field}={_show(value)}: {rule}; {fix}"
        super().__init__(" ".join(line.strip() for line in message.splitlines()))

    def within(self, prefix: str) -> InputError:
        """The same error seen from outside: its field becomes ``prefix.field``."""
        return type(self)(f"{prefix}.{self.field}", self.value, self.rule, self.fix)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str, str]]:
        # Launchers send exceptions between processes; the default would call __init__ with the message alone.
        value = self.value
        try:
            pickle.dumps(value)
        except Exception:  # a lambda, an open file: whatever it is, the error has to arrive
            value = _Shown(_show(value))
        return type(self), (self.field, value, self.rule, self.fix)


class MissingRateError(InputError, RuntimeError):
    """A time cannot be converted because a rate of the run (``dataloader_len`` and its kin) is not known."""


class RunError(Exception):
    """A run failed by what happened to it, a loss or a disk, and its message is the whole story."""


class UserCodeError(RunError, RuntimeError):
    """A function of the user raised an error. The message names the function; the cause has the traceback."""


class FirstBatchError(UserCodeError):
    """The first batch does not go through model, loss and metrics. The message says what it is; the cause, where."""


def visible(text: str) -> str:
    r"""Return the text with control characters, line ends and changes of direction escaped.

    Names come from folders and files, which must not control a terminal.

    Example:
        >>> visible("a\x1b[31m"), visible("two\nlines"), visible("é")
        ('a\\x1b[31m', 'two\\nlines', 'é')
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def visible_lines(text: str) -> str:
    r"""Return a text of several lines with each line as :func:`visible` returns it.

    Example:
        >>> visible_lines("a\x1b[31m\nb")
        'a\\x1b[31m\nb'
    """
    return "\n".join(map(visible, text.split("\n")))


def callable_name(function: Any) -> str:
    """Return a function's name for a message: of a partial its inner function, of an object its class.

    A lambda is named by its place.

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
    """Return the error that names the function of the user that raised another one.

    None if that one is not Python's own: the user raised it on purpose, or it names what it is about.

    Args:
        what: Whose place the function takes, such as ``loss``.
        function: The function.
        error: What it raised.

    Example:
        >>> print(user_code_error("metrics.f1", round, ZeroDivisionError("division by zero")))
        metrics.f1 (round): ZeroDivisionError: division by zero
    """
    if type(error).__module__ != "builtins" or isinstance(error, (MemoryError, OSError, Warning)):
        return None
    return UserCodeError(f"{what} ({callable_name(function)}): {described_error(error)}")


def described_error(error: BaseException) -> str:
    """Return an error's type, the first line of its message, and the line of the user's code that raised it."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _NOT_THE_USERS.search(f.filename)]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"


def missing_package(field: str, value: object, package: str, extra: str) -> InputError:
    """The error of something that needs a package which is installed on request alone, as an extra of this one.

    Args:
        field: What was asked for.
        value: Its value.
        package: What it needs.
        extra: The extra that brings it.

    Example:
        >>> print(missing_package("model", "resnet18", "torchvision", "vision"))
        model='resnet18': needs torchvision, which is not installed; pip install "ssr-hydra[vision]"
    """
    return InputError(field, value, f"needs {package}, which is not installed", f'pip install "ssr-hydra[{extra}]"')
