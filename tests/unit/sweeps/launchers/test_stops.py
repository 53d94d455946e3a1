"""Signals that are kept until somebody looks."""

from __future__ import annotations

import os
import select
import signal
import threading

import pytest

from ssr_hydra.sweeps.launchers.stops import Stops
from ssr_hydra.trainer.interrupts import TerminatedError, terminable


def test_signals_are_kept_in_order_and_the_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGTSTP)]
    with Stops() as stops:
        assert (stops.take(), stops.first) == ([], 0)
        assert not select.select(stops.waitables(), [], [], 0)[0]
        for number in (signal.SIGTSTP, signal.SIGUSR2, signal.SIGINT, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert select.select(stops.waitables(), [], [], 120)[0]
        assert stops.take() == [signal.SIGTSTP, signal.SIGUSR2, signal.SIGINT, signal.SIGINT]
        assert (stops.first, stops.interrupts) == (signal.SIGUSR2, 2)  # ctrl-Z does not ask to stop
        assert not select.select(stops.waitables(), [], [], 0)[0]
    assert before == [
        signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2, signal.SIGTSTP)
    ]


def test_who_waits_wakes_up_for_a_signal() -> None:
    with Stops() as stops:
        timer = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        assert select.select(stops.waitables(), [], [], 120)[0]
        timer.join()
        assert stops.take() == [signal.SIGTERM]


def test_leaving_says_which_signal_it_was() -> None:
    stops = Stops()
    stops.leave("")
    stops.first = signal.SIGINT
    with pytest.raises(KeyboardInterrupt, match="^interrupted, done$"):
        stops.leave(", done")
    stops.first = signal.SIGTERM
    with pytest.raises(TerminatedError, match="^terminated by SIGTERM, done$") as caught:
        stops.leave(", done")
    assert caught.value.exit_code == 143


def test_somebody_elses_handlers_stay() -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        with Stops() as stops:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stops.take() == []
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM]


def test_a_jobs_handler_is_taken_over_for_a_while() -> None:
    with terminable():
        with Stops() as stops:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stops.take() == [signal.SIGTERM]
        with pytest.raises(TerminatedError):
            os.kill(os.getpid(), signal.SIGTERM)


def test_outside_of_the_main_thread_nothing_is_taken() -> None:
    found = []

    def look() -> None:
        with Stops() as stops:
            found.append((stops.take(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [([], signal.default_int_handler)]
