import distributed_models as models
import pytest
import torch
from refusals import refused
from torch import nn

from ssr_hydra.trainer.parallel import shard, wrapped
from ssr_hydra.trainer.processes import ALONE

CPU = torch.device("cpu")


def test_single_process_uses_the_unwrapped_model_and_refuses_sharding():
    model = nn.Linear(2, 2)
    assert wrapped(model, "ddp", ALONE, CPU) is model
    for call in (lambda: wrapped(model, "fsdp", ALONE, CPU), lambda: shard(model, ALONE, CPU)):
        with refused("parallel"):
            call()


def test_sharded_state_is_gathered_and_loaded(pairs):
    mine, other = pairs.run(models.sharded_state).values
    # Only rank 0 has the gathered state, which equals the state of one process.
    (alone,) = pairs.run(models.sharded_state, world=1).values
    assert other["names"] == mine["names"] == alone["names"]
    assert other["tensors"] == [None] * len(mine["tensors"])
    for actual, expected in zip(mine["tensors"], alone["tensors"], strict=True):
        assert actual == pytest.approx(expected, abs=1e-7)
    for actual in (mine, other):
        assert (actual["class"], actual["sharded"], actual["blocks"]) == ("Blocks", True, 3)
        assert actual["again"]  # loaded into other shards, it is bitwise equal


def test_a_process_without_a_batch_computes_a_padding_batch(pairs):
    mine, other = pairs.run(models.steps_of, batches=[3, 1]).values
    assert mine == ["0", "1", "2"]
    assert other == ["0", "padding 0", "padding 0"]
    for error_fields in pairs.run(models.steps_of, batches=[2, 0], fails=True).values[1:]:
        assert error_fields == ["eval_dataloader"]


def test_run_with_three_processes_resumes_with_bitwise_equal_weights(pairs, tmp_path):
    # The parameters need several buckets (DDP's first bucket holds 1 MiB). With three or more processes, the order of a
    # sum depends on the position of the gradient in its bucket.
    options = {"world": 3, "parallel": "ddp"}
    whole = pairs.run(models.wide, folder=tmp_path / "whole", **options).values
    pairs.run(models.wide, folder=tmp_path / "run", stop=6, **options)
    again = pairs.run(models.wide, folder=tmp_path / "run", **options).values
    assert whole[0]["digest"] == again[0]["digest"]
    assert again[0]["began"] == 7
    assert whole[0]["losses"][7:] == again[0]["losses"]
