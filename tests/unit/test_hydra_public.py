"""Hydra's private modules are not used: they change between its releases."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for folder in ("ssr_hydra", "hydra_plugins", "scripts", "tests", "docs", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md", ".sh", ".yaml", "") and path.is_file() and "stored" not in path.parts
)
PRIVATE = "hydra." + "_internal"


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(ROOT).as_posix() for path in FILES])
def test_no_file_names_hydras_private_modules(path: Path) -> None:
    assert PRIVATE not in path.read_text(encoding="utf-8")
