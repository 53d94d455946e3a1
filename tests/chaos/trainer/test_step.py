"""Tests of compiled training steps."""

from fractions import Fraction

import pytest
import torch
from torch import nn
from torch._dynamo.callback import callback_handler

from ssr_hydra.checkpoints import load_latest_good
from ssr_hydra.data import TensorLoader
from ssr_hydra.models import ConvNet
from ssr_hydra.trainer import Trainer


@pytest.fixture
def compilations(clock):
    """Return the list of compilations, each of which takes a minute on the test's clock."""
    calls = []

    def end(_):
        calls.append(len(calls))
        clock.sleep(60_000)

    torch.compiler.reset()  # the reset also drops callbacks
    callback_handler.register_end_callback(end)
    yield calls
    callback_handler.remove_end_callback(end)


def test_compile_time_does_not_count_as_training_time(tmp_path, clock, compilations):
    images, classes = torch.randn(64, 1, 8, 8), torch.arange(64) % 10

    def loss(outputs, targets):
        clock.sleep(10 if outputs.requires_grad else 0)
        return nn.functional.cross_entropy(outputs, targets)

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
            loss=loss,
            run_dir=tmp_path / str(compiles),
        )
        results[compiles] = trainer.fit()
        assert trainer.state.timestamp.batch == 12
        # 12 batches of 10 ms, and the trial batch before them; each compilation takes a minute.
        assert trainer.state.timestamp.seconds == Fraction(12, 100)
        assert results[compiles].total_seconds == pytest.approx(60 * len(compilations) + 0.12, abs=0.02)
    assert compilations
    compiled = results[True]
    assert results[False].metrics["train/loss"] == pytest.approx(compiled.metrics["train/loss"], abs=1e-4)
    assert results[False].metrics["eval/loss"] == pytest.approx(compiled.metrics["eval/loss"], abs=1e-4)
    latest = load_latest_good(tmp_path / "True" / "checkpoints")
    assert latest is not None
    # The names are those of the model's own weights, so any other code can load them.
    assert list(latest[0].state["model"]) == list(ConvNet().state_dict())
