import os
import signal
import sys
import threading
import time

import pytest

from ssr_hydra.trainer.interrupts import STOP_SIGNALS, TERMINATIONS, StopRequest, TerminatedError, reason, terminable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to a process of Windows")


@pytest.fixture(autouse=True)
def _handlers_are_restored():
    """Give SIGHUP its default action, because ``nohup pytest`` ignores it. Restore all handlers after the test."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR2, 140), (signal.SIGHUP, 129)])
def test_signal_raises_one_error_and_restores_the_previous_handler(number, code):
    with pytest.raises(TerminatedError) as info, terminable():
        try:
            os.kill(os.getpid(), number)
            signal.sigtimedwait([], 1)
        finally:
            os.kill(os.getpid(), number)  # as if it came while the record is written
    assert (reason(info.value), info.value.exit_code) == (f"terminated by {number.name}", code)
    assert signal.getsignal(number) is signal.SIG_DFL


def test_handler_of_another_library_stays_installed():
    signals = []

    def theirs(number, frame):
        signals.append(number)

    signal.signal(signal.SIGTERM, theirs)
    with terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is theirs
    assert signals == [signal.SIGTERM]


@pytest.mark.parametrize("block", [terminable, StopRequest])
def test_outside_of_the_main_thread_no_handler_is_installed(block):
    handlers = []

    def work():
        with block():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.SIG_DFL]


# ---- a request to stop, which training checks between two batches


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (signal.SIGTERM, TerminatedError, "terminated by SIGTERM, with a checkpoint"),
        (signal.SIGUSR2, TerminatedError, "terminated by SIGUSR2, with a checkpoint"),
        (signal.SIGHUP, TerminatedError, "terminated by SIGHUP, with a checkpoint"),
        (signal.SIGINT, KeyboardInterrupt, "interrupted, with a checkpoint"),
    ],
)
def test_signal_is_stored_until_it_is_checked(number, error, words):
    before = signal.getsignal(number)
    with pytest.raises(error) as info, StopRequest() as stop:
        assert stop.number == 0
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGUSR2 if number != signal.SIGUSR2 else signal.SIGTERM)
        assert stop.number == number  # the first signal is the reason
        stop.leave(", with a checkpoint")
    assert str(info.value) == words
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_an_earlier_signal_stops_the_run_immediately(first):
    messages = []
    with StopRequest(messages.append) as stop:
        os.kill(os.getpid(), first)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == first
    announced = ["stopping after this batch, with a checkpoint; ctrl-C again stops immediately"]
    assert messages == (announced if first == signal.SIGINT else [])


def test_signal_during_a_print_is_not_lost():
    def printing(text):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    with StopRequest(printing) as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == signal.SIGINT


def test_ctrl_c_that_torchrun_repeats_is_counted_once(monkeypatch):
    """Two signals within two seconds are one ctrl-C. A signal after two seconds is a second ctrl-C."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        now[0] += 0.5
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == signal.SIGINT
        now[0] += 2.0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signal_handler_of_a_launcher_is_called_when_the_run_ends():
    signals = []
    signal.signal(signal.SIGUSR2, lambda number, frame: signals.append(number))
    with pytest.raises(TerminatedError), StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert signals == []
        stop.leave()
    assert signals == [signal.SIGUSR2]


def test_handlers_of_the_job_are_replaced_temporarily():
    with terminable():
        ours = {number: signal.getsignal(number) for number in TERMINATIONS}
        for number in ours:
            with pytest.raises(TerminatedError) as info, StopRequest() as stop:
                os.kill(os.getpid(), number)
                assert stop.number == number
                stop.leave("!")
            assert str(info.value).endswith("!")
            assert {number: signal.getsignal(number) for number in ours} == ours


@pytest.mark.parametrize("number", STOP_SIGNALS)  # e.g. `nohup` ignores SIGHUP
def test_ignored_signals_stay_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.number == 0


@pytest.mark.parametrize("trains", [False, True])
def test_reason_of_a_requeueing_signal_says_that_the_job_is_queued_again(trains):
    def put_back(number, frame):
        sys.exit(144)

    signal.signal(signal.SIGUSR2, put_back)
    with pytest.raises(SystemExit) as info, terminable():
        if trains:  # the step is completed first
            with StopRequest() as stop:
                os.kill(os.getpid(), signal.SIGUSR2)
                stop.leave(", with a checkpoint at batch 7")
        os.kill(os.getpid(), signal.SIGUSR2)
    assert info.value.code == 144  # the launcher recognizes this code
    after = ", with a checkpoint at batch 7" if trains else ""
    assert reason(info.value) == f"terminated by SIGUSR2{after}; the job is back in the queue"
    assert signal.getsignal(signal.SIGUSR2) is put_back
    assert (reason(SystemExit(3)), reason(SystemExit())) == ("SystemExit: 3", "SystemExit")
