"""Versions of the packages that compute a run, without importing them."""

from __future__ import annotations

import platform
from importlib import metadata

import ssr_hydra

__all__ = ["version_line", "versions"]


def versions() -> dict[str, str | None]:
    """Return the versions as in a record: of python, torch, numpy and ssr_hydra; None if not installed."""
    return {
        "python": platform.python_version(),
        "torch": _installed("torch"),
        "numpy": _installed("numpy"),
        "ssr_hydra": ssr_hydra.__version__,
    }


def version_line() -> str:
    """Return the text of ``--version``.

    Example:
        >>> version_line()  # doctest: +SKIP
        'ssr_hydra 0.1.0 (hydra 1.3.2, torch 2.10.0)'
    """
    return f"ssr_hydra {ssr_hydra.__version__} (hydra {_installed('hydra-core')}, torch {_installed('torch')})"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
