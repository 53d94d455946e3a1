"""Divide the cores and GPUs of a machine between jobs, and register the resolvers of the launcher presets."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from ssr_hydra.errors import ConflictError, RangeError, UnknownNameError
from ssr_hydra.machine import cores
from ssr_hydra.settings.base import count

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Environment variables from which numerical libraries read their number of threads."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable that lists the GPUs that CUDA may use."""

_SECONDS = 60.0  # timeout of nvidia-smi, which may first have to start the driver
_IDENTITY = re.compile(r"\d+|(GPU|MIG)-[\w/-]+", re.ASCII)


def assign(
    workers: int | None = 1,
    threads: int | None = None,
    gpus: str | Sequence[int | str] | None = "auto",
    gpus_per_job: int = 1,
) -> list[dict[str, str]]:
    """Return the environment variables of each worker. A worker runs one job at a time. Workers do not share a GPU.

    See :class:`~ssr_hydra.sweeps.launchers.processes.ProcessLauncher` for the arguments. This function does not read
    ``trainer.threads``.

    Example:
        >>> for variables in assign(2, 3, [0, 1]):
        ...     print(variables["OMP_NUM_THREADS"], variables["CUDA_VISIBLE_DEVICES"])
        3 0
        3 1
    """
    count(gpus_per_job, "gpus_per_job")
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None:
            count(value, name)
    identities = _identities(gpus)
    there = "there is 1 GPU" if len(identities) == 1 else f"there are {len(identities) or 'no'} GPUs"
    most = max(1, len(identities))
    if gpus_per_job > most:
        rule = f"must be at most the number of GPUs, but {there}"
        raise RangeError("gpus_per_job", gpus_per_job, rule, f"set gpus_per_job={most}")
    if workers is None:
        workers = len(identities) // gpus_per_job if identities else max(1, cores() // (threads or 1))
    if identities and workers * gpus_per_job > len(identities):
        fix = f"set workers={len(identities) // gpus_per_job}, or set gpus=none to let jobs share all GPUs"
        rule = f"needs too many GPUs: {there}, and each running job needs {gpus_per_job}"
        raise RangeError("workers", workers, rule, fix)
    variables = {}
    if threads is not None:
        variables = _threads(threads)
    elif workers > 1 and not os.environ.get(THREADS[0]):
        variables = _threads(max(1, cores() // workers))
    parts = [identities[n * gpus_per_job : (n + 1) * gpus_per_job] for n in range(workers)]
    return [{**variables, **({VISIBLE: ",".join(part)} if part else {})} for part in parts]


def _threads(number: int) -> dict[str, str]:
    # Without MKL_DYNAMIC=FALSE, MKL and torch would use at most as many threads as there are physical cores.
    return {**dict.fromkeys(THREADS, str(number)), "MKL_DYNAMIC": "FALSE"}


def _identities(gpus: Any) -> list[str]:
    if gpus is None or gpus == "none":
        return []
    if gpus == "auto":
        return visible_gpus()
    fix = "use auto, none, or a list such as [0,1]"
    if isinstance(gpus, str) or not isinstance(gpus, Sequence) or not gpus:
        raise UnknownNameError("gpus", gpus, "must be auto, none or a list", fix)
    identities = [str(gpu) for gpu in gpus]
    for gpu, text in zip(gpus, identities, strict=True):
        if isinstance(gpu, bool) or not isinstance(gpu, (int, str)) or not _IDENTITY.fullmatch(text):
            raise UnknownNameError("gpus", gpu, "must be the index or the UUID of a GPU", fix)
    if len(set(identities)) < len(identities):
        raise ConflictError("gpus", ",".join(identities), "must name each GPU once", "remove the repeated GPU")
    return identities


def visible_gpus() -> list[str]:
    """Return the ids of the GPUs that this process could use, without calling CUDA.

    CUDA would keep a context on each GPU. So the function reads ``CUDA_VISIBLE_DEVICES``, or calls ``nvidia-smi -L`` if
    this variable is not set. For a partitioned GPU (MIG), the result has the id of each instance.
    """
    value = os.environ.get(VISIBLE)
    if value is None:
        return _visible_ids()
    ids = []
    for part in value.split(","):
        if not _IDENTITY.fullmatch(part.strip()):  # like CUDA, ignore the first invalid id and all ids after it
            break
        ids.append(part.strip())
    return ids


def _visible_ids() -> list[str]:
    try:
        process = subprocess.run(
            ["nvidia-smi", "-L"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    parts_by_gpu: dict[str, list[str]] = {}
    for line in process.stdout.splitlines() if process.returncode == 0 else ():
        if match := re.match(r"GPU (\d+):", line):
            parts_by_gpu[match[1]] = []
        elif (match := re.search(r"\(UUID: (MIG-[\w/-]+)\)", line)) and parts_by_gpu:
            parts_by_gpu[list(parts_by_gpu)[-1]].append(match[1])
    return [identity for gpu, parts in parts_by_gpu.items() for identity in parts or [gpu]]


def gpus_per_job(device: str | None = "auto") -> int:
    """Return the number of GPUs of a job on this machine: 1 if the job uses a GPU and the machine has GPUs, else 0."""
    return 1 if uses_gpu(device) and visible_gpus() else 0


def uses_gpu(device: str | None) -> bool:
    """Return whether a job uses a GPU on a machine that has GPUs."""
    return device is None or re.match(r"(auto|cuda)(:\d+)?$", device) is not None


def jobs_at_once(threads: int | None = 1, device: str | None = "auto") -> int:
    """Return how many jobs a launcher that assigns no GPUs to jobs can run at a time on this machine.

    The result is 1 if a job uses a GPU, or if ``threads`` is None, because a job then uses all cores.
    """
    if threads is None or gpus_per_job(device):
        return 1
    return max(1, cores() // threads)


def study_folder(study: str | None, default: str) -> str:
    """Return the folder of the study with this name or path; ``default`` if ``study`` is None.

    Example:
        >>> study_folder("first", "multirun/x"), study_folder("results/first", "multirun/x")
        ('studies/first', 'results/first')
    """
    if study is None:
        return default
    return study if "/" in study else f"studies/{study}"


def register_resolvers() -> None:
    """Register the OmegaConf resolvers that the configs of launchers use."""
    register_resolver("study_folder", study_folder)
    register_resolver("jobs_at_once", jobs_at_once)
    register_resolver("gpus_per_job", gpus_per_job)


def register_resolver(name: str, function: Callable[..., Any]) -> None:
    """Register a resolver with OmegaConf 2.3 or 2.4. The new resolver replaces an earlier resolver with this name."""
    import omegaconf

    is_new = [int(part) for part in omegaconf.__version__.split(".")[:2]] >= [2, 4]
    register: Any = getattr(omegaconf.OmegaConf, "register_resolver" if is_new else "register_new_resolver")
    register(name, function, replace=True)
