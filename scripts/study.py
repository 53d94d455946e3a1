"""The study of the documentation: four schedules, five SSRs, several seeds and two controls, on two small tasks.

    python scripts/study.py --out studies/real
    python scripts/study.py --out studies/real --tune
    python scripts/study.py --out quick --quick

Every run is one of ``train.py``. Started again with the same folder, it trains only what is missing, and the report is
made of what lies there. ``--tune`` makes the search by which ``TUNED`` was chosen, ``--quick`` a study of seconds
that shows nothing but that all of this runs.
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
        overrides: What all of its runs have in common.
        seeds: How many.
        tolerance: A doubling that gains less is not worth its time, in units of the task's quality.
        lrs: Of the search.
        tuning_seeds: Likewise; none of the study's.
    """

    overrides: tuple[str, ...]
    seeds: int
    tolerance: float
    lrs: tuple[float, ...]
    tuning_seeds: range


# The warmup is the 5% of the presets at SSR 1, but not as a share: only so can it stay what it is in a shorter run.
TASKS = {
    "digits": Task(("scheduler.t_warmup=60ba",), 8, 0.01, (0.05, 0.1, 0.2, 0.4), range(100, 108)),
    "byte_lm": Task(
        ("experiment=byte_lm", "scheduler.t_warmup=10240tok"), 6, 0.05, (0.005, 0.01, 0.02, 0.04), range(100, 103)
    ),
}

# Of each schedule, what the search goes through beside the learning rate.
SEARCHED = {
    "cosine_warmup": (),
    "linear_warmup": (),
    "wsd": ("scheduler.t_decay=0.1dur,0.2dur,0.4dur",),
    "multistep_warmup": ("scheduler.milestones=[0.3dur,0.6dur],[0.5dur,0.75dur],[0.7dur,0.9dur]",),
}

# By --tune, of which docs/study/tuning/ has the result: at SSR 1 the preset's learning rate, unless another one's best
# mean is better by more than its standard error; at that rate, what else is searched by the best mean.
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

# One process, one thread, one job after another: seconds are a result here.
ALIKE = (
    "hydra/launcher=basic",
    "study_report=false",
    "trainer.threads=1",
    "trainer.progress=none",
    "trainer.device=cpu",
)


@dataclass(frozen=True)
class Sweep:
    """One ``train.py -m``: its folder below the study's, and its overrides."""

    folder: Path
    overrides: tuple[str, ...]

    def command(self) -> list[str]:
        """What is run."""
        train = [sys.executable, str(CHECKOUT / "train.py"), "-m"]
        return [*train, f"study={self.folder.as_posix()}", *ALIKE, *self.overrides]


def schedules(name: str, quick: bool) -> list[str]:
    """Of a task; of a quick study one."""
    return list(TUNED[name])[-1:] if quick else list(TUNED[name])


def sweeps(out: Path, name: str, quick: bool) -> Iterator[Sweep]:
    """The sweeps of a task: of each schedule the study itself with its warmup scaled or not, and the truncated runs."""
    task = TASKS[name]
    seeds = _listed(range(2 if quick else task.seeds))
    ssrs = QUICK if quick else SSRS
    for schedule in schedules(name, quick):
        tuned = TUNED[name][schedule]
        alike = (*task.overrides, f"name={schedule}", f"scheduler={schedule}", *tuned, f"seed={seeds}")
        folder = out / name / schedule
        yield Sweep(folder / "scaled", (*alike, f"ssr={_listed(ssrs)}", "scheduler.scale_warmup=false,true"))
        shorter = [ssr for ssr in ssrs if ssr <= 1]  # a run cannot be cut off beyond its end
        yield Sweep(folder / "truncated", (*alike, f"ssr={_listed(shorter)}", "control=truncate"))


def search(out: Path, name: str) -> Iterator[Sweep]:
    """The sweeps that ``TUNED`` was chosen by."""
    task = TASKS[name]
    alike = (*task.overrides, f"seed={_listed(task.tuning_seeds)}", f"optimizer.lr={_listed(task.lrs)}")
    for schedule, searched in SEARCHED.items():
        folder = out / "tuning" / name / schedule
        yield Sweep(folder, (*alike, f"scheduler={schedule}", *searched, "trainer.eval_interval=1dur"))


def run(sweep: Sweep) -> int:
    """Run a sweep, or what is missing of it."""
    print(sweep.folder, flush=True)
    code = subprocess.run(sweep.command(), stdout=subprocess.DEVNULL, check=False).returncode
    if code:
        print(f"{sweep.folder}: train.py ended with {code}", file=sys.stderr)
    return code


def tell(out: Path, name: str, quick: bool) -> int:
    """Write a task's report, and print its table and answer."""
    folders = [str(out / name / schedule) for schedule in schedules(name, quick)]
    asked = ["--equal", "steps", "--tolerance", f"{TASKS[name].tolerance:g}", "--out", str(out / name / "report")]
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "scripts/report.py"), *folders, *asked], check=False
    ).returncode


def tabulate(out: Path, name: str) -> str:
    """What the search found: a row for each setting, as CSV."""
    frame = studies.summary(studies.load([out / "tuning" / name / schedule for schedule in SEARCHED]))
    table: str = frame[["recipe", "ssr", "n", "mean", "sd"]].to_csv(index=False, lineterminator="\n")
    return table


def _listed(values: Sequence[float] | range) -> str:
    return ",".join(f"{value:g}" for value in values)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, train what is missing, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=Path("studies/real"), metavar="FOLDER", help="(%(default)s)")
    parser.add_argument("--task", choices=list(TASKS), action="append", help="only this one; may be given twice")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="one schedule, two short SSRs, two seeds")
    kind.add_argument("--tune", action="store_true", help="search, instead of the study")
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
