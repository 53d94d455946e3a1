"""Preempt a job under submitit's local executor, which restarts jobs as Slurm does."""

import os
import signal

import pytest
from real_sweeps import assert_resumed_bitwise, process_of, until

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs hydra-submitit-launcher")

LONG = ("max_duration=200ba", "checkpoint.interval=20ba", "seed=0")


def test_a_preempted_job_continues_automatically_to_the_same_weights(lab):
    lab.slow.touch()
    sweep = lab.start("launcher=submitit_local", *LONG)
    os.kill(until(lambda: process_of(lab.study / "0"), "a checkpoint", sweep), signal.SIGUSR2)
    assert_resumed_bitwise(lab, sweep, *LONG)
