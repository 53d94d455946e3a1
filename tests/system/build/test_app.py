"""The app in a process of its own."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from ssr_hydra import records


def test_a_full_disk_in_a_process(in_tmp: Path) -> None:
    """Files may hold 8 KiB: enough for what Hydra writes, and too little for the log of the metrics."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    command = [sys.executable, "-m", "ssr_hydra", "max_duration=200ba", "trainer.log_interval=1ba", "hydra.run.dir=run"]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, preexec_fn=limit, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "metrics.jsonl" in done.stderr
    assert records.RunResult.load(in_tmp / "run").status == "failed"
