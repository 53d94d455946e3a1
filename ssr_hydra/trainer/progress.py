"""The progress of a run: a bar on a terminal, else plain lines, and a summary at the end."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ssr_hydra.errors import visible, visible_lines
from ssr_hydra.output import text_table
from ssr_hydra.records import RunResult
from ssr_hydra.settings.base import PROGRESS, one_of
from ssr_hydra.time import as_time, check_ssr

_BAR_WIDTH, _LONGEST_NAME = 14, 24


@dataclass
class Snapshot:
    """The progress of a run, for display."""

    share: float  # the completed fraction of the run
    step: int
    steps: int | None  # the number of steps of the whole run; None if unknown
    epoch: int
    lr: float
    loss: float
    train_seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def eta(self) -> list[str]:
        """A list with the estimated training time until the end of the run, as text; empty at the start of the run."""
        return [f"ETA {clock_text(self.train_seconds * (1 / self.share - 1))}"] if self.share > 0 else []

    @property
    def counted(self) -> str:
        """The number of completed steps and, if known, of all steps, as text."""
        return f"{self.step}" if self.steps is None else f"{self.step}/{self.steps}"

    @property
    def rates(self) -> list[str]:
        """A list of the learning rate and the loss, as text."""
        return [f"lr {_number_text(self.lr)}", f"loss {_number_text(self.loss)}"]

    @property
    def scores(self) -> list[str]:
        """A list of the names and values of the metrics, as text."""
        return [f"{name} {_number_text(value)}" for name, value in self.metrics.items()]


class _Plain:
    """One complete ASCII line every ten seconds and at every evaluation, for files and job logs."""

    interval = 10.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def update(self, snapshot: Snapshot, *, evaluated: bool) -> None:
        place = [f"step {snapshot.counted}", f"epoch {snapshot.epoch}", *snapshot.rates]
        scores = snapshot.scores if evaluated else []
        self.tell(visible("  ".join([*place, *scores, clock_text(snapshot.train_seconds), *snapshot.eta])))

    def close(self) -> None: ...

    def tell(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


class _Bar:
    """A progress bar of the package ``rich``, without the thread of ``rich``, which would slow down training."""

    interval = 0.25

    def __init__(self, stream: TextIO, name: str) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        class OurConsole(Console):
            def on_broken_pipe(self) -> None:  # rich's own method would end the process
                raise BrokenPipeError

        self._console = OurConsole(file=stream)
        name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        # The number of characters for the text. rich would cut a longer line.
        self._room = max(0, self._console.width - len(name) - _BAR_WIDTH - len("  100%  "))
        self._progress = RichProgress(
            TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(_BAR_WIDTH),
            TextColumn("{task.percentage:>3.0f}%", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[text]}", markup=False, table_column=Column(no_wrap=True)),
            console=self._console,
            auto_refresh=False,
        )
        self._task = self._progress.add_task(escape(visible(name)), total=1.0, text="starting")
        self._progress.start()

    def update(self, snapshot: Snapshot, *, evaluated: bool) -> None:  # noqa: ARG002  # always shows metrics
        words = [snapshot.counted, *snapshot.rates, *snapshot.eta, *snapshot.scores[:1]]
        while len("  ".join(words)) > self._room and len(words) > 1:
            words.pop()
        self._progress.update(self._task, completed=snapshot.share, text=visible("  ".join(words)), refresh=True)

    def close(self) -> None:
        self._progress.stop()

    def tell(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class ProgressDisplay:
    """Shows a run in progress. If the stream cannot be written (``| head``, a closed terminal), the display stops.

    Args:
        kind: ``auto`` (a bar if the stream is a terminal that can move its cursor, else plain lines), ``bar``,
            ``plain`` or ``none``.
        name: The text in front of the bar.
        stream: Standard output by default.

    Attributes:
        interval: The minimum number of seconds between two updates.
    """

    def __init__(self, kind: str, name: str = "training", stream: TextIO | None = None) -> None:
        one_of(kind, "progress", PROGRESS)
        target = sys.stdout if stream is None else stream
        if kind == "auto":
            able = target.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
            kind = "bar" if able else "plain"
        self._shown: _Bar | _Plain | None = None
        self.interval = math.inf
        with self._stopping():
            if kind != "none":
                self._shown = _Bar(target, name) if kind == "bar" else _Plain(target)
                self.interval = self._shown.interval

    def update(self, snapshot: Snapshot, *, evaluated: bool = False) -> None:
        """Show the progress of the run. ``evaluated`` is True if the metrics are from a new evaluation."""
        with self._stopping():
            if self._shown is not None:
                self._shown.update(snapshot, evaluated=evaluated)

    def close(self) -> None:
        """Restore the terminal."""
        with self._stopping():
            if self._shown is not None:
                self._shown.close()

    def tell(self, text: str) -> None:
        """Print a message on its own line."""
        with self._stopping():
            if self._shown is not None:
                self._shown.tell(visible_lines(text))

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # ValueError: the stream is closed, or cannot encode a character
            self._shown = None


def summary(result: RunResult, run_dir: Path | None, objective: str | None = None) -> str:
    """Return the result of a run as a few lines of text."""
    rows: list[tuple[str, str]] = [
        ("ssr", f"{result.ssr:g}"),
        ("length", _length(result)),
        ("steps", f"{result.steps:,}"),
        ("samples", f"{result.samples:,}"),
    ]
    if result.tokens:
        rows.append(("tokens", f"{result.tokens:,}"))
    total = f"{clock_text(result.total_seconds)} with evaluation and checkpoints"
    rows.append(("training", f"{clock_text(result.train_seconds)}  ({total})"))
    for name, value in result.metrics.items():
        rows.append((name, _number_text(value) + ("  (objective)" if name == objective else "")))
    if run_dir is not None:
        rows.append(("files", str(run_dir)))
    head = f"{result.name or 'run'}: {result.status}"
    values = {name: math.nan if value is None else value for name, value in result.metrics.items()}
    undefined = [name for name, value in values.items() if name != "train/loss" and not math.isfinite(value)]
    if undefined and result.status == "completed":
        head += f", but {' and '.join(undefined)} {'is' if len(undefined) == 1 else 'are'} not finite at the end"
    if result.error is not None:
        head += f" ({result.error})"
    return "\n".join([head, *(f"  {line}" for line in text_table(rows))])


def _length(result: RunResult) -> str:
    """Return the length of the run, and the length before scaling if SSR has changed it."""
    if result.ssr == 1:
        return result.max_duration
    length = as_time(result.max_duration, "max_duration") * check_ssr(result.ssr)
    of = "" if result.control is None else ", the schedule not scaled"
    return f"{length}  ({result.max_duration} x {result.ssr:g}{of})"


def announce(kind: str, stream: TextIO | None = None) -> None:
    """On a terminal, print a line at the start of a run, because the import of torch may take seconds."""
    target = sys.stdout if stream is None else stream
    with suppress(OSError, ValueError):  # if the stream cannot be written, show nothing
        if kind != "none" and target.isatty():
            print("starting: torch, data, model ...", file=target, flush=True)


def clock_text(seconds: float) -> str:
    """Return a number of seconds as text, such as 0.42 s, 12.3 s, 4:05 min or 1:02:03 h."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _number_text(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3g}" if abs(value) < 1e-3 or abs(value) >= 1e4 else f"{value:.4f}"
