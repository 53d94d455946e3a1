"""The study of the documentation: four schedules, five SSRs, several seeds and two controls, on two small tasks.

    python scripts/study.py --out studies/real
    python scripts/study.py --out studies/real --tune
    python scripts/study.py --out quick --quick

``train.py`` trains every run. If you repeat the command with the same folder, it trains only the missing runs, and
writes the report of all runs in the folder. ``--tune`` runs the search that found the values in ``TUNED``. ``--quick``
runs a study of some seconds, which only shows that everything works.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from ssr_hydra import studies

CHECKOUT = Path(__file__).resolve().parent.parent
SSRS = (0.125, 0.25, 0.5, 1, 2)
QUICK = (0.1, 0.2)


@dataclass(frozen=True)
class Task:
    """A task of the study.

    Attributes:
        overrides: The overrides of all runs of the task.
        seeds: The number of seeds.
        tolerance: The smallest gain in the task's quality for which a doubling of the training is worth its time.
        lrs: The learning rates that the search tries.
        tuning_seeds: The seeds of the search. The study uses different seeds.
    """

    overrides: tuple[str, ...]
    seeds: int
    tolerance: float
    lrs: tuple[float, ...]
    tuning_seeds: range


# At SSR 1 the warmup has the presets' length, 5% of the run. Its unit is not dur, so a shorter run has the same warmup.
TASKS = {
    "digits": Task(("scheduler.t_warmup=60ba",), 8, 0.01, (0.05, 0.1, 0.2, 0.4), range(100, 108)),
    "byte_lm": Task(
        ("experiment=byte_lm", "scheduler.t_warmup=10240tok"), 6, 0.05, (0.005, 0.01, 0.02, 0.04), range(100, 103)
    ),
}

# The values that the search tries for each schedule, in addition to the learning rate.
SEARCHED = {
    "cosine_warmup": (),
    "linear_warmup": (),
    "wsd": ("scheduler.t_decay=0.1dur,0.2dur,0.4dur",),
    "multistep_warmup": ("scheduler.milestones=[0.3dur,0.6dur],[0.5dur,0.75dur],[0.7dur,0.9dur]",),
}

# The result of --tune at SSR 1 (see docs/study/tuning/). The learning rate is the preset's, unless the best mean of a
# different rate is better by more than its standard error. The other values are those with the best mean at that rate.
TUNED: dict[str, dict[str, tuple[str, ...]]] = {
    "digits": {
        "cosine_warmup": ("optimizer.lr=0.1",),
        "linear_warmup": ("optimizer.lr=0.1",),
        "wsd": ("optimizer.lr=0.1", "scheduler.t_decay=0.2dur"),
        "multistep_warmup": ("optimizer.lr=0.1", "scheduler.milestones=[0.7dur,0.9dur]"),
    },
    "byte_lm": {
        "cosine_warmup": ("optimizer.lr=0.02",),
        "linear_warmup": ("optimizer.lr=0.02",),
        "wsd": ("optimizer.lr=0.01", "scheduler.t_decay=0.4dur"),
        "multistep_warmup": ("optimizer.lr=0.01", "scheduler.milestones=[0.7dur,0.9dur]"),
    },
}

# Run one job at a time, in one process with one thread, because the seconds are a result of the study.
ALIKE = (
    "hydra/launcher=basic",
    "study_report=false",
    "trainer.threads=1",
    "trainer.progress=none",
    "trainer.device=cpu",
)


@dataclass(frozen=True)
class Sweep:
    """One command ``train.py -m``: the folder of the sweep below the study's folder, and its overrides."""

    folder: Path
    overrides: tuple[str, ...]

    def command(self) -> list[str]:
        """Return the command that runs the sweep."""
        train = [sys.executable, str(CHECKOUT / "train.py"), "-m"]
        return [*train, f"study={self.folder.as_posix()}", *ALIKE, *self.overrides]


def schedules(name: str, quick: bool) -> list[str]:
    """Return the names of a task's schedules; only the last one for a quick study."""
    return list(TUNED[name])[-1:] if quick else list(TUNED[name])


def sweeps(out: Path, name: str, quick: bool) -> Iterator[Sweep]:
    """Yield the sweeps of a task. For each schedule: runs with a scaled and with a fixed warmup, and truncated runs."""
    task = TASKS[name]
    seeds = _listed(range(2 if quick else task.seeds))
    ssrs = QUICK if quick else SSRS
    for schedule in schedules(name, quick):
        tuned = TUNED[name][schedule]
        alike = (*task.overrides, f"name={schedule}", f"scheduler={schedule}", *tuned, f"seed={seeds}")
        folder = out / name / schedule
        yield Sweep(folder / "scaled", (*alike, f"ssr={_listed(ssrs)}", "scheduler.scale_warmup=false,true"))
        shorter = [ssr for ssr in ssrs if ssr <= 1]  # a run cannot be truncated to more than its full length
        yield Sweep(folder / "truncated", (*alike, f"ssr={_listed(shorter)}", "control=truncate"))


def search(out: Path, name: str) -> Iterator[Sweep]:
    """Yield the sweeps of the search for the values in ``TUNED``."""
    task = TASKS[name]
    alike = (*task.overrides, f"seed={_listed(task.tuning_seeds)}", f"optimizer.lr={_listed(task.lrs)}")
    for schedule, searched in SEARCHED.items():
        folder = out / "tuning" / name / schedule
        yield Sweep(folder, (*alike, f"scheduler={schedule}", *searched, "trainer.eval_interval=1dur"))


def run(sweep: Sweep) -> int:
    """Run the missing jobs of a sweep. Return the exit code."""
    print(sweep.folder, flush=True)
    code = subprocess.run(sweep.command(), stdout=subprocess.DEVNULL, check=False).returncode
    if code:
        print(f"{sweep.folder}: train.py ended with {code}", file=sys.stderr)
    return code


def tell(out: Path, name: str, quick: bool) -> int:
    """Write the report of a task, and print its table and its answer. Return the exit code."""
    folders = [str(out / name / schedule) for schedule in schedules(name, quick)]
    options = ["--equal", "steps", "--tolerance", f"{TASKS[name].tolerance:g}", "--out", str(out / name / "report")]
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "scripts/report.py"), *folders, *options], check=False
    ).returncode


def tabulate(out: Path, name: str) -> str:
    """Return the results of the search as CSV, with one row per setting."""
    frame = studies.summary(studies.load([out / "tuning" / name / schedule for schedule in SEARCHED]))
    table: str = frame[["recipe", "ssr", "n", "mean", "sd"]].to_csv(index=False, lineterminator="\n")
    return table


def _listed(values: Sequence[float] | range) -> str:
    return ",".join(f"{value:g}" for value in values)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse arguments, train the missing runs, and write reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=Path("studies/real"), metavar="FOLDER", help="(%(default)s)")
    parser.add_argument("--task", choices=list(TASKS), action="append", help="train only this task; can be repeated")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="one schedule, two short SSRs, two seeds")
    kind.add_argument("--tune", action="store_true", help="run the search instead of the study")
    args = parser.parse_args(argv)
    names = args.task or list(TASKS)
    if args.tune:
        failed = max(run(sweep) for name in names for sweep in search(args.out, name))
        for name in names:
            (args.out / "tuning" / f"{name}.csv").write_text(tabulate(args.out, name), encoding="utf-8")
        sys.exit(failed)
    codes = [run(sweep) for name in names for sweep in sweeps(args.out, name, args.quick)]
    sys.exit(max(codes + [tell(args.out, name, args.quick) for name in names]))


if __name__ == "__main__":
    main()
