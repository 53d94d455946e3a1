"""How many jobs the launcher of this project runs at a time when nobody says so."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from ssr_hydra.sweeps.launchers import devices, processes
from ssr_hydra.sweeps.launchers.processes import ProcessLauncher

NOBODY: Any = None


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores and three GPUs."""
    for module in (devices, processes):
        monkeypatch.setattr(module, "cores", lambda: 8)
        monkeypatch.setattr(module, "visible_gpus", lambda *_: ["0", "1", "2"])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def set_up(trainer: dict[str, Any], **settings: Any) -> tuple[int, int]:
    """How many jobs run at a time, and how many would fit."""
    made = ProcessLauncher(**settings)
    made.setup(hydra_context=NOBODY, task_function=NOBODY, config=OmegaConf.create({"trainer": trainer}))
    return len(made._places), made._fitting


@pytest.mark.parametrize(
    ("trainer", "settings", "expected"),
    [
        ({"device": "cpu", "threads": 1}, {}, (8, 8)),
        ({"device": "cpu", "threads": 3}, {}, (2, 2)),  # 8 // 3
        ({"device": "cpu", "threads": 16}, {}, (1, 1)),
        ({"device": "cpu", "threads": None}, {}, (1, 1)),  # each job takes all cores
        ({"device": "cpu", "threads": None}, {"threads": 2}, (4, 4)),
        ({"device": "cpu", "threads": 1}, {"workers": 1}, (1, 8)),
        ({"device": "auto", "threads": 1}, {}, (3, 3)),  # one for each GPU
        ({"device": "cuda", "threads": 1}, {"gpus_per_job": 2}, (1, 1)),
        ({"device": "auto", "threads": 1}, {"gpus": "none"}, (8, 8)),
        ({"device": "auto", "threads": 1}, {"gpus": [0, 2]}, (2, 2)),
    ],
)
def test_as_many_jobs_as_fit(trainer: dict[str, Any], settings: dict[str, Any], expected: tuple[int, int]) -> None:
    assert set_up(trainer, **settings) == expected


def test_environment_says_how_many_threads_a_job_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert set_up({"device": "cpu", "threads": None}) == (2, 2)
