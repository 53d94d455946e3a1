"""The number of cores and the load of this machine. This module imports neither torch nor Hydra."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores that this process may use.

    This is the number of cores in the CPU affinity of the process, or the CPU limit of the container if it is lower.

    Example:
        >>> cores() >= 1
        True
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (root / "cpu.max").read_text().split()
        limit = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # the value "max" means no limit
        return bound
    return max(1, min(bound, int(limit)))


def conditions(jobs_beside: float = 0.0) -> dict[str, Any]:
    """Return the cores and the load of this machine, for the key ``conditions`` of ``result.json``.

    ``jobs_beside`` is the mean number of other jobs of the same sweep that this machine ran at the same time. ``load``
    is the load average of the last minute. Windows has no load average.

    Example:
        >>> sorted(conditions(1.5))
        ['cpus', 'jobs_beside', 'load']
    """
    record: dict[str, Any] = {"jobs_beside": jobs_beside, "cpus": cores()}
    if hasattr(os, "getloadavg"):  # Windows lacks this function
        record["load"] = os.getloadavg()[0]
    return record
