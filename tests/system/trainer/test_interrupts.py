"""Signals to forked processes."""

from __future__ import annotations

import signal
from pathlib import Path

from warm import warm


def test_signal_ends_a_forked_worker_that_has_inherited_the_handler(tmp_path: Path) -> None:
    code = """
import os, signal, time
from ssr_hydra.trainer.interrupts import terminable
ready, tell = os.pipe()
with terminable():
    child = os.fork()
    if child == 0:
        os.write(tell, b"x")  # Python loses a signal that comes during the fork
        for _ in range(6000):
            time.sleep(0.05)  # Python runs a handler between two calls, so one long sleep may delay it
        os._exit(1)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    print(os.waitpid(child, 0)[1])
"""
    process = warm.run("-c", code, cwd=tmp_path)
    assert (process.stdout.strip(), process.stderr) == (str(int(signal.SIGTERM)), "")
