"""The fork server imports modules without initializing CUDA."""

from cli_helpers import command

LOOK = """
import os
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # as the server does
import importlib, torch
asked = []
for name in ("_cuda_init", "_cuda_getDeviceCount"):
    setattr(torch._C, name, lambda name=name: asked.append(name) or 0)
from ssr_hydra.sweeps.launchers.server import PRELOADED
for name in PRELOADED:
    importlib.import_module(name)
print(asked, torch.cuda.is_initialized(), "libcuda.so" in open("/proc/self/maps").read())
torch.cuda.device_count()
"""


def test_preloading_modules_does_not_initialize_cuda(tmp_path):
    answer = command("-c", LOOK, cwd=tmp_path)
    assert (answer.code, answer.out) == (0, "[] False False\n"), answer.err
