"""What this machine offers to a run, and what else it does meanwhile. Needs neither torch nor Hydra."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["conditions", "cores"]


def cores(root: Path = Path("/sys/fs/cgroup")) -> int:
    """The number of cores that this process may use: its CPU affinity, or the limit of its container if that is lower.

    Args:
        root: Where the system shows the limits of containers.

    Example:
        >>> cores() >= 1
        True
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (root / "cpu.max").read_text().split()
        limit = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # "max" is not a number: there is no limit
        return bound
    return max(1, min(bound, int(limit)))


def conditions(jobs_beside: float = 0.0) -> dict[str, Any]:
    """What else the machine did while a run went on, as ``result.json`` holds it.

    Args:
        jobs_beside: The mean number of other jobs of the same sweep that ran on this machine.

    Returns:
        ``jobs_beside``; ``load``, the system's load average over the last minute; and ``cpus``, see :func:`cores`.

    Example:
        >>> sorted(conditions(1.5))
        ['cpus', 'jobs_beside', 'load']
    """
    found: dict[str, Any] = {"jobs_beside": jobs_beside, "cpus": cores()}
    if hasattr(os, "getloadavg"):  # not on Windows
        found["load"] = os.getloadavg()[0]
    return found
