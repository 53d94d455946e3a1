"""The versions of packages, and digests of the code. This module imports neither torch nor Hydra."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import ssr_hydra

_SHOWN = 12


def versions() -> dict[str, str | None]:
    """Return the versions of python, torch, numpy and ssr_hydra for ``result.json``; None for a missing package."""
    return {
        "python": platform.python_version(),
        "torch": _installed("torch"),
        "numpy": _installed("numpy"),
        "ssr_hydra": ssr_hydra.__version__,
    }


def software(code: Mapping[str, str]) -> dict[str, str]:
    """Return :func:`versions` and the digests of ``code``. If two runs have equal values, they used the same software.

    Args:
        code: The result of :func:`code_version`.
    """
    used = {name: str(version) for name, version in versions().items()}
    return {**used, **{name: f"{used.get(name, '')} {digest}".lstrip() for name, digest in code.items()}}


def version_line() -> str:
    """Return the text of ``--version``, such as ``ssr_hydra 0.2.0 (hydra 1.3.2, torch 2.10.0)``."""
    return f"ssr_hydra {ssr_hydra.__version__} (hydra {_installed('hydra-core')}, torch {_installed('torch')})"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def code_version(modules: Iterable[str] = ()) -> dict[str, str]:
    """Return a digest of the source code of this package, and of each trusted package.

    If this process has imported a package, the first call computes its digest, and later calls return the same digest.
    If a user edits the files in between, this process still runs the old code.

    Args:
        modules: The trusted modules, such as ``my_package`` or ``my_package.models``.

    Returns:
        A mapping from package to the first 12 digits of a SHA-256 over its Python files and their paths.

    Example:
        >>> sorted(code_version(["json"]))
        ['json', 'ssr_hydra']
    """
    names = {"ssr_hydra", *(name.partition(".")[0] for name in modules)}
    for name in names - _imported.keys():
        if name in sys.modules:
            _imported[name] = _digest(name)
    return {name: _imported.get(name) or _digest(name) for name in sorted(names)}


_imported: dict[str, str] = {}


def _digest(name: str) -> str:
    digest = hashlib.sha256()
    for place, path in _sources(name):
        digest.update(place.encode() + b"\0")
        with suppress(OSError):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:_SHOWN]


def _sources(name: str) -> Iterator[tuple[str, Path]]:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return
    if spec is None:
        return
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not folders and spec.origin is not None and spec.has_location:
        yield Path(spec.origin).name, Path(spec.origin)
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            yield path.relative_to(folder).as_posix(), path
