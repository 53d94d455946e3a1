"""Logger that writes the records of a run as a table, ``metrics.csv``."""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssr_hydra.callbacks.values import columns, run_folder
from ssr_hydra.files import open_regular, write_atomically, write_error
from ssr_hydra.records import CLOCKS

_FIRST = ("event", *CLOCKS)
# Spreadsheets read a cell that begins with such a character as a formula, and formulas can start programs.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(eq=False)
class CSVLogger:
    """Write ``metrics.csv`` in the run's folder.

    The table has a row for each record of ``metrics.jsonl``, and a column for each name in a record. If a record has a
    new name, such as ``eval/accuracy``, the logger adds a column on the right, with empty cells in the earlier rows.
    Numbers keep all their digits. Numbers that are not finite are ``nan``, ``inf`` or ``-inf``. Text that looks like a
    formula gets a leading ``'``.

    A resumed run drops the rows after its checkpoint, so each record appears only once.

    Example:
        >>> import tempfile
        >>> from types import SimpleNamespace
        >>> from pathlib import Path
        >>> from ssr_hydra import State
        >>> trainer = SimpleNamespace(run_dir=Path(tempfile.mkdtemp()), state=State())
        >>> logger = CSVLogger()
        >>> logger.fit_start(trainer)
        >>> logger.log(trainer, {"event": "train", "batch": 10, "lr": 0.1})
        >>> logger.log(trainer, {"event": "eval", "batch": 10, "eval/loss": 0.5})
        >>> logger.close()
        >>> print((trainer.run_dir / "metrics.csv").read_text(), end="")
        event,epoch,batch,sample,token,train_seconds,lr,eval/loss
        train,,10,,,,0.1,
        eval,,10,,,,,0.5
    """

    def __post_init__(self) -> None:
        self._path = Path()
        self._file: io.FileIO | None = None
        self._names: list[str] = []

    def fit_start(self, trainer: Any) -> None:
        """Open the table, and drop the rows after the run's current position."""
        self._path = run_folder(trainer, "csv") / "metrics.csv"
        self._names, rows = _read_log(self._path, trainer.state.timestamp.batches)
        self._rewrite(rows)

    def log(self, trainer: Any, record: Mapping[str, Any]) -> None:
        """Append a record."""
        del trainer
        values = {_safe(name): _cell(value) for name, value in columns(record).items()}
        new = [name for name in values if name not in self._names]
        if new:
            self._names = [*self._names, *new]
            self._rewrite(_read_log(self._path)[1])
        assert self._file is not None
        # Each row is one unbuffered write. So a kill truncates at most the last row, and a resumed run drops that row.
        line = _text([[values.get(name, "") for name in self._names]])
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise write_error(error, self._path, len(line)) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rewrite(self, rows: Sequence[Sequence[str]]) -> None:
        self.close()
        width = len(self._names)
        table = [self._names, *([*row, *[""] * (width - len(row))] for row in rows)]
        write_atomically(self._path, _text(table).decode())
        self._file = self._path.open("ab", buffering=0)


def _read_log(path: Path, until: int | None = None) -> tuple[list[str], list[list[str]]]:
    """Return the column names and rows of a table. If ``until`` is set, leave out the rows after batch ``until``."""
    names = list(_FIRST)
    try:
        # Read bytes and let the csv module split the lines, so that a line break within a cell is kept.
        with open_regular(path) as file:
            text = file.read().decode("utf-8", errors="replace")
    except (FileNotFoundError, ValueError):  # if the path is a pipe, a new table replaces the pipe
        return names, []
    if not text.endswith("\n"):  # a kill truncated the last row; the resumed run writes this row again
        text = text[: text.rfind("\n") + 1]
    table = list(csv.reader(io.StringIO(text, newline="")))
    if not table or table[0][: len(_FIRST)] != names:
        return names, []
    names, rows = table[0], [row for row in table[1:] if len(row) == len(table[0])]
    if until is not None:
        at = names.index("batch")
        rows = [row for row in rows if row[at].isdecimal() and int(row[at]) <= until] if until > 0 else []
    return names, rows


def _text(rows: Iterable[Sequence[str]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value) if isinstance(value, int) else _safe(str(value))


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
