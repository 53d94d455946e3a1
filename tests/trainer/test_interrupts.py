from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

import pytest

from ssr_hydra.trainer.interrupts import TerminatedError, reason, terminable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to a process of Windows")


def test_sigterm_raises_once_and_the_former_handler_is_back() -> None:
    with pytest.raises(TerminatedError) as info, terminable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 1)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # while the record is written
    assert reason(info.value) == "terminated by SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_somebody_else_stays() -> None:
    seen: list[int] = []

    def theirs(number: int, frame: FrameType | None) -> None:
        seen.append(number)

    signal.signal(signal.SIGTERM, theirs)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is theirs
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_outside_of_the_main_thread_nothing_is_installed() -> None:
    handlers: list[object] = []

    def work() -> None:
        with terminable():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.SIG_DFL]


def test_a_forked_worker_ends_as_it_would_without() -> None:
    code = """
import os, signal, time
from ssr_hydra.trainer.interrupts import terminable
ready, tell = os.pipe()
with terminable():
    child = os.fork()
    if child == 0:
        os.write(tell, b"x")  # a signal during the fork itself is lost on Python
        time.sleep(20)
        os._exit(1)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    print(os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout.strip(), done.stderr) == (str(int(signal.SIGTERM)), "")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ZeroDivisionError("in the model"), "ZeroDivisionError: in the model"),
        (SystemExit(), "SystemExit"),
        (KeyboardInterrupt(), "KeyboardInterrupt: interrupted"),
    ],
)
def test_reasons(error: BaseException, text: str) -> None:
    assert reason(error) == text
