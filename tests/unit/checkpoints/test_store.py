import errno
import math
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_helpers import is_of, largest_file, make_state, newest, save, saved
from refusals import refused

from ssr_hydra.checkpoints import CheckpointError, CheckpointStore, load, load_latest_good
from ssr_hydra.errors import RangeError, RunError, UnknownNameError, WrongTypeError
from ssr_hydra.files import WriteError, try_lock


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_checkpoint_is_on_disk_before_it_is_renamed(tmp_path, monkeypatch):
    """A power failure cannot be simulated, so this records the order of the calls to the kernel."""
    events = []
    fsync, rename = os.fsync, Path.rename

    def seen_fsync(descriptor):
        events.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def seen_rename(path, target):
        events.append(("rename", target.name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(Path, "rename", seen_rename)
    saved(tmp_path / "checkpoints", 5)
    synced = ("state.pt", f".checkpoint.json.{os.getpid()}.tmp", f".ba5.{os.getpid()}.new")
    assert events == [*(("sync", name) for name in synced), ("rename", "ba5"), ("sync", "checkpoints")]


def test_leftovers_of_a_killed_process_are_ignored_and_removed_by_the_next_save(tmp_path):
    store = saved(tmp_path, 10)
    for leftover in (".ba20.4242.new", ".ba5.4242.gone"):
        shutil.copytree(tmp_path / "ba10", tmp_path / leftover)
    assert store.all() == [(10, tmp_path / "ba10")]
    (tmp_path / "ba7 copy").mkdir()  # this folder is not a checkpoint
    (tmp_path / "notes.txt").write_text("mine")
    save(store, 30)
    assert names(tmp_path) == ["ba10", "ba30", "ba7 copy", "notes.txt"]


def test_replaced_checkpoint_is_used_until_the_new_one_is_complete(tmp_path):
    store = CheckpointStore(tmp_path)
    save(store, 10).rename(tmp_path / "ba10.replaced")  # the process was killed between the two renames
    checkpoint, messages = newest(tmp_path)
    assert is_of(checkpoint.state, 10)
    assert messages == []
    save(store, 10)
    assert names(tmp_path) == ["ba10"]


def test_last_k_checkpoints_are_kept(tmp_path):
    assert CheckpointStore(tmp_path).latest() is None
    store = saved(tmp_path, 9, 10, 100, 1000, 1001, keep=3)  # not sorted by name
    assert [batch for batch, _ in store.all()] == [100, 1000, 1001]
    assert store.latest() == tmp_path / "ba1001"
    assert names(tmp_path) == ["ba100", "ba1000", "ba1001"]


@pytest.mark.parametrize(("mode", "best"), [("max", 20), ("min", 30)])
def test_stored_metrics_decide_which_checkpoint_is_the_best(tmp_path, mode, best):
    metrics = {10: 0.5, 20: 0.9, 30: 0.1, 40: 0.9, 50: 0.1, 60: 0.3, 70: 0.3}
    for batch, metric in metrics.items():
        # A new store each time, as after a kill: all state comes from the files.
        save(CheckpointStore(tmp_path, best_mode=mode), batch, metric)
    store = CheckpointStore(tmp_path, best_mode=mode)
    assert [batch for batch, _ in store.all()] == [best, 60, 70]  # the first of equal values
    assert store.best() == tmp_path / f"ba{best}"
    assert load(tmp_path / f"ba{best}").metric == metrics[best]
    assert CheckpointStore(tmp_path).best() is None  # without a mode


def test_non_finite_metric_is_never_the_best(tmp_path):
    store = CheckpointStore(tmp_path, best_mode="min")
    for batch, metric in ((10, math.nan), (20, 0.5), (30, -math.inf), (40, None), (50, math.nan)):
        save(store, batch, metric)
    assert [batch for batch, _ in store.all()] == [20, 40, 50]
    assert load(tmp_path / "ba50").metric is None


def test_newest_checkpoint_is_the_last_saved_checkpoint(tmp_path):
    store = saved(tmp_path, 100, 200, 120)  # as after a resume from an earlier checkpoint
    assert [batch for batch, _ in store.all()] == [200, 120]
    assert newest(tmp_path)[0].timestamp["batch"] == 120
    save(store, 140)
    assert [batch for batch, _ in store.all()] == [120, 140]


def test_damaged_checkpoint_does_not_count_as_one_of_the_kept_checkpoints(tmp_path):
    store = saved(tmp_path, 10, 20)
    (tmp_path / "ba20" / "state.pt").write_bytes(b"torn")
    save(store, 30)
    assert names(tmp_path) == ["ba10", "ba30"]
    (tmp_path / "ba30" / "checkpoint.json").write_bytes(b"{")
    save(store, 30)  # replaces the damaged checkpoint without moving it aside
    assert names(tmp_path) == ["ba10", "ba30"]
    assert is_of(load(tmp_path / "ba30").state, 30)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [*(("keep", value, RangeError) for value in (1, True, 2.0, None)), ("best_mode", "auto", UnknownNameError)],
)
def test_invalid_setting_is_refused(tmp_path, field, value, kind):
    with refused(field, kind):
        CheckpointStore(tmp_path, **{field: value})


@pytest.mark.parametrize("timestamp", [{}, {"batch": -1}, {"batch": "1/2"}, {"batch": True}])
def test_checkpoint_needs_a_batch_number(tmp_path, timestamp):
    with refused("timestamp.batch", WrongTypeError):
        CheckpointStore(tmp_path).save({}, timestamp=timestamp, description={})


def test_refused_checkpoints_are_listed_newest_first(tmp_path):
    saved(tmp_path, 10, 20, 30, 40, keep=4)
    for batch in (20, 30):
        with (tmp_path / f"ba{batch}" / "state.pt").open("r+b") as file:
            file.seek(300)
            file.write(b"\xff\x00\xff")
    (tmp_path / "ba40" / "state.pt").unlink()
    checkpoint, messages = newest(tmp_path)
    assert checkpoint.path == tmp_path / "ba10"
    altered = "it was altered or damaged: its SHA-256 is not the recorded one"
    assert messages == [
        f"refused {tmp_path}/ba40/state.pt: it cannot be read (No such file or directory)",
        f"refused {tmp_path}/ba30/state.pt: {altered}",
        f"refused {tmp_path}/ba20/state.pt: {altered}",
    ]


def test_no_usable_checkpoint_is_an_error_and_not_a_silent_restart(tmp_path):
    saved(tmp_path, 10, 20)
    for batch in (10, 20):
        (tmp_path / f"ba{batch}/state.pt").write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        load_latest_good(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: none of its checkpoints can be used: refused {tmp_path}/ba20/state.pt")
    assert f"{tmp_path}/ba10/state.pt: it is truncated: 0 bytes of" in message
    assert message.endswith("start in a new folder")


def test_folder_without_checkpoints_has_no_latest_checkpoint(tmp_path):
    assert load_latest_good(tmp_path) is None
    assert load_latest_good(tmp_path / "missing") is None
    assert CheckpointStore(tmp_path / "missing").all() == []
    assert not (tmp_path / "missing").exists()
    (tmp_path / "ba10").mkdir()  # a checkpoint that has lost its files
    with pytest.raises(CheckpointError):
        load_latest_good(tmp_path)


def test_checkpoint_that_is_removed_during_reading_is_not_reported_as_damaged(tmp_path, monkeypatch):
    saved(tmp_path, 10, 20)

    def load_after_rotation(path):
        monkeypatch.undo()
        saved(tmp_path, 30, 40)  # the run that writes here continues
        return load(path)

    monkeypatch.setattr("ssr_hydra.checkpoints.store.load", load_after_rotation)
    checkpoint, messages = newest(tmp_path)
    assert (checkpoint.timestamp["batch"], messages) == (40, [])


NUMBERS = 10_000
STATE_SIZE = 40_000  # of float32


@pytest.mark.skipif(sys.platform == "win32", reason="no file-size limit")
@pytest.mark.parametrize("size", [0, 1, 20_000, 40_000])
def test_full_disk_is_reported_with_path_and_size_and_old_checkpoints_stay(tmp_path, size):
    store = CheckpointStore(tmp_path)
    save(store, 10, numbers=NUMBERS)
    old = save(store, 20, numbers=NUMBERS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for batch in (20, 30):  # 20 replaces a checkpoint, and 30 adds one
        with largest_file(size), pytest.raises(WriteError) as caught:
            save(store, batch, numbers=NUMBERS)
        assert caught.value.errno == errno.EFBIG
        needed = old.joinpath("state.pt").stat().st_size
        assert STATE_SIZE < needed < STATE_SIZE + 8000
        assert f"cannot write {needed} bytes: File too large" in str(caught.value)
        assert str(caught.value.filename).endswith("/state.pt")
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        assert names(tmp_path) == ["ba10", "ba20"]  # no temporary file remains on the full disk
    save(store, 30, numbers=NUMBERS)  # the disk has free space again
    assert is_of(load(store.latest() or tmp_path).state, 30)


@pytest.mark.skipif(sys.platform == "win32", reason="no file-size limit")
def test_full_disk_at_the_second_file_leaves_no_partial_checkpoint(tmp_path):
    store = saved(tmp_path, 10)
    with largest_file(20_000), pytest.raises(WriteError, match=r"cannot write \d{5} bytes.*checkpoint\.json"):
        store.save(make_state(20), timestamp={"batch": 20}, description={"names": ["a name"] * 5000})
    assert names(tmp_path) == ["ba10"]


@pytest.mark.skipif(sys.platform == "win32", reason="no file-size limit")
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_full_disk_does_not_replace_an_earlier_error(tmp_path, monkeypatch, error):
    def save_part(_, file):
        file.write(b"x")  # stays in a buffer, which the file writes when it is closed
        raise error

    monkeypatch.setattr(torch, "save", save_part)
    with largest_file(0), pytest.raises(error):
        save(CheckpointStore(tmp_path), 10)
    assert not [name for name in names(tmp_path) if name.startswith(".ba")]


@pytest.mark.parametrize("call", [0, 1, 2, 3])
def test_full_disk_at_fsync_is_reported(tmp_path, monkeypatch, call):
    """With delayed allocation, the kernel reports the full disk only at sync."""
    store, calls, fsync = saved(tmp_path, 10), iter(range(100)), os.fsync

    def full(descriptor):
        if next(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left on device"):
        save(store, 20)
    assert newest(tmp_path)[1] == []
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="Not a directory|File exists"):
        saved(tmp_path / "file" / "checkpoints", 1)


def test_interrupt_leaves_no_partial_checkpoint(tmp_path, monkeypatch):
    store = saved(tmp_path, 10)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(store, 20)
    assert names(tmp_path) == ["ba10"]


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_error_names_a_process_that_holds_the_lock_for_too_long(tmp_path, monkeypatch):
    store = saved(tmp_path, 10)
    monkeypatch.setattr("ssr_hydra.checkpoints.store._LOCK_SECONDS", 0.05)
    with (tmp_path / ".lock").open("ab") as file:
        assert try_lock(file.fileno())
        with pytest.raises(RunError, match="another process is saving checkpoints here"):
            save(store, 20)
    save(store, 20)


def test_leftover_link_is_not_followed(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "ba5").mkdir(parents=True)
    (elsewhere / "mine.txt").write_text("mine")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in (f".ba10.{os.getpid()}.new", ".ba3.7.gone"):
        (folder / name).symlink_to(elsewhere)
    saved(folder, 10)
    assert sorted(path.name for path in elsewhere.iterdir()) == ["ba5", "mine.txt"]
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "ba10"]
