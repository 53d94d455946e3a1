"""The list of GPUs from nvidia-smi."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssr_hydra.sweeps.launchers.resources import visible_gpus


def smi(folder: Path, output: str, code: int = 0) -> dict[str, str]:
    """Return an environment in which nvidia-smi prints this text."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n[ \"$1\" = -L ] && cat <<'END'\n{output}\nEND\nexit {code}\n")
    (folder / "nvidia-smi").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


WHOLE = "GPU 0: NVIDIA H200 (UUID: GPU-6a0)\nGPU 1: NVIDIA H200 (UUID: GPU-6a1)"
PARTS = f"""{WHOLE}
  MIG 3g.71gb     Device  0: (UUID: MIG-11)
  MIG 3g.71gb     Device  1: (UUID: MIG-12)"""


@pytest.mark.parametrize(
    ("output", "code", "expected"),
    [
        (WHOLE, 0, ["0", "1"]),
        (PARTS, 0, ["0", "MIG-11", "MIG-12"]),
        ("No devices were found", 6, []),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9, []),
        (WHOLE, 9, []),
    ],
)
def test_nvidia_smi_lists_the_gpus(tmp_path: Path, output: str, code: int, expected: list[str]) -> None:
    assert visible_gpus(smi(tmp_path, output, code)) == expected


def test_without_nvidia_smi_no_gpus_are_found(tmp_path: Path) -> None:
    assert visible_gpus({"PATH": str(tmp_path)}) == []
