"""Descriptions of a run in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

SAME = """
import functools, json
from ssr_hydra.trainer.description import describe_schedule
class Loss:
    def __init__(self): self.a, self.f = "x", [print]
value = [{"b", "a", "c", "d"}, len, functools.partial(max, key=len), Loss(), object(), lambda state: 1.0]
said = json.dumps(describe_schedule(value))
"""


def test_it_is_the_same_in_every_process() -> None:
    """Sets and functions have an order and an address of their own in each."""
    here: dict[str, Any] = {"__name__": "__main__"}
    exec(SAME, here)
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-c", f"{SAME}\nprint(said)"], env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == here["said"]
    assert "0x" not in here["said"]
