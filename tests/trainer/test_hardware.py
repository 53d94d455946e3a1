from __future__ import annotations

import platform

import pytest
import torch

from ssr_hydra.errors import InputError
from ssr_hydra.trainer.hardware import choose_device, hardware, versions


def test_hardware_says_what_bits_depend_on() -> None:
    found = hardware(torch.device("cpu"))
    assert set(found) == {"cpu", "instruction_set", "cores", "threads", "device", "gpu"}
    assert found["threads"] == torch.get_num_threads()
    assert found["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert found["cpu"]
    assert (found["device"], found["gpu"]) == ("cpu", None)


def test_versions_name_what_computed_the_result() -> None:
    found = versions()
    assert list(found) == ["python", "torch", "numpy", "ssr_hydra"]
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__
    assert all(found.values())


def test_auto_takes_the_best_there_is() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == best
    assert choose_device(torch.device("cpu")) == choose_device("cpu")


@pytest.mark.parametrize("device", ["gpu", "", "cuda:99", "cpu:x", None, 1.5])
def test_a_device_that_is_not_there_is_refused(device: object) -> None:
    with pytest.raises(InputError, match="device"):
        choose_device(device)  # type: ignore[arg-type]
