"""Hydra's private modules are not used: they change between its releases."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path
    for folder in ("ssr_hydra", "hydra_plugins", "scripts", "tests", "docs", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md", ".sh", ".yaml", "") and path.is_file() and "stored" not in path.parts
)
PRIVATE = "hydra." + "_internal"


def test_no_file_uses_private_modules_of_hydra():
    assert [path for path in FILES if PRIVATE in path.read_text(encoding="utf-8")] == []
