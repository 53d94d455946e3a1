"""Cores and GPUs of each worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ssr_hydra.errors import InputError
from ssr_hydra.machine import cores
from ssr_hydra.sweeps.launchers import devices
from ssr_hydra.sweeps.launchers.devices import THREADS, assign, visible_gpus


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores."""
    monkeypatch.setattr(devices, "cores", lambda: 8)


def seen(places: list[dict[str, str]]) -> list[str | None]:
    return [place.get("CUDA_VISIBLE_DEVICES") for place in places]


def threads(places: list[dict[str, str]]) -> list[str | None]:
    assert all(len({place.get(name) for name in THREADS}) == 1 for place in places)
    return [place.get("OMP_NUM_THREADS") for place in places]


def test_one_worker_is_left_as_it_is() -> None:
    assert assign(environment={"CUDA_VISIBLE_DEVICES": ""}) == [{}]


@pytest.mark.parametrize(
    ("workers", "given", "environment", "expected"),
    [
        (1, None, {}, [None]),
        (1, 3, {}, ["3"]),
        (2, None, {}, ["4"] * 2),
        (3, None, {}, ["2"] * 3),  # 8 // 3
        (16, None, {}, ["1"] * 16),  # never none
        (2, None, {"OMP_NUM_THREADS": "6"}, [None] * 2),  # theirs, which the jobs have anyway
        (2, 3, {"OMP_NUM_THREADS": "6"}, ["3"] * 2),
        (None, None, {}, ["1"] * 8),
        (None, 3, {}, ["3"] * 2),
        (None, 9, {}, ["9"]),
    ],
)
def test_cores_are_shared(
    eight: None, workers: int | None, given: int | None, environment: dict[str, str], expected: list[str | None]
) -> None:
    assert threads(assign(workers, given, "none", environment=environment)) == expected


def test_each_worker_has_its_gpus() -> None:
    assert seen(assign(2, 1, [0, 1], environment={})) == ["0", "1"]
    assert seen(assign(2, 1, [4, "GPU-5a-b", 7], environment={})) == ["4", "GPU-5a-b"]
    assert seen(assign(2, 1, [0, 1, 2, 3, 4], 2, {})) == ["0,1", "2,3"]
    assert seen(assign(None, 1, [0, 1, 2, 3, 4], 2, {})) == ["0,1", "2,3"]
    assert seen(assign(None, 1, "auto", environment={"CUDA_VISIBLE_DEVICES": "3,1"})) == ["3", "1"]
    assert seen(assign(2, 1, "none", environment={"CUDA_VISIBLE_DEVICES": "3,1"})) == [None, None]
    assert seen(assign(2, 1, None, environment={"CUDA_VISIBLE_DEVICES": "3,1"})) == [None, None]


def test_with_gpus_the_cores_are_shared_by_as_many_jobs_as_there_are_gpus(eight: None) -> None:
    assert threads(assign(None, None, [0, 1], environment={})) == ["4", "4"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2,3", ["2", "3"]),
        (" 0 , 1 ", ["0", "1"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),  # as CUDA reads it
        ("GPU-8932f937-d72c,MIG-1a/2/3", ["GPU-8932f937-d72c", "MIG-1a/2/3"]),
    ],
)
def test_the_variable_says_what_is_visible(said: str, expected: list[str]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": said, "PATH": ""}) == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": 0}, "workers=0: must be a whole number of at least 1; write e.g. 1"),
        ({"workers": True}, "workers=True: must be a whole number"),
        ({"workers": 1.5}, "workers=1.5: must be a whole number"),
        ({"threads": -1}, "threads=-1: must be a whole number"),
        ({"gpus_per_job": None}, "gpus_per_job=None: must be a whole number"),
        ({"gpus_per_job": 2, "gpus": "none"}, "gpus_per_job=2: there are no GPUs; use 1"),
        ({"gpus": "all"}, "gpus='all': must be auto, none or a list"),
        ({"gpus": []}, "gpus=[]: must be auto, none or a list"),
        ({"gpus": 2}, "gpus=2: must be auto, none or a list"),
        ({"gpus": [0, -1]}, "gpus=-1: is no number or identity of a GPU"),
        ({"gpus": ["0,1"]}, "gpus='0,1': is no number or identity of a GPU"),
        ({"gpus": [True]}, "gpus=True: is no number"),
        ({"gpus": [1, "1"]}, "gpus='1,1': names a GPU twice"),
        (
            {"gpus": [0, 1], "workers": 3},
            "workers=3: there are 2 GPUs, and each job that runs has 1 of its own; use workers=2, or gpus=",
        ),
        ({"gpus": [0], "gpus_per_job": 2}, "gpus_per_job=2: there is 1 GPU; use 1"),
    ],
)
def test_invalid_values_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        assign(**settings, environment={"PATH": ""})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("said", "expected"),
    [("max 100000\n", None), ("100000 100000\n", 1), ("50000 100000\n", 1), ("1000000000 1000\n", None), ("odd", None)],
)
def test_a_containers_share_counts(tmp_path: Path, said: str, expected: int | None) -> None:
    (tmp_path / "cpu.max").write_text(said)
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cores(tmp_path) == (expected or bound)
    assert cores(tmp_path / "nowhere") == bound
