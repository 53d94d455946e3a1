from __future__ import annotations

import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, TensorDataset

from ssr_hydra.trainer.rereading import Rereading


def test_a_sampler_inside_a_batch_sampler_is_told_the_epoch() -> None:
    """Nobody else could tell it: the loop is the trainer's. It would give the same order in every epoch."""
    data = TensorDataset(torch.arange(8))
    sampler = DistributedSampler(data, num_replicas=1, rank=0)
    loader = DataLoader(data, batch_sampler=BatchSampler(sampler, 4, drop_last=False))
    rereading = Rereading(loader)
    orders = [torch.cat([batch for (batch,) in rereading.batches(epoch, 0)]).tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == list(range(8))


def test_every_part_is_told_the_epoch_once() -> None:
    told: list[tuple[str, int]] = []

    class Sampler(torch.utils.data.SequentialSampler):
        def set_epoch(self, epoch: int) -> None:
            told.append(("sampler", epoch))

    data = TensorDataset(torch.arange(4))
    list(Rereading(DataLoader(data, batch_size=2, sampler=Sampler(data))).batches(3, 0))
    assert told == [("sampler", 3)]  # it is the loader's sampler, and that of its batch sampler
