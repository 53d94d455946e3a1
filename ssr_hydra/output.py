"""Code that all commands share: an argument parser, text tables, and a stream that ignores failed writes."""

from __future__ import annotations

import argparse
import difflib
import errno
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from ssr_hydra.errors import ConflictError, FormatError, MissingValueError, UnknownNameError, WrongTypeError, visible

_SEE = "see --help"
_BAD_INPUT = 2


def exit_with_error(error: object, code: int = _BAD_INPUT) -> NoReturn:
    """Print an error in one line on stderr, and exit."""
    print(f"error: {visible(str(error))}", file=sys.stderr)
    sys.exit(code)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises an :class:`~ssr_hydra.errors.InputError` instead of exiting with the usage.

    Args:
        unknown: The fix in the error for an unknown flag. If a known flag is similar, the fix is to use that flag.
        options: Other arguments of :class:`argparse.ArgumentParser`.

    Example:
        >>> parser = Parser()
        >>> _ = parser.add_argument("--lr", type=float)
        >>> parser.parse(["--lr", "x"])
        Traceback (most recent call last):
        ssr_hydra.errors.WrongTypeError: --lr='x': must be a number; see --help
    """

    def __init__(self, *, unknown: str = _SEE, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)
        self._unknown = unknown
        self._typed: Sequence[str] = ()

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse arguments, or the command line if ``argv`` is None. Flags may be between other arguments."""
        self._typed = sys.argv[1:] if argv is None else argv
        return self.parse_intermixed_args(self._typed)

    def error(self, message: str) -> NoReturn:
        if match := re.match("unrecognized arguments: -+([^ =]+)", message):
            names = [flag.lstrip("-") for action in self._actions for flag in action.option_strings]
            close = difflib.get_close_matches(match[1], names, n=1)
            fix = f"did you mean --{close[0]}?" if close else self._unknown
            raise FormatError("flags", " ".join(self._typed), message, fix)
        if match := re.fullmatch(r"argument ([^:/]+)[^:]*: (.*)", message):
            flag, problem = match.groups()
            if value := re.fullmatch(r"invalid (int|float) value: '(.*)'", problem):
                raise WrongTypeError(flag, value[2], f"must be a {'whole ' * (value[1] == 'int')}number", _SEE)
            if value := re.fullmatch(r"invalid choice: '(.*)' \(choose from (.*)\)", problem):
                raise UnknownNameError(flag, value[1], f"must be one of {value[2].replace(chr(39), '')}", _SEE)
            if value := re.fullmatch(r"ignored explicit argument '(.*)'", problem):
                raise FormatError(flag, value[1], "must be without a value", f"write {flag}")
            if value := re.fullmatch(r"not allowed with argument (.*)", problem):
                raise ConflictError(flag, True, f"cannot be used with {value[1]}", f"remove {flag} or {value[1]}")
            if problem.startswith("expected"):
                raise MissingValueError(flag, "", "needs a value", _SEE)
        raise FormatError("flags", " ".join(self._typed), message, _SEE)


class _Output:
    """A stream that discards its output after a write has failed.

    Attributes:
        failure: The error of the write that failed. None if no write failed, or if the reader closed the pipe, as
            ``head`` does.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_silent = False
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text, with backslash escapes for characters that the stream cannot encode."""
        try:
            self._try(lambda: self._stream.write(text))
        except UnicodeEncodeError as error:
            escaped = text.encode(error.encoding, "backslashreplace").decode(error.encoding)
            self._try(lambda: self._stream.write(escaped))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        if self._is_silent:
            return
        try:
            act()
        except UnicodeEncodeError:
            raise
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self._is_silent = True
            if isinstance(error, OSError) and error.errno != errno.EPIPE:
                self.failure = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_output() -> Iterator[None]:
    """Inside the ``with`` block and when Python exits, discard output that cannot be written.

    If stdin, stdout or stderr is closed (``>&-``, cron), open the null device instead. Otherwise the next file that
    Python opens would get the closed descriptor, and printed output would go into this file. Also stop ``logging`` from
    printing a traceback for a line that it cannot write.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # open() uses the lowest free descriptor
        os.set_inheritable(number, True)
    os.close(number)
    before = logging.raiseExceptions, sys.stdout, sys.stderr
    logging.raiseExceptions = False
    outputs = [_opened(stream, number) for stream, number in ((sys.stdout, 1), (sys.stderr, 2))]
    sys.stdout, sys.stderr = (_Output(stream) for stream in outputs)
    try:
        yield
    finally:
        logging.raiseExceptions, sys.stdout, sys.stderr = before
        for stream in outputs:
            _settle(stream)


def text_table(
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    fold: Collection[int] = (),
    gap: int = 2,
    width: int = 10_000,
    bold_header: bool = False,
) -> list[str]:
    """Return the lines of a text table.

    Args:
        rows: The cells of each row.
        right: The columns that are aligned to the right.
        fold: The columns whose cells are split into several lines if the table is wider than ``width``.
        gap: The number of spaces between columns.
        width: The largest width of a line.
        bold_header: Whether a terminal shows the first row in bold.

    Example:
        >>> text_table([("ssr", "steps"), ("0.5", "75"), ("1", "150")], right=[1])
        ['ssr  steps', '0.5     75', '1      150']
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, gap, 0, 0))
    for column in range(len(rows[0])):
        can_fold = column in fold
        table.add_column(justify="right" if column in right else "left", no_wrap=not can_fold, overflow="fold")
    for number, row in enumerate(rows):
        table.add_row(*(Text(cell, "bold" if bold_header and number == 0 else "") for cell in row))
    text = io.StringIO()
    # Without a height, rich ignores the width on a dumb terminal and uses 80 columns.
    Console(file=text, force_terminal=bold_header, width=width, height=25).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _opened(stream: TextIO | None, number: int) -> TextIO:
    """Return the stream. If it is None, because it was closed when Python started, return a new stream."""
    if stream is None:
        return os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    with suppress(AttributeError, OSError, ValueError):  # a notebook's stream, for example, cannot be reconfigured
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    return stream


def _settle(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):  # the stream has no descriptor, so Python does not flush it at exit
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
