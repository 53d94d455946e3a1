"""Kill a real sweep under joblib."""

import psutil
import pytest
from real_sweeps import until

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs hydra-joblib-launcher")


def test_workers_end_within_seconds_when_the_sweep_is_killed(lab):
    # With three workers for two jobs, one worker is idle. An idle worker of joblib waits for five minutes.
    arguments = ("launcher=joblib", "hydra.launcher.n_jobs=3", "seed=0,1", "max_duration=1h")
    sweep = lab.start(*arguments)
    until(lambda: len(list(lab.study.glob("*/metrics.jsonl"))) == 2, "two jobs that train", sweep)
    workers = psutil.Process(sweep.pid).children(recursive=True)
    assert len(workers) >= 3
    sweep.kill()
    sweep.communicate()
    _, left = psutil.wait_procs(workers, timeout=150)  # half of these five minutes
    assert left == []
    for record in lab.records().values():
        assert record.status == "stopped"
        assert str(record.error).startswith("terminated by SIGTERM, with a checkpoint at batch ")
