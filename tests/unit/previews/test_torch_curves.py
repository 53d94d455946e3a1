"""Pictures of torch's schedulers show the rates of training."""

from fractions import Fraction

import pytest
from refusals import refused
from torch_helpers import CASES, by_torch

from ssr_hydra import torch_schedulers as ours
from ssr_hydra.errors import MissingRateError, MissingValueError, UnsupportedError
from ssr_hydra.previews.schedule_curves import draw_out
from ssr_hydra.previews.torch_curves import TorchCurve
from ssr_hydra.schedulers.protocol import bind
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp

# A value or function for each of three param groups: a picture shows one group.
OF_GROUPS = ("LambdaLR", "MultiplicativeLR", "CyclicLR", "OneCycleLR")
RATES = {"dataloader_len": 8, "samples_per_batch": 4, "tokens_per_batch": None}


def drawn(scheduler, length="64ba", ssr=1, stepwise=True, **rates):
    curve = TorchCurve.of([("scheduler", scheduler)], 0.8, stepwise)
    return draw_out(curve, name="", max_duration=Time(length), ssr=ssr, rates={**RATES, **rates}, lr=0.8)


@pytest.mark.parametrize("name", [name for name in CASES if name not in OF_GROUPS])
def test_curve_matches_torch(name):
    expected = by_torch(CASES[name])
    curve = bind(TorchCurve.of([("scheduler", CASES[name]())], 0.8, True), State("64ba", dataloader_len=8))
    for batch in range(64):
        assert 0.8 * curve(Timestamp(batch=batch)) == pytest.approx(expected[batch][0][0], rel=1e-12)


def test_epoch_schedules_are_drawn_as_steps():
    preview = drawn(ours.ExponentialLR(0.5), "3ep", stepwise=None)
    for epoch, alpha in zip(preview.times[:-1], preview.alphas[:-1], strict=True):
        assert alpha == 0.5 ** int(epoch)
    half = drawn(ours.ExponentialLR(0.5), "4ep", ssr=0.5, stepwise=None)
    assert sorted(set(half.alphas)) == [0.25, 1.0]


def test_preview_needs_the_epoch_length_only_for_a_schedule_in_batches():
    preview = drawn(ours.StepLR(1, 0.5), "3ep", stepwise=None, dataloader_len=None)
    assert sorted(set(preview.alphas)) == [0.25, 0.5, 1.0]
    with refused("dataloader_len", MissingRateError):
        drawn(ours.StepLR(1, 0.5), "3ep", dataloader_len=None)


def test_several_schedulers_multiply_the_learning_rate():
    both = [("scheduler[0]", ours.StepLR(2, 0.5)), ("scheduler[1]", ours.ConstantLR(0.5, 100, pace="batch"))]
    curve = bind(TorchCurve.of(both, 0.1, None), State("64ba", dataloader_len=8))
    assert curve(Timestamp(batch=20, epoch=2, batch_in_epoch=4)) == pytest.approx(0.25)
    assert curve(Timestamp(batch=Fraction(31, 2), epoch=1, batch_in_epoch=Fraction(15, 2))) == pytest.approx(0.5)


def test_scheduler_that_cannot_be_drawn_is_refused():
    with refused("scheduler", UnsupportedError):
        TorchCurve.of([("scheduler", ours.ReduceLROnPlateau())], 0.1, None)
    with refused("optimizer.lr", MissingValueError):
        TorchCurve.of([("scheduler", ours.StepLR(2))], None, None)
