"""Start processes of jobs, with the fork server and in new interpreters."""

import os
import signal
import sys
import time
from multiprocessing.connection import wait
from unittest.mock import ANY

import pytest

from ssr_hydra.errors import RunError
from ssr_hydra.sweeps.launchers.starters import (
    ForkServer,
    ProcessEnd,
    Spawner,
    import_path,
    make_starter,
    signal_name,
)


def go_on():
    """Return False: the sweep was not stopped."""
    return False


@pytest.fixture(params=[ForkServer, Spawner])
def starter(request):
    process_starter = ForkServer({}, ()) if request.param is ForkServer else Spawner()
    yield process_starter
    if isinstance(process_starter, ForkServer):
        process_starter.close()


def ends(starter, count):
    process_ends = []
    while len(process_ends) < count:
        assert wait(starter.waitables(), 120)
        process_ends += starter.ended()
    return process_ends


def test_process_exits_if_its_sweep_has_already_ended(starter):
    pid, connection = starter.start(7, 1, 2, go_on)
    assert pid != os.getpid()
    connection.close()
    (ended,) = ends(starter, 1)
    assert (ended.serial, ended.code) == (7, 1)
    assert starter.ended() == []


def test_each_process_gets_its_own_exit_code(starter):
    started = {serial: starter.start(serial, 1, 2, go_on) for serial in (3, 4, 5)}
    for number, serial in ((signal.SIGKILL, 4), (signal.SIGSEGV, 3), (signal.SIGKILL, 5)):
        os.kill(started[serial][0], number)
    assert {ended.serial: ended.code for ended in ends(starter, 3)} == {3: -11, 4: -9, 5: -9}
    for _, connection in started.values():
        connection.close()


def test_the_server_ignores_signals_meant_for_the_jobs():
    server = ForkServer({}, ())
    _, connection = server.start(0, 1, 2, go_on)
    process = server._process
    assert process is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        process.send_signal(number)
    other, second = server.start(1, 1, 2, go_on)
    assert process.poll() is None
    assert other > 0
    for each in (connection, second):
        each.close()
    assert {ended.serial for ended in ends(server, 2)} == {0, 1}
    server.close()
    # The server ended because its connection was closed or because it was killed, and not because of the signals above.
    assert process.returncode in (0, -signal.SIGKILL)
    server.close()


def test_killed_server_is_started_again_and_its_jobs_continue():
    server = ForkServer({}, ())
    pid, connection = server.start(0, 1, 2, go_on)
    first = server._process
    assert first is not None
    first.kill()
    first.wait()
    _, second = server.start(1, 1, 2, go_on)
    assert server._process is not first
    os.kill(pid, 0)  # the job of the first server continues
    assert server.polls
    second.close()
    assert ends(server, 1) == [ProcessEnd(1, 1, peak=ANY)]
    connection.close()  # now the job ends, and no server reports it
    until = time.monotonic() + 120
    while not (process_ends := server.ended()):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert process_ends == [ProcessEnd(0, None)]
    server.close()


def test_suspended_server_is_continued():
    server = ForkServer({}, ())
    _, first = server.start(0, 1, 2, go_on)
    assert server._process is not None
    until = time.monotonic() + 60
    server._process.send_signal(signal.SIGSTOP)
    _, second = server.start(1, 1, 2, lambda: time.monotonic() > until)
    server._process.send_signal(signal.SIGSTOP)
    first.close()
    second.close()
    process_ends = []
    while len(process_ends) < 2 and time.monotonic() < until:
        process_ends += server.ended()
        time.sleep(0.02)
    assert {ended.serial for ended in process_ends} == {0, 1}
    server.close()


def test_stopped_sweep_does_not_wait_for_the_start_of_a_process():
    server = ForkServer({}, ())
    server.start(0, 1, 2, go_on)[1].close()
    ends(server, 1)
    assert server._process is not None
    server._process.send_signal(signal.SIGSTOP)
    with pytest.raises(RunError, match="the job was not started, because the sweep was stopped"):
        server.start(1, 1, 2, lambda: True)
    server.close()


def test_a_server_that_cannot_start_is_reported(monkeypatch):
    server = ForkServer({}, ())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RunError, match="the process that starts the jobs ended with exit code 1"):
        server.start(0, 1, 2, go_on)
    server.close()


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="only Linux uses the fork server")
def test_sweeps_with_the_same_environment_variables_share_one_server(monkeypatch):
    monkeypatch.setattr(ForkServer, "_shared", None)
    first = make_starter({"OMP_NUM_THREADS": "2"})
    assert make_starter({"OMP_NUM_THREADS": "2"}) is first
    assert make_starter({"OMP_NUM_THREADS": "3"}) is not first


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="only Linux uses the fork server")
def test_jobs_are_not_forked_on_macos_and_windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(make_starter({}), Spawner)


def test_relative_entries_of_the_import_path_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "lib", "/usr/lib/x"])
    assert import_path() == [str(tmp_path), str(tmp_path / "lib"), "/usr/lib/x"]


def test_signal_without_a_name_is_shown_by_its_number():
    assert signal_name(15) == "SIGTERM"
    assert signal_name(40) == "signal 40"
