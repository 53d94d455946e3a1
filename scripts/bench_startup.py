"""Measure the CPU time until the command line answers, compared with a plain Hydra app with equally many configs."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
GROUPS = ("scheduler", "optimizer", "model", "data", "trainer")
BARE = """
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Config:
    scheduler: Any = MISSING
    optimizer: Any = MISSING
    model: Any = MISSING
    data: Any = MISSING
    trainer: Any = MISSING


@dataclass
class Part:
    x: str = "1"
    y: float = 1.0
    z: bool = False


store = ConfigStore.instance()
store.store(name="base_config", node=Config)
for group, choices in COUNTS.items():
    for number in range(choices):
        store.store(group=group, name=f"c{number}", node=Part)


@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg):
    pass


main()
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Time both apps in turns, so that other load affects both. Print the medians and their ratio."""
    parser = argparse.ArgumentParser(prog="bench.py startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="number of starts of each app (default 9)")
    rounds = parser.parse_args(argv).rounds
    with tempfile.TemporaryDirectory() as folder:
        bare = _write_bare_app(Path(folder))
        print(f"{'':<30}{'bare app, s':>14}{'train.py, s':>14}{'ratio':>8}")
        for arguments in (["--cfg", "job"], ["--help"], ["--shell-completion", "query=bash"]):
            times: dict[Path, list[float]] = {bare: [], TRAIN: []}
            for _ in range(rounds):
                for script, seconds in times.items():
                    seconds.append(_start(script, arguments, Path(folder)))
            ours, least = statistics.median(times[TRAIN]), statistics.median(times[bare])
            print(f"{' '.join(arguments):<30}{least:>14.3f}{ours:>14.3f}{ours / least:>8.2f}")
    return 0


def _write_bare_app(folder: Path) -> Path:
    sys.path.insert(0, str(TRAIN.parent))
    from ssr_hydra.configs import GROUPS as ours

    counts = {group: len(ours[group]) for group in GROUPS}
    script = folder / "bare.py"
    script.write_text(f"COUNTS = {counts!r}\n{BARE}", encoding="utf-8")
    (folder / "conf").mkdir()
    defaults = "".join(f"  - {group}: c0\n" for group in GROUPS)
    (folder / "conf/config.yaml").write_text(f"defaults:\n  - base_config\n{defaults}  - _self_\n", encoding="utf-8")
    return script


def _start(script: Path, arguments: Sequence[str], folder: Path) -> float:
    """Run a script once. Return the CPU seconds of its process."""
    environment = {**os.environ, "PYTHONPATH": str(TRAIN.parent), "COMP_LINE": f"python {script} sched"}
    command = [sys.executable, str(script), *arguments]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise subprocess.CalledProcessError(status, command)
    return used.ru_utime + used.ru_stime
