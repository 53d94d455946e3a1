"""What importing costs, and that each module says truly what it offers."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ssr_hydra

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "ssr_hydra").rglob("*.py")
    if path.name != "__main__.py"
)


@pytest.mark.parametrize("module", ["errors", "time", "state", "schedulers"])
def test_schedules_load_neither_torch_nor_hydra(module: str) -> None:
    code = f"""
import sys, ssr_hydra, ssr_hydra.{module}
heavy = {{"torch", "hydra", "omegaconf", "numpy", "matplotlib", "sklearn", "rich"}} & set(sys.modules)
sys.exit(", ".join(sorted(heavy)) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_the_package_offers_its_names_when_they_are_asked_for() -> None:
    assert ssr_hydra.Time is importlib.import_module("ssr_hydra.time").Time
    assert set(ssr_hydra.__all__) <= set(dir(ssr_hydra))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ssr_hydra.nothing  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_all_is_sorted_and_true(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    # Constants, classes, the rest: the linter's order. One list is put together from those of its modules.
    order = sorted(exported, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert exported == order or name == "ssr_hydra.configs"
    assert len(set(exported)) == len(exported)
    assert [missing for missing in exported if not hasattr(module, missing)] == []
    own = {key for key, value in vars(module).items() if getattr(value, "__module__", None) == name}
    assert exported or not {key for key in own if not key.startswith("_")} or name.endswith(".train")
