"""Measurements side by side with peers: `python scripts/bench.py schedulers`, `loop` or `startup`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

__all__ = ["main"]

_BENCHES = {
    "schedulers": "what a learning-rate scheduler's step costs",
    "loop": "what a training loop costs per step",
    "throughput": "samples per second against a loop written by hand, on a GPU where there is one",
    "features": "what each feature of the trainer adds to a step",
    "startup": "how long the command line takes to answer",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench that the first argument names; the others are its own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in _BENCHES:
        result: int = importlib.import_module(f"bench_{arguments[0]}").main(arguments[1:])
        return result
    print("usage: bench.py BENCH [options]\n")
    for name, purpose in _BENCHES.items():
        print(f"  {name:<12}{purpose}")
    print("\nbench.py BENCH --help shows the options.")
    return 0 if arguments in (["-h"], ["--help"]) else 2


if __name__ == "__main__":
    raise SystemExit(main())
