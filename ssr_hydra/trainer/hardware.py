"""The device of a run, and the hardware and package versions, which can change the rounding errors of results."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ssr_hydra
from ssr_hydra.errors import UnknownNameError, UnsupportedError
from ssr_hydra.trainer.processes import ALONE, Processes


def choose_device(device: str | torch.device, processes: Processes = ALONE) -> torch.device:
    """Return the device of a run: ``auto`` is CUDA if available, else Apple's MPS, else the CPU.

    If several processes of a run are on one machine, each process gets its own GPU.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        fix = "use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'"
        raise UnknownNameError("device", device, "is not a device of torch", fix) from None
    if chosen.type == "cuda" and (not torch.cuda.is_available() or (chosen.index or 0) >= torch.cuda.device_count()):
        raise UnsupportedError("device", str(device), "this machine has no such GPU", "use 'auto' or 'cpu'")
    if chosen.type == "cuda" and processes.world_size > 1:
        return torch.device("cuda", processes.local_rank % torch.cuda.device_count())
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise UnsupportedError("device", str(device), "this machine has no MPS", "use 'auto' or 'cpu'")
    return chosen


@contextmanager
def repeatable_kernels() -> Iterator[None]:
    """In the ``with`` block, cuDNN uses deterministic kernels."""
    # Do not use torch.backends.cudnn.flags: it raises an error if the user has set `fp32_precision`.
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def hardware(device: torch.device) -> dict[str, Any]:
    """Describe the hardware: CPU model, instruction set, number of cores and of torch's threads, device, GPU name."""
    return {
        "cpu": _cpu_model(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def versions() -> dict[str, str | None]:
    """Return the versions of Python, torch, NumPy and this package."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "ssr_hydra": ssr_hydra.__version__,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # only Linux has this file
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
