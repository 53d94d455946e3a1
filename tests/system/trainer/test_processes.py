import distributed_ends as ends
import pytest
import torch
from refusals import refused

from ssr_hydra.trainer.processes import ALONE, LostProcessError, Processes, RankAndSize, _address, launched

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu1", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_NTASKS": "8",
}
# The environment of a batch script and of a shell of salloc: the job has eight tasks, and this process is not one of
# them.
SBATCH = {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        (TORCHRUN, RankAndSize(3, 4, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, RankAndSize(1, 2, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None),
        (SRUN, RankAndSize(5, 8, 1)),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),  # submitit starts each job like this
        (SBATCH, None),
        ({**SRUN, **TORCHRUN}, RankAndSize(3, 4, 1)),  # srun starts one torchrun on each node
        ({"RANK": "1"}, None),
    ],
)
def test_rank_and_size_are_read_from_the_environment(environment, expected):
    assert launched(environment) == expected


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({**TORCHRUN, "RANK": "4"}, "RANK"),
        ({**TORCHRUN, "RANK": "-1"}, "RANK"),
        ({**TORCHRUN, "WORLD_SIZE": "two"}, "WORLD_SIZE"),
        ({**TORCHRUN, "LOCAL_RANK": ""}, "LOCAL_RANK"),
        ({**SRUN, "SLURM_PROCID": "8"}, "SLURM_PROCID"),
    ],
)
def test_inconsistent_rank_and_size_are_refused(environment, field):
    with refused(field):
        launched(environment)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[07-08]", "gpu07"),
        ("gpu[3,5-6]", "gpu3"),
        ("gpu9,cpu[1-2]", "gpu9"),
        ("gpu[03-06,9]-ib,cpu1", "gpu03-ib"),
        ("rack[1-2]node[4,7]", "rack1node4"),
        ("a,b", "a"),
    ],
)
def test_rank_0_listens_on_the_first_node_of_the_slurm_step(nodes, first):
    assert _address({**SRUN, "SLURM_STEP_NODELIST": nodes})["MASTER_ADDR"] == first


def test_address_in_the_environment_variables_is_used():
    assert _address(TORCHRUN) == {"MASTER_ADDR": "gpu1", "MASTER_PORT": "29500"}
    assert _address({**SRUN, "MASTER_PORT": "1234"}) == {"MASTER_ADDR": "gpu07", "MASTER_PORT": "1234"}
    assert _address({**SRUN, "SLURM_STEP_NUM_NODES": "1"})["MASTER_ADDR"] == "127.0.0.1"


def test_concurrent_slurm_steps_use_different_ports():
    ports = {
        int(_address({**SRUN, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})["MASTER_PORT"])
        for job in range(900_000, 900_100)
        for step in range(10)
    }
    assert len(ports) == 1000
    assert all(15000 <= port < 32000 for port in ports)  # below the ports that systems assign
    # The step number of a batch script is very large. The result is still a valid port.
    assert 15000 <= int(_address({**SRUN, "SLURM_STEP_ID": "4294967291"})["MASTER_PORT"]) < 32000


def test_single_process_returns_its_own_values():
    assert ALONE.is_main
    assert ALONE.sum([1, 2**60]) == [1, 2**60]
    assert ALONE.sum_floats([0.1]) == [0.1]
    assert ALONE.gather("me") == ["me"]
    assert ALONE.from_main("me") == "me"
    tensor = torch.ones(2)
    assert ALONE.mean(tensor) is tensor
    assert ALONE.fail("anything") is False
    assert Processes.start().world_size == 1  # no launcher started this test


def test_processes_exchange_values(pairs):
    mine, other = pairs.run(ends.basics).values
    rest = {
        "sum": [2**63 - 1, 1, -2],  # the largest int64
        "floats": [0.2, 1.0],
        "gather": [{"rank": 0}, {"rank": 1}],
        "main": "I am 0",
        "mean": [1.5, 4.0],
        "one group": True,
        "stopped": True,
    }
    assert mine == {**rest, "is_main": True}
    assert other == {**rest, "is_main": False}


@pytest.mark.parametrize("rank", [0, 1])
def test_dead_process_is_detected(pairs, rank):
    ended = pairs.run(ends.lost, rank_that_ends=rank, fails=True)
    assert ended.codes[rank] == 7
    message = ended.values[1 - rank]
    assert message.startswith("another process of this run has ended or cannot be reached, seen at a batch (")
    assert "gloo" not in message  # the location inside gloo would not help the user


def test_process_that_never_connects_causes_a_timeout(pairs):
    ended = pairs.run(ends.absent, fails=True)
    assert ended.codes == [0, 7]
    assert ended.values[0].startswith("another process of this run has ended or cannot be reached, seen at the start (")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (["wrong", "wrong"], [False, True]),
        (["wrong", "something else"], [False, False]),
        (["nothing", "wrong"], [None, False]),
    ],
)
def test_message_of_rank_0_is_printed_once(pairs, messages, expected):
    ended = pairs.run(ends.told, messages=messages)
    assert ended.values == expected
    assert ended.errs == ["", ""]


def test_message_about_a_lost_process_is_one_line():
    text = "[/src/pair.cc:545] Read error [10.0.0.1]:32909: Connection reset by peer. This is typically\nmuch more"
    assert str(LostProcessError("a batch", RuntimeError(text))) == (
        "another process of this run has ended or cannot be reached, seen at a batch "
        "(Read error [10.0.0.1]:32909: Connection reset by peer)"
    )
