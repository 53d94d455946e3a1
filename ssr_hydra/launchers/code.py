"""Digests of the code that produces a run's numbers. Needs neither torch nor Hydra."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["code_version"]

_SHOWN = 12


def code_version(modules: Iterable[str] = ()) -> dict[str, str]:
    """Return a digest of the source of this package, and of each module that the config may name.

    If this process has already imported a package, its digest is that of the first call: later edits of its files do
    not change what the process runs.

    Args:
        modules: Names that were trusted on the command line: ``my_package`` or ``my_package.models``.

    Returns:
        A mapping from package or module to the first digits of a SHA-256 over its Python files and their paths.

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
