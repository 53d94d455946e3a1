"""Compare two runs bitwise: weights, optimizers, random numbers, records and config, but not times."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from checkpoint_helpers import newest

# Keys that may differ: times, the machine's load, names of studies, and log sizes, which depend on digits of times.
_FREE = re.compile(r"seconds|nanoseconds|conditions|log_bytes|^study$|^share")

_OF_LAUNCHERS = (".metrics.jsonl.tmp", "output.log")


def plain(value: Any) -> Any:
    """Return a value without times. Tensors become bytes and floats become text, so that NaN equals NaN."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if not _FREE.search(str(key))}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return repr(value) if isinstance(value, float) else value


def content_of(run_dir: Path) -> dict[str, Any]:
    """Return everything that a run writes, without times."""
    checkpoint, refused = newest(run_dir / "checkpoints")
    assert not refused
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    config = (run_dir / ".hydra" / "config.yaml").read_text().splitlines()
    overrides = (run_dir / ".hydra" / "overrides.yaml").read_text().splitlines()
    return {
        "state": plain(checkpoint.state),
        "description": checkpoint.description,
        "timestamp": plain(checkpoint.timestamp),
        "result": plain(json.loads((run_dir / "result.json").read_text())),
        "records": plain(records),
        "config": [line for line in config if not re.match("study|share|workers", line)],
        "overrides": [line for line in overrides if not re.match("- (study|share|workers|launcher)", line)],
        "files": sorted(path.name for path in run_dir.iterdir() if path.name not in _OF_LAUNCHERS),
    }


def assert_same(one: Path, other: Path, ignored: tuple[str, ...] = ()) -> None:
    """Compare two runs part by part, without the ignored keys of the record and of the checkpoint."""
    mine, theirs = content_of(one), content_of(other)
    for content in (mine, theirs):
        for key in ignored:
            content["result"].pop(key, None)
            content["state"].pop(key, None)
    for part, value in mine.items():
        assert value == theirs[part], part
