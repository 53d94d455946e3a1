"""The files that jobs use to share steps: damaged files, the cost of a study, and several sweeps in one study."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from sweep_records import Killed, ended_at, record

from ssr_hydra.sweeps.folder import StudyFolder
from ssr_hydra.sweeps.job_status import JOB
from ssr_hydra.sweeps.sharing.orders import Orders, Point, Taken, cost_of, points_of, publish, taken_in
from ssr_hydra.sweeps.sweeper import _close_sharing


def job(study, name, steps, seconds, sweep="one"):
    folder = study / name
    folder.mkdir(parents=True)
    (folder / JOB).write_text(json.dumps({"identity": name * 20, "sweep": sweep, "overrides": []}))
    record(folder, steps=steps, seconds=seconds)
    return folder


def checkpoint_of(folder):
    checkpoint = folder / "checkpoints" / "ba5"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.pt").write_bytes(b"weights")
    return checkpoint


def point(study, code):
    """Publish a checkpoint of job a after step 5."""
    publish(study, checkpoint_of(job(study, "a", 9, 9.0)), "a" * 20, 5, {"ssr": 1.0}, code)
    (published,) = points_of(study)
    return published


@pytest.mark.parametrize(
    "content",
    ["", "3", "{}", '{"step": 5}', '{"step": "x", "identity": "a", "values": {}, "code": {}}', "[" * 9999],
)
def test_sweep_ignores_damaged_files_of_shared_steps(tmp_path, content):
    published = point(tmp_path, {})
    (published.folder / "origin.json").write_text(content)
    assert list(points_of(tmp_path)) == []
    assert Point.read(tmp_path, published.folder.name) is None
    for kind in ("orders", "taken"):
        path = tmp_path / "shared" / kind / f"{'a' * 16}.json"
        path.parent.mkdir()
        path.write_text(content.replace('{"step": 5}', '{"foo": 5}'))
    assert Orders.read(tmp_path, "a" * 20) in (None, Orders())
    assert taken_in([tmp_path / "a"]) == Taken(0, 0.0)
    assert cost_of(tmp_path) is None


def test_checkpoint_is_used_only_by_the_software_that_wrote_it(tmp_path):
    published = point(tmp_path, {"torch": "2.10", "ssr_hydra": "0.1.0 abc"})
    assert published.is_by({"torch": "2.10", "ssr_hydra": "0.1.0 abc", "my_models": "012"})
    assert not published.is_by({"torch": "2.11", "ssr_hydra": "0.1.0 abc"})
    assert not published.is_by({"torch": "2.10", "ssr_hydra": "0.1.0 abd"})


def test_checkpoint_is_published_completely_or_not_at_all(tmp_path, monkeypatch):
    """A process is killed at each operation on files. Then a different process publishes the checkpoint again."""
    checkpoint = checkpoint_of(job(tmp_path, "a", 9, 9.0))
    (tmp_path / "a/metrics.jsonl").write_text("{}\n")
    operations = (
        (Path, "mkdir"),
        (os, "link"),
        (shutil, "copyfile"),
        (Path, "replace"),
        (Path, "rename"),
        (shutil, "rmtree"),
    )
    for last in range(20):
        monkeypatch.setattr(os, "getpid", lambda last=last: last)
        with ended_at(last, Killed, *operations), suppress(Killed):
            publish(tmp_path, checkpoint, "a" * 20, 5, {}, {})
        whole = [(each.checkpoint / "state.pt").read_bytes() == b"weights" for each in points_of(tmp_path)]
        assert all(whole)
        if Point.read(tmp_path, "a" * 16 + "-ba5"):
            break
    assert 5 <= last < 19


def test_shared_steps_are_counted_once_in_the_cost(tmp_path):
    job(tmp_path, "a", 100, 10.0)
    short = job(tmp_path, "b", 50, 5.0)
    Taken(40, 4.0).write(tmp_path, "b" * 20)
    cost = cost_of(tmp_path)
    assert cost is not None
    assert (cost.steps, cost.seconds, cost.trained_steps, cost.trained_seconds) == (150, 15.0, 110, 11.0)
    assert taken_in([short]) == Taken(40, 4.0)
    # A job that failed before it continued from the shared steps has no steps in its record.
    record(short, "failed", steps=0)
    assert taken_in([short]) == Taken(0, 0.0)
    assert cost_of(tmp_path) is None


def test_end_of_a_sweep_keeps_sharing_orders_of_other_sweeps(tmp_path):
    study = StudyFolder(tmp_path, sweep="one")
    job(tmp_path, "a", 9, 9.0, sweep="one")
    job(tmp_path, "b", 9, 9.0, sweep="other")
    for name in "ab":
        Orders(publish=[5]).write(tmp_path, name * 20)
    planned = SimpleNamespace(keep="ends", jobs=[((), SimpleNamespace(identity=name * 20)) for name in "ab"])
    _close_sharing(study, planned, alone=False)
    assert Orders.read(tmp_path, "a" * 20) is None
    assert Orders.read(tmp_path, "b" * 20) == Orders(publish=[5])
