import math
import pickle

import pytest
import torch

from ssr_hydra.trainer import DivergedError
from ssr_hydra.trainer.loss_watch import LossWatch

CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")


def test_mean_loss_covers_the_batches_since_the_last_flush_or_evaluation():
    watch = LossWatch(CPU)
    for batch, value in enumerate([1.0, 2.0, 6.0]):
        watch.add(torch.tensor(value), batch)
    assert watch.flush(3) == 3.0
    watch.add(torch.tensor(7.0), 3)
    assert watch.flush(4) == 7.0
    assert watch.flush(4) == 7.0
    assert watch.since_evaluation() == 4.0
    assert math.isnan(watch.since_evaluation())
    watch.add(torch.tensor(5.0), 4)
    assert watch.flush(5) == 5.0 == watch.since_evaluation()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_loss_that_is_not_finite_is_detected_in_its_step_on_the_cpu(value):
    watch = LossWatch(CPU)
    watch.add(torch.tensor(1.0), 0)
    with pytest.raises(DivergedError, match="at batch 1"):
        watch.add(torch.tensor(value), 1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_loss_that_is_not_finite_is_detected_at_the_next_flush_on_a_device_other_than_cpu(value):
    watch = LossWatch(CPU)
    watch._on_cpu = False  # as on a GPU, but with a tensor that the test can read
    watch.add(torch.tensor(1.0), 0)
    assert watch.flush(1) == 1.0
    watch.add(torch.tensor(value), 1)
    watch.add(torch.tensor(2.0), 2)
    with pytest.raises(DivergedError, match="between batches 1 and 3"):
        watch.flush(3)


def test_step_does_not_read_the_loss_from_a_device_other_than_cpu():
    watch = LossWatch(ELSEWHERE)
    watch.add(torch.empty((), device=ELSEWHERE), 0)  # reading a meta tensor raises
    with pytest.raises(RuntimeError, match="meta"):
        watch.flush(1)


def test_error_is_picklable():
    error = pickle.loads(pickle.dumps(DivergedError("train/loss", math.inf, 7, 5)))
    assert (error.what, error.value, error.batch, error.since) == ("train/loss", math.inf, 7, 5)
    assert "between batches 5 and 7" in str(error)
