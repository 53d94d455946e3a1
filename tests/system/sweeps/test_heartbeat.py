import json
import os
import signal
import subprocess
import sys
import time

import pytest

from ssr_hydra.sweeps import heartbeat
from ssr_hydra.sweeps.heartbeat import SILENT_SECONDS, Heartbeat, Pulse, clock_of, count_living, is_alive

CHILD = """
import sys, time
from pathlib import Path
from ssr_hydra.sweeps.heartbeat import Heartbeat
with Heartbeat(Path(sys.argv[1])) as beat:
    print(beat.attempt, flush=True)
    sys.stdin.readline()
"""


def wait_until(is_so):
    until = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def child(path):
    """Start a process with a heartbeat, and return its attempt number."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_mean_number_of_other_jobs_can_be_read_while_the_thread_adds_a_count(tmp_path):
    class Count(int):
        def __mul__(self, times):
            beat._counts[9] += 1  # the thread adds a new number during the sum
            return int(self) * times

    beat = Heartbeat(tmp_path / "heartbeat.json", lambda: Count(2))
    beat.begin()
    assert beat.jobs_beside() == 2.0


def test_process_is_alive_until_killed_and_each_death_counts_as_an_attempt(tmp_path):
    path = tmp_path / "heartbeat.json"
    for attempt in (1, 2):
        process, reported = child(path)
        assert reported == attempt
        os.kill(process.pid, signal.SIGSTOP)  # a suspended process is alive
        assert is_alive(path)
        process.kill()
        wait_until(lambda: not is_alive(path))  # a zombie, which no process has waited for, is dead
        process.communicate()
        assert not is_alive(path)
    for attempt in (3, 1):  # after a process that ends normally, the next process is a first attempt again
        process, reported = child(path)
        assert reported == attempt
        process.communicate("\n")
        assert not path.exists()


def test_a_reused_process_id_is_a_different_process(tmp_path):
    path = tmp_path / "a"
    with Heartbeat(path):
        content = json.loads(path.read_text())
        assert content["pid"] == os.getpid()
        path.write_text(json.dumps({**content, "started": "1"}))
        assert not is_alive(path)


def test_job_of_a_different_machine_is_dead_if_the_heartbeat_is_too_old(tmp_path, monkeypatch):
    # The age of the heartbeat decides, by the clock of the file system.
    path = tmp_path / "a"
    path.write_text(json.dumps({"machine": "elsewhere", "pid": os.getpid(), "started": "1", "attempt": 1}))
    now = clock_of(tmp_path)
    folders = []
    monkeypatch.setattr(heartbeat, "clock_of", lambda folder: folders.append(folder) or now)
    ages = ((0, True), (SILENT_SECONDS - 1, True), (SILENT_SECONDS + 1, False), (-1, True), (-3600, False))
    for age, alive in ages:  # a negative age is a time in the future
        os.utime(path, (now - age, now - age))
        assert is_alive(path) is alive
        assert is_alive(path, now) is alive
    assert folders == [tmp_path] * 5
    assert SILENT_SECONDS < 60  # a dead machine is detected within a minute
    assert heartbeat._INTERVAL * 4 < SILENT_SECONDS  # a living process may miss a few heartbeats


def test_heartbeat_file_is_touched_repeatedly(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "_INTERVAL", 0.01)
    path = tmp_path / "a"
    with Heartbeat(path):
        os.utime(path, (1, 1))
        wait_until(lambda: path.stat().st_mtime > 1)


def test_heartbeat_file_has_the_current_progress_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "_LOOK_SECONDS", 0.01)

    def frac_done():
        pulse = Pulse.read(tmp_path / "a")
        return None if pulse is None else pulse.frac_done

    with Heartbeat(tmp_path / "a") as beat:
        first = Pulse.read(tmp_path / "a")
        assert frac_done() is None
        for frac in (0.25, 1.0):
            beat.frac_done = lambda frac=frac: frac
            wait_until(lambda frac=frac: frac_done() == frac)
        assert Pulse.read(tmp_path / "a") == first  # it is still the same heartbeat
        assert is_alive(tmp_path / "a")


def test_number_of_other_running_jobs_of_this_machine_is_counted(tmp_path):
    study = tmp_path / "studies/s"
    own = study / "0" / heartbeat.HEARTBEAT
    signs = [study / name / heartbeat.HEARTBEAT for name in "01234"]
    with Heartbeat(own), Heartbeat(signs[1]), Heartbeat(signs[2]):
        for path in signs[3:]:
            path.parent.mkdir()
        living = json.loads(own.read_text())
        signs[3].write_text(json.dumps({**living, "machine": "elsewhere"}))
        signs[4].write_text(json.dumps({**living, "started": "1"}))  # killed
        assert count_living(study, 1, own) == 2
        assert count_living(study.parent, 2, own) == 2
        assert count_living(study, 2, own) == 0  # not so deep
    assert count_living(study, 1, own) == 0


def test_number_of_other_jobs_is_averaged_from_the_start_of_training(tmp_path):
    counts = iter([2, 2, 0, 1, 0])
    beat = Heartbeat(tmp_path / "a", lambda: next(counts))
    beat.begin()
    assert beat.jobs_beside() == 2
    assert beat.jobs_beside() == pytest.approx(4 / 3)
    beat.begin()
    assert beat.jobs_beside() == 0.5


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '"x"', "\0"])
def test_invalid_heartbeat_file_is_ignored(tmp_path, content):
    (tmp_path / "a").write_text(content)
    assert Pulse.read(tmp_path / "a") is None
    assert not is_alive(tmp_path / "a")
    assert not is_alive(tmp_path / "missing")


def test_function_clock_of_returns_the_time_of_the_file_system(tmp_path):
    before = time.time()
    assert before - 1 < clock_of(tmp_path) < time.time() + 1
    assert list(tmp_path.iterdir()) == []
