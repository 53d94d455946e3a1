"""A stand-in for the trainer, and readers of the files that loggers write."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssr_hydra.records import RunResult
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp


class StubTrainer:
    """The attributes of a trainer that callbacks may read."""

    def __init__(self, run_dir: Path | None, batch: int = 0, **changes: Any) -> None:
        self.run_dir = run_dir
        self.model: nn.Module = changes.pop("model", nn.Linear(2, 1))
        self.device = torch.device("cpu")
        self.name = "été <b>"
        self.config: dict[str, Any] | None = changes.pop("config", None)
        self.is_main = True
        self.state = State(**{"max_duration": "100ba", "dataloader_len": 10, **changes})
        self.at(batch)

    def at(self, batch: int) -> StubTrainer:
        self.state.timestamp = Timestamp(batch=batch)
        return self


def train(batch: int, **values: Any) -> dict[str, Any]:
    """Return a record of training as the loop writes it. Each batch has a different loss, 1 / batch."""
    clocks = {"epoch": batch // 10, "batch": batch, "sample": 16 * batch, "token": 0, "train_seconds": batch / 8}
    return {"event": "train", **clocks, "train/loss": 1 / batch, "lr": 0.1, **values}


def result(status: str = "completed", **metrics: float | None) -> RunResult:
    numbers = {"steps": 20, "samples": 320, "tokens": 0, "train_seconds": 1.0, "total_seconds": 2.0}
    error = None if status == "completed" else "ValueError: x"
    return RunResult(
        status=status, error=error, name="n", ssr=1.0, max_duration="20ba", seed=0, metrics=dict(metrics), **numbers
    )


def log_records(
    logger: Any, folder: Path, *records: dict[str, Any], batch: int = 0, ends: RunResult | None = None, **changes: Any
) -> None:
    """Let a logger log these records of a run that starts after ``batch`` batches."""
    trainer = StubTrainer(folder, batch, **changes)
    logger.fit_start(trainer)
    with closing(logger):
        for record in records:
            logger.log(trainer, record)
        if ends is not None:
            logger.fit_end(trainer, ends)


def scalars_of_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return tag -> (step, value), read by TensorBoard's own package."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(item.step, item.value) for item in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def records_of_wandb(folder: Path) -> list[Any]:
    """Return the records in the file of an offline run. W&B's own package can only send this file to a server.

    Another process writes the file, and may not have finished when the run has finished.
    """
    (path,) = folder.glob("*.wandb")
    for _ in range(6000):  # wait for minutes if necessary
        records = list(_records(path.read_bytes()))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.05)
    raise AssertionError(f"{path} has no end")


def _records(data: bytes) -> Iterator[Any]:
    """Yield the records of a .wandb file.

    The file is a LevelDB log after a header of seven bytes. The log has blocks of 32 KiB, and the blocks have parts of
    records. Each part begins with a checksum, a length and a kind (1 whole, 2 first, 3 middle, 4 last).
    """
    from wandb.proto import wandb_internal_pb2

    assert data[:4] in (b":W&B", b"")
    position, whole = 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if kind == 0 or position + 7 + length > len(data):
            return
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def history_of_wandb(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of an offline run, without the times that W&B adds."""
    rows = []
    for record in records_of_wandb(folder):
        if record.WhichOneof("record_type") == "history":
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            rows.append({key: value for key, value in items.items() if key not in ("_runtime", "_timestamp")})
    return rows
