"""Benchmarks: `python scripts/bench.py schedulers`, `loop`, `features`, `throughput`, `startup` or `sharing`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

_BENCHES = {
    "schedulers": "the cost of a learning-rate scheduler's step",
    "loop": "the cost of a training loop per step",
    "throughput": "samples per second compared with a plain loop, on a GPU if there is one",
    "features": "the cost of each feature of the trainer",
    "startup": "the start-up time of the command line",
    "sharing": "the planner of shared prefixes, and a sweep with and without them",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark that the first argument names, with the other arguments."""
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
