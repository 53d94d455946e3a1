"""Runs that are killed and stopped at many random points, and started again by the same command."""

from __future__ import annotations

from pathlib import Path

from resume_lab import SIGNALS, scenarios


def test_30_kills_at_random_points(tmp_path: Path) -> None:
    kills = scenarios("kills:30", tmp_path)["kills"]
    assert kills["kills"] == 30
    # In training, in evaluation, while a record is written, and in the operations that make up a checkpoint.
    assert {"train", "eval", "record", "fsync", "os.rename"} <= set(kills["where"])


def test_signals_at_random_points(tmp_path: Path) -> None:
    """To the process, or to its group with the loader's workers: exit codes 143, 140, 129 and 130, and a checkpoint."""
    signals = scenarios("signals:20", tmp_path)["signals"]
    assert [signals[name]["stopped"] for name in SIGNALS] == [20, 3, 3, 3]
    assert signals["SIGTERM"]["eval"] > 0


def test_kills_while_the_last_checkpoint_and_the_record_are_written(tmp_path: Path) -> None:
    assert scenarios("ends:3", tmp_path)["ends"]["kills"] >= 8


def test_ctrl_c_in_a_terminal_in_training_and_in_evaluation_once_and_twice(tmp_path: Path) -> None:
    assert scenarios("keyboard:4", tmp_path)["keyboard"]["codes"] == [130] * 4
