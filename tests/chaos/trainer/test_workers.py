"""Test of a process that ends while the workers of its loader are alive."""

import subprocess
import sys

_RUN = """
import torch
from torch.utils.data import DataLoader, TensorDataset
from ssr_hydra.trainer import Trainer

data = TensorDataset(torch.zeros(8, 2), torch.zeros(8, dtype=torch.int64))
loader = DataLoader(data, 2, num_workers=2, persistent_workers=True)
trainer = Trainer(torch.nn.Linear(2, 2), loader, loader, progress="none", run_dir="run", device="cpu")
print(trainer.fit().status)
"""


def test_a_run_with_workers_prints_no_traceback_at_its_end(tmp_path):
    # The workers are alive when the interpreter exits: the loader keeps them for the next epoch.
    process = subprocess.run([sys.executable, "-c", _RUN], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (process.returncode, process.stdout, process.stderr) == (0, "completed\n", "")
