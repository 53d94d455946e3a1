"""A loader that knows nothing of epochs, entered in the middle of one. Whole runs: test_resuming.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler

from ssr_hydra.checkpoints.format import check_state
from ssr_hydra.trainer.rereading import Rereading

DATA = TensorDataset(torch.arange(20))


def numbers(batches: Any) -> list[list[int]]:
    """The batches, between which training draws as well."""
    found = []
    for (batch,) in batches:
        torch.rand(3)
        found.append(batch.tolist())
    return found


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(DATA, 3, shuffle=True),
        lambda: DataLoader(DATA, 3, shuffle=True, generator=generator()),
        lambda: DataLoader(DATA, 3, sampler=RandomSampler(DATA, replacement=True, generator=generator())),
        lambda: DataLoader(DATA, 3, sampler=WeightedRandomSampler(torch.ones(20).tolist(), 20, generator=generator())),
    ],
)
@pytest.mark.parametrize("start", [0, 1, 4])
def test_the_rest_of_an_epoch_is_the_rest_of_it(make: Callable[[], Any], start: int) -> None:
    """Its second epoch, from a batch on, in a loader that was just made."""
    torch.manual_seed(1)
    first = Rereading(make())
    numbers(first.batches(0, 0))
    before = first.state_dict(within=False)  # the start of the second epoch
    whole = numbers(first.batches(1, 0))
    within = first.state_dict(within=True)
    check_state(within)
    torch.manual_seed(2)  # another process
    again = Rereading(make())
    again.load_state_dict(within if start else before)
    assert numbers(again.batches(1, start)) == whole[start:]


def test_skipped_batches_do_not_change_the_random_state_of_training() -> None:
    loader = DataLoader(DATA, 3, shuffle=True)
    first = Rereading(loader)
    batches = first.batches(0, 0)
    for _ in range(3):
        next(batches)
    state = first.state_dict(within=True)
    torch.manual_seed(9)
    expected = torch.rand(2).tolist()
    torch.manual_seed(9)
    again = Rereading(loader)
    again.load_state_dict(state)
    again.batches(0, 3)
    assert torch.rand(2).tolist() == expected


def test_a_run_that_was_not_interrupted_draws_as_without_it() -> None:
    torch.manual_seed(5)
    plain = [batch.tolist() for (batch,) in DataLoader(DATA, 3, shuffle=True)]
    torch.manual_seed(5)
    assert [batch.tolist() for (batch,) in Rereading(DataLoader(DATA, 3, shuffle=True)).batches(0, 0)] == plain
