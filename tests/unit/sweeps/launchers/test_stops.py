"""Signals that are stored until the sweep checks them."""

import os
import select
import signal
import threading

import pytest

from ssr_hydra.sweeps.launchers.stops import Stops
from ssr_hydra.trainer.interrupts import TerminatedError, terminable


def test_signals_are_kept_in_order_and_the_handlers_are_restored():
    numbers = signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGTSTP
    before = list(map(signal.getsignal, numbers))
    with Stops() as stops:
        assert (stops.take(), stops.first) == ([], 0)
        assert not select.select([stops.waitable], [], [], 0)[0]
        for number in (signal.SIGTSTP, signal.SIGUSR2, signal.SIGINT, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert select.select([stops.waitable], [], [], 120)[0]
        assert stops.take() == [signal.SIGTSTP, signal.SIGUSR2, signal.SIGINT, signal.SIGINT]
        assert (stops.first, stops.interrupts) == (signal.SIGUSR2, 2)  # ctrl-Z does not ask the sweep to stop
        assert not select.select([stops.waitable], [], [], 0)[0]
    assert list(map(signal.getsignal, numbers)) == before


def test_signal_wakes_up_a_waiting_sweep():
    with Stops() as stops:
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        assert select.select([stops.waitable], [], [], 120)[0]
        timer.join()
        assert stops.take() == [signal.SIGTERM]


def test_stopped_sweep_raises_the_error_of_its_signal():
    stops = Stops()
    stops.leave("")
    for number, kind, text in (
        (signal.SIGINT, KeyboardInterrupt, "interrupted"),
        (signal.SIGTERM, TerminatedError, "terminated by SIGTERM"),
    ):
        stops.first = number
        with pytest.raises(kind, match=f"^{text}, done$"):
            stops.leave(", done")


def test_signal_handlers_that_other_code_installed_stay_installed():
    signals = []
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    try:
        with Stops() as stops:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stops.take() == []
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signals == [signal.SIGTERM]


def test_handler_of_a_job_is_replaced_temporarily():
    with terminable():
        with Stops() as stops:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stops.take() == [signal.SIGTERM]
        with pytest.raises(TerminatedError):
            os.kill(os.getpid(), signal.SIGTERM)


def test_no_signal_is_handled_outside_the_main_thread():
    outcomes = []

    def look():
        with Stops() as stops:
            outcomes.append((stops.take(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert outcomes == [([], signal.default_int_handler)]
