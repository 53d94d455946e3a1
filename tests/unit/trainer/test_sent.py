"""Run folders and checkpoints from other people: each is used, or refused with a one-line error."""

import copy
import json
import math
import shutil

import pytest
import torch
from refusals import refused
from torch import nn

from ssr_hydra.callbacks import EMA
from ssr_hydra.checkpoints import CheckpointError, CheckpointStore, load
from ssr_hydra.data import TensorLoader
from ssr_hydra.errors import PathError
from ssr_hydra.metrics_log import METRICS, read_evaluations
from ssr_hydra.records import RESULT
from ssr_hydra.schedulers import CosineAnnealingScheduler
from ssr_hydra.trainer import Trainer


def trainer(run_dir, length="6ba", **more):
    """Two batches per epoch; a checkpoint and an evaluation after each second batch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    data = [torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2]
    optimizer = torch.optim.AdamW(model.parameters())
    settings = {
        "eval_interval": "2ba",
        "log_interval": "1ba",
        "checkpoint": {"interval": "2ba", "keep": 9, "best": "eval/loss"},
        "callbacks": {"ema": EMA(0.9)},
        "progress": "none",
        "device": "cpu",
        "seed": 0,
        **more,
    }
    loaders = TensorLoader(data, 4), TensorLoader(data, 4, shuffle=False)
    return Trainer(model, *loaders, optimizer, CosineAnnealingScheduler(), length, run_dir=run_dir, **settings)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of 6 batches that was killed after its checkpoint at batch 4."""
    folder = tmp_path_factory.mktemp("sent") / "run"
    trainer(folder).fit()
    shutil.rmtree(folder / "checkpoints/ba6")
    (folder / "result.json").unlink()
    return folder


