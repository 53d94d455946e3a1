"""The cores and GPUs of each worker, and the number of jobs that run at a time."""

import os

import pytest
from omegaconf import OmegaConf

from ssr_hydra.errors import InputError
from ssr_hydra.machine import cores
from ssr_hydra.sweeps.launchers import processes, resources
from ssr_hydra.sweeps.launchers.processes import ProcessLauncher
from ssr_hydra.sweeps.launchers.resources import (
    THREADS,
    assign,
    gpus_per_job,
    jobs_at_once,
    register_resolvers,
    visible_gpus,
)

NOBODY = None


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch):
    for module in (resources, processes):
        monkeypatch.setattr(module, "cores", lambda: 8)
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")  # no nvidia-smi


def seen(places):
    return [place.get("CUDA_VISIBLE_DEVICES") for place in places]


@pytest.mark.parametrize(
    ("workers", "threads", "inherited", "expected"),
    [
        (1, None, None, [None]),
        (1, 3, None, ["3"]),
        (3, None, None, ["2"] * 3),  # 8 // 3
        (16, None, None, ["1"] * 16),  # never zero
        (2, None, 6, [None] * 2),  # the jobs inherit the variable
        (2, 3, 6, ["3"] * 2),
        (None, None, None, ["1"] * 8),
        (None, 3, None, ["3"] * 2),
        (None, 9, None, ["9"]),
    ],
)
def test_cores_are_divided_among_workers(monkeypatch, workers, threads, inherited, expected):
    if inherited is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", str(inherited))
    places = assign(workers, threads, "none")
    assert [place.get("OMP_NUM_THREADS") for place in places] == expected
    assert all(len({place.get(name) for name in THREADS}) == 1 for place in places)


def test_each_worker_has_its_gpus(monkeypatch):
    assert seen(assign(2, 1, [4, "GPU-5a-b", 7])) == ["4", "GPU-5a-b"]
    for workers in (2, None):
        assert seen(assign(workers, 1, [0, 1, 2, 3, 4], 2)) == ["0,1", "2,3"]
    # There is one job for each GPU, and the jobs divide the cores.
    assert [place["OMP_NUM_THREADS"] for place in assign(None, None, [0, 1])] == ["4", "4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert seen(assign(None, 1, "auto")) == ["3", "1"]
    assert seen(assign(2, 1, "none")) == seen(assign(2, 1, None)) == [None, None]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (" 2 , 3 ", ["2", "3"]),
        ("", []),
        ("0,-1,1", ["0"]),  # as CUDA interprets it
        ("GPU-8932f937-d72c,MIG-1a/2/3", ["GPU-8932f937-d72c", "MIG-1a/2/3"]),
    ],
)
def test_cuda_visible_devices_sets_the_visible_gpus(monkeypatch, visible, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers=0: must be a whole number of at least 1; write e.g. 1"),
        ({"threads": -1}, "threads=-1: must be a whole number"),
        ({"gpus_per_job": None}, "gpus_per_job=None: must be a whole number"),
        (
            {"gpus_per_job": 2, "gpus": "none"},
            "gpus_per_job=2: must be at most the number of GPUs, but there are no GPUs; set gpus_per_job=1",
        ),
        ({"gpus": "all"}, "gpus='all': must be auto, none or a list"),
        ({"gpus": []}, "gpus=[]: must be auto, none or a list"),
        ({"gpus": [0, -1]}, "gpus=-1: must be the index or the UUID of a GPU"),
        ({"gpus": [True]}, "gpus=True: must be the index"),
        ({"gpus": [1, "1"]}, "gpus='1,1': must name each GPU once"),
        (
            {"gpus": [0, 1], "workers": 3},
            "workers=3: needs too many GPUs: there are 2 GPUs, and each running job needs 1; set workers=2, or",
        ),
        (
            {"gpus": [0], "gpus_per_job": 2},
            "gpus_per_job=2: must be at most the number of GPUs, but there is 1 GPU; set gpus_per_job=1",
        ),
    ],
)
def test_invalid_workers_or_threads_or_gpus_are_refused(settings, message):
    with pytest.raises(InputError) as caught:
        assign(**settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("text", "expected"), [("max 100000\n", None), ("50000 100000\n", 1), ("odd", None)])
def test_cpu_limit_of_a_container_is_used(tmp_path, text, expected):
    (tmp_path / "cpu.max").write_text(text)
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cores(tmp_path) == (expected or bound)
    assert cores(tmp_path / "nowhere") == bound


@pytest.mark.parametrize(
    ("device", "visible", "per_job"),
    [("auto", "0,1", 1), ("cuda:1", "0,1", 1), (None, "0", 1), ("cpu", "0,1", 0), ("mps", "0,1", 0), ("cuda", "-1", 0)],
)
def test_job_needs_a_gpu_only_if_it_would_use_one(monkeypatch, device, visible, per_job):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_per_job(device) == per_job
    # Jobs that would all use the same GPU run one after the other.
    assert [jobs_at_once(threads, device) for threads in (1, 3, 16, None)] == ([1] * 4 if per_job else [8, 2, 1, 1])


def test_launcher_resolvers_use_threads_and_device_of_the_config():
    register_resolvers()
    register_resolvers()
    trainer = {"threads": 4, "device": "cpu"}
    node = {"n_jobs": "${jobs_at_once:${trainer.threads},${trainer.device}}", "gpus": "${gpus_per_job:cpu}"}
    cfg = OmegaConf.create({"trainer": trainer, **node})
    assert (cfg.n_jobs, cfg.gpus) == (2, 0)
    cfg.trainer.threads = None
    assert cfg.n_jobs == 1


@pytest.mark.parametrize(
    ("trainer", "settings", "expected"),
    [
        ({"device": "cpu", "threads": 3}, {}, 2),  # 8 // 3
        ({"device": "cpu", "threads": None}, {}, 1),  # each job takes all cores
        ({"device": "cpu", "threads": None}, {"threads": 2}, 4),
        ({"device": "auto", "threads": 1}, {}, 3),  # one for each GPU
        ({"device": "cuda", "threads": 1}, {"gpus_per_job": 2}, 1),
        ({"device": "auto", "threads": 1}, {"gpus": "none"}, 8),
        ({"device": "auto", "threads": 1}, {"gpus": [0, 2]}, 2),
        ({"device": "cpu", "threads": None}, {"OMP_NUM_THREADS": "4"}, 2),
    ],
)
def test_number_of_jobs_at_a_time_follows_from_the_gpus_and_threads(monkeypatch, trainer, settings, expected):
    for module in (resources, processes):
        monkeypatch.setattr(module, "visible_gpus", lambda *_: ["0", "1", "2"])
    if "OMP_NUM_THREADS" in settings:
        monkeypatch.setenv("OMP_NUM_THREADS", settings["OMP_NUM_THREADS"])
        settings = {}
    launcher = ProcessLauncher(**settings)
    launcher.setup(hydra_context=NOBODY, task_function=NOBODY, config=OmegaConf.create({"trainer": trainer}))
    assert len(launcher._places) == expected
