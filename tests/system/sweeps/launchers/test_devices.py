"""The list of GPUs from nvidia-smi."""

import os

import pytest

from ssr_hydra.sweeps.launchers.resources import visible_gpus

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
def test_nvidia_smi_lists_the_gpus(tmp_path, monkeypatch, output, code, expected):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] && cat <<'END'\n{output}\nEND\nexit {code}\n")
    smi.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert visible_gpus() == expected
    monkeypatch.setenv("PATH", "")  # no nvidia-smi
    assert visible_gpus() == []
