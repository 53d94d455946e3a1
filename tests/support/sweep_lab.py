"""What the tests of sweeps trust: a job that notes its start, one that kills its own process, and one that waits.

Trusted by ``trust=[sweep_lab]``, as a person's own module is. What it does is said by the environment, which is no part
of a job's configuration.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


class Poison:
    """Notes each start of a job in the file ``SWEEP_STARTS``; ends the process of jobs that ``SWEEP_POISON`` names.

    ``SWEEP_POISON`` holds a job's seed and how: ``3:always``, ``3:once``. ``SWEEP_HELD`` says how many starts are free;
    each one after waits as long as a file is there: ``7:FILE``.
    """

    def fit_start(self, trainer: Any) -> None:
        """Called when training begins."""
        seed = trainer.config["seed"]
        starts = Path(os.environ["SWEEP_STARTS"])
        with starts.open("a") as file:
            file.write(f"{seed}\n")
        before, _, held = os.environ.get("SWEEP_HELD", "").partition(":")
        until = time.monotonic() + 600  # limits the wait if the test has ended
        while held and len(starts.read_text().split()) > int(before) and Path(held).exists():
            if time.monotonic() > until:
                raise TimeoutError(held)
            time.sleep(0.01)
        which, _, how = os.environ.get("SWEEP_POISON", ":").partition(":")
        if which != str(seed):
            return
        if how == "always" or starts.read_text().split().count(which) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
