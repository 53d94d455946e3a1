"""Start real sweeps with a launcher in separate processes, kill or stop their jobs, and check the results.

The sweeps use callbacks of this module and of ``sweep_lab``, which slow a job down or kill its process. Environment
variables control the callbacks, because they are not part of a job's config.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from checkout import REPO
from cli_helpers import Answer
from warm import Process, warm

from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Pulse, is_alive

SECONDS = 900
TWELVE = tuple(range(12))
_QUIET = ("trainer.progress=none", "study_report=false", "study_code=any")


class Slow:
    """Slow down each batch while the file ``LAB_SLOW`` exists, and wait while a file ``held`` exists next to it.

    Later batches are slower, so that the run does not end before the test disturbs it.
    """

    def batch_end(self, trainer: Any, loss: Any) -> None:
        """Called after each step."""
        slow = Path(os.environ["LAB_SLOW"])
        if slow.exists():
            time.sleep(0.1 if trainer.state.timestamp.batch.value <= 40 else 2)
        hold_file, until = slow.with_name("held"), time.monotonic() + SECONDS
        if hold_file.exists():
            slow.with_name("holds").touch()
        while hold_file.exists() and time.monotonic() < until:
            time.sleep(0.01)


class Lab:
    """Sweeps of the study ``s``.

    Args:
        folder: The working directory of the sweeps.
        nested: True if the launcher may start its processes from the warm server.
    """

    def __init__(self, folder: Path, nested: bool = True) -> None:
        self.folder, self.nested = folder, nested
        self.study = folder / "studies" / "s"
        self.slow = folder / "slow"
        self.held, self.holds = folder / "held", folder / "holds"
        self.starts = folder / "starts"
        self.starts.touch()
        self._running: list[Process] = []

    def start(self, *arguments: str, poison: str = "", held: str = "", **settings: Any) -> Process:
        """Start a sweep. See ``sweep_lab`` for ``poison`` and ``held``."""
        trusted = ["+callbacks.poison._target_=sweep_lab.Poison", "trust=[sweep_lab,real_sweeps]"]
        slow = ["+callbacks.slow._target_=real_sweeps.Slow"]
        environment = {"SWEEP_POISON": poison, "SWEEP_HELD": held}
        process = self._popen(environment, "-m", "study=s", *_QUIET, *trusted, *slow, *arguments, **settings)
        self._running.append(process)
        return process

    def _popen(self, environment: dict[str, str], *arguments: str, **settings: Any) -> Process:
        environment = {
            **environment,
            "SWEEP_STARTS": str(self.starts),
            "LAB_SLOW": str(self.slow),
            "RAY_USAGE_STATS_ENABLED": "0",
            # With a limit on the size of files, Python would write incomplete bytecode, which cannot be imported.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        settings = {"cwd": self.folder, "env": environment, "nested": self.nested, **settings}
        return warm.start(str(REPO / "train.py"), *arguments, **settings)

    def sweep(self, *arguments: str, poison: str = "", **settings: Any) -> Answer:
        """Start a sweep and wait for its end."""
        return ended(self.start(*arguments, poison=poison, **settings))

    def close(self) -> None:
        """End the processes of a failed test."""
        for process in self._running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.communicate(timeout=120)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()

    def records(self) -> dict[int, RunResult]:
        """Return the record of each job by its seed."""
        results = [RunResult.load(path) for path in sorted(self.study.glob("*/result.json"))]
        by_seed = {record.seed: record for record in results if record.seed is not None}
        assert len(by_seed) == len(results)
        return by_seed

    def completed(self) -> list[int]:
        """Return the seeds of the completed jobs."""
        return sorted(seed for seed, record in self.records().items() if record.status == "completed")

    def started(self) -> list[int]:
        """Return the seeds of the started jobs in their order."""
        return list(map(int, self.starts.read_text().split()))

    def weights(self, job: str = "0", steps: int = 200) -> dict[str, torch.Tensor]:
        """Return the final weights of a job."""
        return final_weights(self.study / job, steps)

    def uninterrupted(self, *arguments: str, steps: int = 200) -> dict[str, torch.Tensor]:
        """Return the final weights of the same run without a sweep and without interruption."""
        slow = ["+callbacks.slow._target_=real_sweeps.Slow", "trust=[real_sweeps]"]
        answer = ended(self._popen({}, "hydra.run.dir=alone", "trainer.progress=none", *slow, *arguments))
        assert answer.code == 0, answer.err
        return final_weights(self.folder / "alone", steps)


def ended(process: Process) -> Answer:
    """Wait for the process."""
    out, err = process.communicate(timeout=SECONDS)
    return Answer(process.wait(), out, err)


def final_weights(folder: Path, steps: int) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "checkpoints" / f"ba{steps}" / "state.pt", weights_only=True)
    model: dict[str, torch.Tensor] = state["model"]
    assert model
    return model


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Check that weights are bitwise equal."""
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def assert_resumed_bitwise(lab: Lab, sweep: Process, *arguments: str) -> None:
    """After SIGUSR2, check that job 0 stops with a checkpoint, continues automatically, and has the same weights."""
    until(lambda: (lab.study / "0" / "result.json").exists(), "the record of the stopped job", sweep)
    lab.slow.unlink()
    answer = ended(sweep)
    assert answer.code == 0, answer.err
    assert lab.records()[0].resumes == 1
    # The job wrote a checkpoint when it stopped, so no step is repeated.
    (batch,) = resumes(lab.study / "0")
    assert f"terminated by SIGUSR2, with a checkpoint at batch {batch}" in (lab.study / "0/train.log").read_text()
    assert_same(lab.weights(), lab.uninterrupted(*arguments))


def until(condition: Callable[[], Any], what: str, process: Process | None = None) -> Any:
    """Wait until a condition is true. ``what`` names the condition in errors."""
    for _ in range(SECONDS * 5):
        if value := condition():
            return value
        if process is not None and process.poll() is not None:
            out, err = process.communicate()
            raise AssertionError(f"the sweep ended before {what}:\n{out}\n{err}")
        time.sleep(0.2)
    raise AssertionError(f"never: {what}")


def process_of(job: Path) -> int:
    """Return the process id of a running job that has written a checkpoint; 0 if there is no such process."""
    pulse = Pulse.read(job / HEARTBEAT)
    if pulse is None or not is_alive(job / HEARTBEAT) or not any(job.glob("checkpoints/ba*/state.pt")):
        return 0
    return pulse.pid


def resumes(job: Path) -> list[int]:
    """Return the batches at which a job was resumed."""
    lines = [json.loads(line) for line in (job / "metrics.jsonl").read_text().splitlines()]
    return [line["batch"] for line in lines if line["event"] == "resume"]


def assert_one_failed(answer: Answer, lab: Lab, victim: int, seeds: tuple[int, ...] = TWELVE) -> None:
    """Check that all jobs except one completed, and that the sweep reports the failed job and the reason."""
    assert answer.code == 1, answer.err
    assert lab.completed() == sorted(set(seeds) - {victim}), answer.err
    # The first start and three retries.
    counts = {seed: lab.started().count(seed) for seed in seeds}
    assert counts[victim] == 4, answer.err
    last = [line for line in answer.err.splitlines() if line.startswith("error: ")][-1]
    assert f"1 of {len(seeds)} jobs did not complete: {victim} (seed={victim})" in last
    assert "4 times" in last
    row = next(line for line in answer.out.splitlines() if line.split()[:2] == [str(victim), str(victim)])  # job, seed
    assert "failed" in row
    assert "4 times" in row
