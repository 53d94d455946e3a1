"""A callback for tests of sweeps, which records the starts of jobs, kills a job, or lets jobs wait.

The tests set ``trust=[sweep_lab]``, as for a user's module. Environment variables control the callback, because they
are not part of a job's config.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


class Poison:
    """Write the seed of each started job to the file ``SWEEP_STARTS``, and kill the process of some jobs.

    With ``SWEEP_POISON=3:always`` the callback kills each process with seed 3; ``3:once`` kills only the first. With
    ``SWEEP_HELD=7:FILE`` all jobs after the first 7 started jobs wait until the file is removed.
    """

    def fit_start(self, trainer: Any) -> None:
        """Called when training starts."""
        seed = trainer.config["seed"]
        starts = Path(os.environ["SWEEP_STARTS"])
        with starts.open("a") as file:
            file.write(f"{seed}\n")
        before, _, hold_path = os.environ.get("SWEEP_HELD", "").partition(":")
        until = time.monotonic() + 600  # limits the wait if the test has ended
        while hold_path and len(starts.read_text().split()) > int(before) and Path(hold_path).exists():
            if time.monotonic() > until:
                raise TimeoutError(hold_path)
            time.sleep(0.01)
        which, _, how = os.environ.get("SWEEP_POISON", ":").partition(":")
        if which != str(seed):
            return
        if how == "always" or starts.read_text().split().count(which) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
