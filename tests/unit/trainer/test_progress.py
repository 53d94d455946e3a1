import io
import math
import re
from pathlib import Path

import pytest
from refusals import refused

from ssr_hydra.errors import UnknownNameError
from ssr_hydra.records import RunResult
from ssr_hydra.trainer.progress import ProgressDisplay, Snapshot, announce, clock_text, summary


class Terminal(io.StringIO):
    def isatty(self):
        return True


HALF = Snapshot(
    share=0.5,
    step=600,
    steps=1200,
    epoch=8,
    lr=0.05,
    loss=0.1234,
    train_seconds=3.0,
    metrics={"eval/accuracy": 0.9432, "eval/loss": 0.2},
)


@pytest.mark.parametrize("make", [io.StringIO, Terminal])
def test_file_and_dumb_terminal_get_complete_ascii_lines(make, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = make()
    progress = ProgressDisplay("auto", stream=stream)
    progress.update(HALF)
    assert stream.getvalue() == "step 600/1200  epoch 8  lr 0.0500  loss 0.1234  3.00 s  ETA 3.00 s\n"
    progress.update(HALF, evaluated=True)
    assert "eval/accuracy 0.9432  eval/loss 0.2000" in stream.getvalue()
    assert stream.getvalue().isascii()
    assert progress.interval == 10.0


class Full(Terminal):
    """A stream that accepts a limited number of writes."""

    def __init__(self, room, error=BrokenPipeError):
        super().__init__()
        self.room, self.error = room, error

    def write(self, text):
        self.room -= 1
        if self.room < 0:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("kind", ["plain", "bar"])
@pytest.mark.parametrize("room", [0, 1, 2, 3])
@pytest.mark.parametrize("error", [BrokenPipeError, OSError, ValueError])
def test_failing_progress_display_is_ignored(kind, room, error):
    stream = Full(room, error)
    progress = ProgressDisplay(kind, stream=stream)
    for _ in range(5):
        progress.update(HALF)
    progress.close()
    progress.tell("done")
    assert "done" not in stream.getvalue()


def shown_on(columns, monkeypatch, name="digits [x]"):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    progress = ProgressDisplay("auto", name, stream)
    progress.update(HALF, evaluated=True)
    progress.close()
    progress.tell("[bold]done")
    return stream.getvalue()


def test_terminal_bar_shows_rate_and_loss_and_eta(monkeypatch):
    screen = shown_on(80, monkeypatch)
    for words in ("digits [x]", "50%", "600/1200", "lr 0.0500", "loss 0.1234", "ETA 3.00 s", "[bold]done"):
        assert words in screen
    assert "0.9432" in shown_on(120, monkeypatch)


@pytest.mark.parametrize("columns", [30, 60, 80, 200])
def test_no_line_is_truncated_or_longer_than_the_terminal(columns, monkeypatch):
    screen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown_on(columns, monkeypatch, "n"))
    lines = re.split(r"[\r\n]+", screen)
    assert all(len(line) <= columns for line in lines)
    assert "…" not in screen


def test_setting_progress_to_none_prints_nothing():
    stream = Terminal()
    progress = ProgressDisplay("none", stream=stream)
    progress.update(HALF)
    progress.tell("done")
    progress.close()
    assert stream.getvalue() == ""
    assert progress.interval == math.inf


@pytest.mark.parametrize("kind", ["BAR", "", None, True, "tqdm"])
def test_unknown_kind_of_progress_display_is_refused(kind):
    with refused("progress", UnknownNameError):
        ProgressDisplay(kind)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (9.994, "9.99 s"),
        (59.9, "59.9 s"),
        (59.96, "1:00 min"),
        (3599.9, "1:00:00 h"),
        (3723, "1:02:03 h"),
    ],
)
def test_durations_are_shown_in_seconds_or_minutes_or_hours(seconds, text):
    assert clock_text(seconds) == text


def test_eta_is_unknown_at_the_start():
    assert Snapshot(0.0, 0, None, 0, 0.1, math.nan, 0.0).eta == []


def test_summary_shows_the_result():
    result = RunResult(
        "diverged",
        "DivergedError: train/loss is nan",
        None,
        0.5,
        "20ep",
        0,
        1200,
        19_168,
        5,
        61.0,
        62.5,
        {"eval/loss": None},
    )
    assert summary(result, Path("out"), "eval/loss").splitlines() == [
        "run: diverged (DivergedError: train/loss is nan)",
        "  ssr        0.5",
        "  length     10ep  (20ep x 0.5)",
        "  steps      1,200",
        "  samples    19,168",
        "  tokens     5",
        "  training   1:01 min  (1:02 min with evaluation and checkpoints)",
        "  eval/loss  n/a  (objective)",
        "  files      out",
    ]


@pytest.mark.parametrize(
    ("options", "length"),
    [
        ({"ssr": 1.0}, "16ep"),
        ({"ssr": 0.3}, "4.8ep  (16ep x 0.3)"),  # the typed decimal, not the nearest float
        ({"ssr": 0.5, "control": "truncate"}, "8ep  (16ep x 0.5, the schedule not scaled)"),
    ],
)
def test_summary_shows_the_scaled_length(options, length):
    fields = {"max_duration": "16ep", "seed": 0, "steps": 1, "samples": 1, "tokens": 0}
    result = RunResult("completed", None, "run", **fields, train_seconds=1.0, total_seconds=1.0, **options)
    assert summary(result, None).splitlines()[2].split(maxsplit=1) == ["length", length]


@pytest.mark.parametrize(
    ("kind", "stream", "is_shown"),
    [("auto", Terminal(), True), ("none", Terminal(), False), ("auto", io.StringIO(), False), ("auto", Full(0), False)],
)
def test_terminal_shows_immediately_that_a_run_starts(kind, stream, is_shown):
    announce(kind, stream)
    assert stream.getvalue() == ("starting: torch, data, model ...\n" if is_shown else "")
