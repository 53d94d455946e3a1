"""A compiled step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ssr_hydra.checkpoints import load_latest_good
from ssr_hydra.data import TensorLoader
from ssr_hydra.models import ConvNet
from ssr_hydra.trainer import Trainer


def test_compiling_is_no_training(tmp_path: Path) -> None:
    torch.compiler.reset()
    images, classes = torch.randn(64, 1, 8, 8), torch.arange(64) % 10
    results = {}
    for compiles in (False, True):
        torch.manual_seed(1)
        loader = TensorLoader([images, classes], 16, shuffle=False)
        trainer = Trainer(
            ConvNet(),
            loader,
            loader,
            max_duration="3ep",
            device="cpu",
            progress="none",
            step={"compile": compiles},
            run_dir=tmp_path / str(compiles),
        )
        results[compiles] = trainer.fit()
        assert trainer.state.timestamp.batch == 12
    compiled = results[True]
    assert compiled.train_seconds > 0
    # Compiling takes seconds and the twelve steps hundredths; had it been counted, training were most of the total.
    assert compiled.total_seconds > 5 * compiled.train_seconds
    assert results[False].metrics["train/loss"] == pytest.approx(compiled.metrics["train/loss"], abs=1e-4)
    assert results[False].metrics["eval/loss"] == pytest.approx(compiled.metrics["eval/loss"], abs=1e-4)
    found = load_latest_good(tmp_path / "True" / "checkpoints")
    assert found is not None
    # The names of the model's own weights, which any other code can load.
    assert list(found[0].state["model"]) == list(ConvNet().state_dict())
