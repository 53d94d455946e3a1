import pytest
import torch

from ssr_hydra.errors import InputError
from ssr_hydra.trainer.hardware import choose_device, hardware, repeatable_kernels


def test_hardware_records_everything_that_affects_the_last_bits():
    record = hardware(torch.device("cpu"))
    assert set(record) == {"cpu", "instruction_set", "cores", "threads", "device", "gpu"}
    assert record["threads"] == torch.get_num_threads()
    assert record["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    assert record["cpu"]
    assert (record["device"], record["gpu"]) == ("cpu", None)


def test_device_auto_is_the_best_available_device():
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == best
    assert choose_device(torch.device("cpu")) == choose_device("cpu")


@pytest.mark.parametrize("device", ["gpu", "", "cuda:99", "cpu:x", None, 1.5])
def test_missing_device_is_refused(device):
    with pytest.raises(InputError, match="device"):
        choose_device(device)


def test_deterministic_kernels_change_no_other_switch():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision
    cudnn.benchmark, cudnn.conv.fp32_precision = True, "ieee"  # after this, reading allow_tf32 raises an error
    try:
        with repeatable_kernels():
            assert (cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision) == (False, True, "ieee")
        assert (cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision) == (True, before[1], "ieee")
    finally:
        cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision = before