@pytest.fixture
def run(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    return tmp_path / "run"


def change(run, path, value):
    """Change or remove a value in the state of the newest checkpoint, and update the hashes."""
    checkpoint = load(run / "checkpoints/ba4")
    state = copy.deepcopy(checkpoint.state)
    node = state
    for key in path[:-1]:
        node = node[key]
    if value is MISSING:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    store = CheckpointStore(run / "checkpoints", keep=9)
    store.save(state, timestamp=checkpoint.timestamp, description=checkpoint.description, metric=checkpoint.metric)


MISSING = object()
CHANGES = [
    *(((part,), 7) for part in ("model", "optimizers", "loop", "timestamp", "time_map", "rates")),
    *(((part,), [7]) for part in ("model", "optimizers", "loop", "timestamp", "time_map", "rates")),
    *(((part,), "word") for part in ("resumes", "log_bytes", "total_seconds", "callbacks", "random")),
    (("resumes",), -1),
    (("model", "0.weight"), torch.zeros(7)),
    (("model", "0.weight"), [1.0]),
    (("model", "0.weight"), MISSING),
    (("optimizers", 0, "state", 0, "exp_avg"), torch.zeros(7)),
    (("optimizers", 0, "state", 0, "exp_avg"), torch.zeros(())),
    (("optimizers", 0, "state", 0, "exp_avg"), None),
    (("optimizers", 0, "state", 0, "exp_avg_sq"), MISSING),
    (("optimizers", 0, "state", 0, "step"), -1),
    (("optimizers", 0, "state", 0), {}),
    (("optimizers", 0, "param_groups", 0, "betas"), "word"),
    (("optimizers", 0, "param_groups", 0, "betas"), (0.9,)),
    (("optimizers", 0, "param_groups", 0, "initial_lr"), "word"),
    (("optimizers", 0, "param_groups", 0, "lr"), None),
    (("optimizers", 0, "param_groups"), []),
    (("optimizers",), []),
    (("timestamp", "batch"), "word"),
    (("timestamp", "batch"), MISSING),
    (("time_map", "ssr"), "word"),
    (("loop", "metrics"), [1]),
    (("loop", "metrics", "eval/loss"), "word"),
    (("loop", "evaluations"), "word"),
    (("loop", "evaluations"), [{"timestamp": {"batch": "four"}}]),
    (("loop", "evaluated_at"), "word"),
    (("loop", "watch", "sum"), "word"),
    (("loop", "pending"), 1),
    (("callbacks", "ema"), [1]),
    (("callbacks", "ema", "average"), {"0.weight": 1.0}),
    (("callbacks", "ema", "updates"), "word"),
    (("random", 0, "python"), [1]),
    (("random", 0, "cpu"), torch.zeros(3)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"), CHANGES, ids=lambda item: ".".join(map(str, item)) if isinstance(item, tuple) else ""
)
def test_error_names_a_state_part_that_does_not_fit_and_its_file(run, path, value):
    change(run, path, value)
    with pytest.raises(CheckpointError) as caught:
        trainer(run).fit()
    assert str(caught.value).startswith(f"{run}/checkpoints/ba4/state.pt: its part {path[0]!r} does not fit this run")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["model", "optimizers", "loop", "callbacks", "random", "log_bytes"])
def test_error_names_a_missing_state_part(run, part):
    change(run, (part,), MISSING)
    with pytest.raises(CheckpointError, match=f"ba4/state.pt: it is not a checkpoint of a run: it lacks {part};"):
        trainer(run)


@pytest.mark.parametrize("path", [("model",), ("model", "0.weight"), ("callbacks",)])
def test_error_names_a_wrong_state_part_that_only_evaluation_uses(run, path):
    change(run, path, 7)
    with pytest.raises(CheckpointError, match=f"ba4/state.pt: its part '{path[0]}' does not fit this run"):
        trainer(None).load(load(run / "checkpoints/ba4"))


def test_links_to_checkpoints_are_not_followed(run):
    (run / "checkpoints").rename(run.parent / "elsewhere")
    (run / "checkpoints").symlink_to(run.parent / "elsewhere")
    with refused("run_dir", PathError):
        trainer(run)
    assert sorted(path.name for path in (run.parent / "elsewhere").glob("ba*")) == ["ba2", "ba4"]


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_invalid_folder_name_is_a_one_line_error(name):
    for options in ({"run_dir": name}, {"run_dir": None, "resume": name}):
        with pytest.raises(PathError, match="^(run_dir|resume)=") as caught:
            trainer(**options)
        assert "\n" not in str(caught.value)


def evaluations(result):
    return [(item["timestamp"]["batch"], item["metrics"]) for item in result.evaluations]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The record of an uninterrupted run."""
    return trainer(tmp_path_factory.mktemp("whole") / "run").fit()


def test_number_of_earlier_evaluations_does_not_change_the_size_of_a_checkpoint(tmp_path):
    sizes = []
    run = trainer(tmp_path / "run", "20ba", eval_interval="1ba", checkpoint={"interval": "1ba"})
    run.on("checkpoint_saved", lambda _, path: sizes.append((path / "state.pt").stat().st_size))
    assert len(run.fit().evaluations) == 20
    assert max(sizes[1:]) - min(sizes[1:]) < 200  # less than the size of an evaluation: only counters get longer


def test_earlier_evaluations_are_read_from_the_log(run, whole):
    again = trainer(run)
    assert evaluations(again.fit()) == evaluations(whole)
    assert len(read_evaluations(run / METRICS, 10**6)) == 3


def test_run_resumed_in_a_new_folder_copies_earlier_evaluations_to_its_log(run, whole):
    own = run.parent / "own"
    cut = trainer(own, resume=run)

    def stop(*_):
        raise KeyboardInterrupt

    cut.on("checkpoint_saved", stop)
    with pytest.raises(KeyboardInterrupt):
        cut.fit()
    shutil.rmtree(run)
    (own / RESULT).unlink()
    assert evaluations(trainer(own).fit()) == evaluations(whole)


def test_checkpoint_of_an_earlier_release_has_its_evaluations(run, whole):
    stored = [{**item, "metrics": {**item["metrics"], "eval/odd": math.nan}} for item in whole.evaluations[:2]]
    change(run, ("loop", "evaluations"), stored)
    log = run / METRICS
    lines = [line for line in log.read_bytes().splitlines(keepends=True) if not line.startswith(b'{"event":"eval"')]
    log.write_bytes(b"".join(lines))
    change(run, ("log_bytes",), len(b"".join(lines[:4])))
    expected = [(batch, {**metrics, "eval/odd": None}) for batch, metrics in evaluations(whole)[:2]]
    assert evaluations(trainer(run).fit())[:2] == expected
    assert [item["metrics"] for item in read_evaluations(log, 10**6)][:2] == [metrics for _, metrics in expected]


def test_lost_evaluations_of_the_log_are_reported(run, whole):
    lines = (run / METRICS).read_bytes().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(b'{"event":"eval"'))
    lines[first] = b'{"event":"eval",'.ljust(len(lines[first]), b"[")
    (run / METRICS).write_bytes(b"\n".join(lines) + b"\n")
    result = trainer(run).fit()
    assert evaluations(result) == evaluations(whole)[1:]
    resumes = [
        json.loads(line) for line in (run / METRICS).read_bytes().splitlines() if line.startswith(b'{"event":"resume"')
    ]
    assert resumes[0]["messages"][1] == f"{run}/metrics.jsonl has 1 of the 2 evaluations before the checkpoint"
