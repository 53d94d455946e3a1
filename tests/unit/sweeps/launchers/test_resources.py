"""What presets ask of a machine."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from ssr_hydra.sweeps.launchers import resources
from ssr_hydra.sweeps.launchers.resources import gpus_per_job, jobs_at_once, register_resolvers


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.parametrize(("threads", "jobs"), [(1, 8), (2, 4), (3, 2), (8, 1), (16, 1), (None, 1)])
def test_cores_are_shared_among_jobs_of_so_many_threads(eight_cores: None, threads: int | None, jobs: int) -> None:
    assert jobs_at_once(threads) == jobs


@pytest.mark.parametrize(
    ("device", "visible", "per_job"),
    [
        ("auto", "0,1", 1),
        ("cuda", "0", 1),
        ("cuda:1", "0,1", 1),
        (None, "0", 1),
        ("cpu", "0,1", 0),
        ("mps", "0,1", 0),
        ("auto", "", 0),
        ("cuda", "-1", 0),
    ],
)
def test_a_job_needs_a_gpu_where_it_would_use_one(
    monkeypatch: pytest.MonkeyPatch, device: str | None, visible: str, per_job: int
) -> None:
    monkeypatch.setattr(resources, "cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_per_job(device) == per_job
    # Jobs that would all take the same GPU come one after the other.
    assert jobs_at_once(1, device) == (1 if per_job else 8)


def test_resolvers_read_the_experiment(eight_cores: None) -> None:
    register_resolvers()
    register_resolvers()
    trainer = {"threads": 4, "device": "cpu"}
    node = {"n_jobs": "${jobs_at_once:${trainer.threads},${trainer.device}}", "gpus": "${gpus_per_job:cpu}"}
    cfg = OmegaConf.create({"trainer": trainer, **node})
    assert (cfg.n_jobs, cfg.gpus) == (2, 0)
    cfg.trainer.threads = None
    assert cfg.n_jobs == 1
