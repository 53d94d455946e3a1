"""Read a study from the records of runs on disk."""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd

from ssr_hydra.errors import InputError, MismatchError, MissingValueError, PathError, UnknownNameError
from ssr_hydra.metrics import Direction
from ssr_hydra.metrics_log import METRICS
from ssr_hydra.records import RESULT, RunResult
from ssr_hydra.studies.notes import Notes
from ssr_hydra.studies.recipes import Config, ConfigReader, Recipe, label_recipes, work_of
from ssr_hydra.studies.record_checks import check_record, direction_of
from ssr_hydra.studies.study import CLOCKS, COLUMNS, CONDITIONS, Problem, Study
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Pulse, is_alive
from ssr_hydra.sweeps.job_status import JOB, KILLED, JobState, run_folders
from ssr_hydra.time import simplest

_OF_A_RUN = (RESULT, METRICS, JOB, ".hydra")
_TRUNCATE, _WARMUP = "truncate", "scale_warmup"


def load(
    paths: str | Path | Iterable[str | Path], *, objective: str | None = None, direction: Direction | None = None
) -> Study:
    """Read every run in a folder, or in several folders, and their subfolders. The study may still be running.

    A folder counts as the folder of a run if it contains a ``result.json``, or if a run or a sweep created the folder
    for a run that has started or is planned. A record is ignored and listed as a :class:`Problem` if it is truncated,
    has impossible values, or contradicts its own config. A run without a record and a failed run are also problems. If
    several runs have the same recipe, control, ssr and seed, only the first completed run counts, and every other run
    is a problem.

    Runs of one recipe have the same config except for ssr, seed, control, and settings that do not change results
    (loggers, checkpoints, display). If some runs of a recipe have a fixed warmup and others have a scaled warmup, the
    runs with a scaled warmup are a control.

    Args:
        paths: The folder of a study or of a single run, or several such folders.
        objective: The metric that is the quality, such as ``eval/loss``; None means the ``trainer.objective`` of the
            runs.
        direction: Whether ``max`` or ``min`` is better; None means that the metric's name decides.

    Raises:
        InputError: There is no run; the runs have different objectives, or no objective is known; no run has the
            requested objective; or the direction is unknown.

    Example:
        >>> study = load("studies/digits")  # doctest: +SKIP
        >>> study.frame.groupby(["recipe", "ssr"])["quality"].mean()  # doctest: +SKIP
    """
    folders = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    reading = _Reading()
    for folder in folders:
        reading.add(folder)
    if not reading.runs and not reading.problems:
        raise PathError("study", [str(folder) for folder in folders], "no runs found", "give the folder of a study")
    return reading.study(tuple(folders), objective, direction)


@dataclass
class _Run:
    study: str
    job: str
    folder: Path
    record: RunResult
    config: Config | None

    @property
    def key(self) -> Hashable:
        """A key that is equal for runs of the same recipe. Without a config, the key comes from the record."""
        return self.config.key if self.config is not None else (self.record.name, self.record.max_duration)

    @property
    def objective(self) -> str | None:
        metric = self.config.get("trainer.objective") if self.config is not None else None
        return metric if isinstance(metric, str) else None


@dataclass
class _Reading:
    runs: list[_Run] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)
    _configs: ConfigReader = field(default_factory=ConfigReader)
    _seen: set[str] = field(default_factory=set)
    _locks: frozenset[int] | None = None

    def add(self, source: Path) -> None:
        """Read every run in a folder and its subfolders. A run that was already read is skipped."""
        root = source.parent if source.name == RESULT and source.is_file() else source
        if not root.is_dir():
            rule = "must be a folder (got a file)" if source.exists() else "folder not found"
            raise PathError("study", str(source), rule, "give the folder of a study")
        jobs = sorted((os.path.relpath(folder, root) for folder in run_folders(root, _OF_A_RUN)), key=_natural)
        # The folder of a study may be the root, or any folder between the root and a run.
        for place in sorted({root, *(root / above for job in jobs for above in PurePath(job).parents)}):
            self.notes.add_codes(place)
        for job in jobs:
            true = os.path.realpath(root / job)
            if true not in self._seen:
                self._seen.add(true)
                self._read(root, job)

    def _read(self, root: Path, job: str) -> None:
        folder = root / job
        try:
            record = RunResult.load(folder / RESULT)
            config = self._configs.read(folder)
            check_record(record, {} if config is None else config.varied)
        except FileNotFoundError:
            self.problems.append(self._without_record(folder))
            return
        except (OSError, ValueError, RecursionError) as error:
            torn = isinstance(error, OSError) or (isinstance(error, InputError) and error.field == "result")
            # The problem already names the path, so use the rule alone.
            why = error.rule if isinstance(error, InputError) else error
            self.problems.append(Problem(str(folder), "torn" if torn else "invalid", _line(why)))
            return
        if not JobState(record.status).is_final and _is_alive(folder):
            why = f"the run is being retried: {record.error or 'it failed before'}"
            self.problems.append(Problem(str(folder), "running", _line(why)))
        else:
            self.notes.add(record)
            self.runs.append(_Run(root.resolve().name, Path(job).as_posix(), folder, record, config))

    def _without_record(self, folder: Path) -> Problem:
        if self._locks is None:
            self._locks = _locked_inodes()
        try:
            running = (folder / METRICS).stat().st_ino in self._locks
        except OSError:
            running = False
        if running or _is_alive(folder):
            return Problem(str(folder), "running", "the run is being trained now")
        if Pulse.read(folder / HEARTBEAT) is not None:
            return Problem(str(folder), "unfinished", KILLED)
        if (folder / JOB).exists() and not ((folder / METRICS).exists() or (folder / ".hydra").exists()):
            return Problem(str(folder), "waiting", "a sweep has planned the run, but has not started it")
        return Problem(str(folder), "unfinished", f"there is no {RESULT}: the run was killed, or runs elsewhere")

    def study(self, sources: tuple[Path, ...], objective: str | None, direction: Direction | None) -> Study:
        # Without a valid record, the study has only problems, and needs no metric.
        metric = self._objective(objective) if self.runs else objective or ""
        way = direction_of(metric, direction, self._modes(metric)) if self.runs else direction or "max"
        labels, controls = self._names()
        self.problems += [problem for run in self.runs for problem in _without_quality(run, metric)]
        rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        curves: dict[str, list[Any]] = {name: [] for name in ("run", *CLOCKS, "value")}
        for run, control in zip(self.runs, controls, strict=True):
            number = len(rows["study"])
            for name, value in _run_row(run, labels[run.key], control, metric).items():
                rows[name].append(value)
            for evaluation in run.record.evaluations:
                if metric in evaluation["metrics"]:
                    value = evaluation["metrics"][metric]
                    curves["run"].append(number)
                    curves["value"].append(math.nan if value is None else value)
                    for name, clock in CLOCKS.items():
                        curves[name].append(evaluation["timestamp"][clock])
        evaluations = pd.DataFrame(
            {name: np.array(values, dtype=int if name == "run" else float) for name, values in curves.items()}
        )
        frame, evaluations, duplicates = without_duplicates(as_frame(rows), evaluations)
        recorded = {str(run.folder): [run.record.conditions.get(name) for name in CONDITIONS] for run in self.runs}
        conditions = pd.DataFrame([recorded[folder] for folder in frame["folder"]], frame.index, CONDITIONS)
        return Study(
            frame=frame,
            curves=evaluations,
            objective=metric,
            direction=way,
            problems=(*self.problems, *duplicates),
            notes=self.notes.collected(frame),
            sources=sources,
            hardware=self.notes.hardware,
            versions=self.notes.versions,
            conditions=conditions.apply(pd.to_numeric, errors="coerce").dropna(how="all").astype(float),
            same_work=self._same_work(),
        )

    def _same_work(self) -> bool | None:
        configs = {run.key: run.config for run in self.runs}
        work_texts = [work_of(config) for config in configs.values() if config is not None]
        return len(set(work_texts)) == 1 if len(work_texts) == len(configs) else None

    def _objective(self, objective: str | None) -> str:
        metric_names = sorted({name for run in self.runs for name in run.record.metrics})
        if objective is not None:
            measured = {name for run in self.runs for each in run.record.evaluations for name in each["metrics"]}
            if metric_names and objective not in {*metric_names, *measured}:
                fix = f"the metrics are {', '.join(sorted({*metric_names, *measured}))}"
                raise UnknownNameError("objective", objective, "no run has this metric", fix)
            return objective
        objectives = Counter(run.objective for run in self.runs if run.objective is not None)
        if len(objectives) > 1:
            rule = "must be given, because the runs have different objectives: "
            rule += ", ".join(
                f"{name} ({count} {'run' if count == 1 else 'runs'})" for name, count in objectives.items()
            )
            raise MismatchError(
                "objective", None, rule, "choose a metric that all runs have, or load the runs separately"
            )
        if not objectives:
            fix = f"choose one of {', '.join(metric_names)}" if metric_names else "load runs that have a metric"
            rule = "must be given, because the configs of the runs have no objective"
            raise MissingValueError("objective", None, rule, fix)
        return next(iter(objectives))

    def _modes(self, metric: str) -> set[str]:
        """Return the modes, except ``auto``, of all configs whose ``checkpoint.best`` is this metric."""
        modes = set()
        for run in self.runs:
            if run.config is not None and run.config.get("checkpoint.best") == metric:
                modes.add(str(run.config.get("checkpoint.mode")))
        return modes - {"auto"}

    def _names(self) -> tuple[dict[Hashable, str], list[str]]:
        recipes: dict[Hashable, Recipe] = {}
        warmups: dict[Hashable, set[bool | None]] = {}
        titles: dict[Hashable, set[Any]] = {}
        for run in self.runs:
            if run.key not in recipes:
                recipes[run.key] = Recipe.of(run.folder, run.config, run.record.name)
            warmups.setdefault(run.key, set()).add(None if run.config is None else run.config.scaled)
            titles.setdefault(run.key, set()).add(None if run.config is None else run.config.get("name"))
        for key, names in titles.items():
            if len(names) == 1 and isinstance(title := next(iter(names)), str):
                recipes[key].title = title
        controls = []
        for run in self.runs:
            control = run.record.control
            parts = [control] if control is not None else []
            if run.config is not None and run.config.scaled and False in warmups[run.key]:
                parts.append(_WARMUP)
            controls.append("+".join(parts))
        return label_recipes(recipes), controls


def _without_quality(run: _Run, metric: str) -> Iterator[Problem]:
    """Yield the problem of a run, if the run has no quality."""
    record, where = run.record, str(run.folder)
    if record.status != "completed":
        yield Problem(where, record.status, _line(record.error or "the record has no reason"))
    elif record.metrics.get(metric) is None:
        has = "is not a finite number" if metric in record.metrics else "is not among its metrics"
        yield Problem(where, "no_value", f"{metric} {has}")


def _run_row(run: _Run, label: str, control: str, metric: str) -> dict[str, Any]:
    record = run.record
    value = record.metrics.get(metric) if record.status == "completed" else None
    return {
        "study": run.study,
        "job": run.job,
        "recipe": label,
        "control": control,
        "ssr": float(simplest(float(record.ssr))),
        "seed": record.seed,
        "status": record.status,
        "error": record.error or "",
        "quality": math.nan if value is None else float(value),
        "steps": record.steps,
        "samples": record.samples,
        "tokens": record.tokens,
        "seconds": record.train_seconds,
        "total_seconds": record.total_seconds,
        "resumes": record.resumes,
        "max_duration": record.max_duration,
        "config_hash": record.config_hash,
        "folder": str(run.folder),
    }


def as_frame(rows: dict[str, list[Any]]) -> pd.DataFrame:
    """Return rows as a data frame with the columns and types of ``Study.frame``."""
    numbers = {"ssr", "quality", "steps", "samples", "tokens", "seconds", "total_seconds"}
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        if name in numbers:
            columns[name] = np.array(rows[name], dtype=float)
        elif name == "seed":
            columns[name] = pd.array(rows[name], dtype="Int64")
        else:
            columns[name] = np.array(rows[name], dtype=int if name == "resumes" else object)
    return pd.DataFrame(columns)


def without_duplicates(frame: pd.DataFrame, curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[Problem]]:
    """Keep only the first completed run of all runs with the same recipe, control, ssr and seed.

    A second run with the same seed is not an independent run. If both counted, intervals would be too narrow.

    Returns:
        The frame and the evaluations of the kept runs, and a problem for each dropped run that has a quality.
    """
    keys = ["recipe", "control", "ssr", "seed"]
    if not (frame.duplicated(keys) & frame["seed"].notna()).any():
        return frame, curves, []
    order = frame.assign(lacking=frame["quality"].isna()).sort_values("lacking", kind="stable")
    twice = order.duplicated(keys) & order["seed"].notna()
    dropped = sorted(twice.index[twice])
    if not dropped:
        return frame, curves, []
    originals = order[~order.duplicated(keys) & order["seed"].notna()]
    names = originals[keys].itertuples(index=False, name=None)
    first = dict(zip(names, zip(originals["folder"], originals["quality"], strict=True), strict=True))
    problems = []
    for row in frame.loc[dropped].itertuples():
        folder, quality = first[row.recipe, row.control, row.ssr, row.seed]
        if math.isnan(row.quality):
            continue  # the list of problems already has this failed run
        same = "the same value" if quality == row.quality else f"{quality:.6g} there, {row.quality:.6g} here"
        reason = f"{folder} has the same recipe, ssr and seed, and only that run counts: {same}"
        problems.append(Problem(row.folder, "duplicate", reason))
    kept_rows = frame.drop(index=dropped)
    numbers = np.full(len(frame), -1)
    numbers[kept_rows.index] = np.arange(len(kept_rows))
    curves = curves[numbers[curves["run"]] >= 0]
    return (
        kept_rows.reset_index(drop=True),
        curves.assign(run=numbers[curves["run"]]).reset_index(drop=True),
        problems,
    )


def _is_alive(folder: Path) -> bool:
    # The age of the heartbeat is measured by this machine's clock, because a reader must not write to the folder.
    return is_alive(folder / HEARTBEAT, time.time())


def _natural(path: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts job 10 after job 9."""
    parts = re.split(r"(\d+)", path)
    return [(0, int(part), "") if part.isdecimal() and len(part) < 20 else (1, 0, part) for part in parts]


def _locked_inodes() -> frozenset[int]:
    """Return the inodes of all locked files on this machine, without acquiring a lock that a run may need."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return frozenset()
    inodes = re.findall(r"FLOCK .* [0-9a-f]+:[0-9a-f]+:(\d+) ", "\n".join(lines))
    return frozenset(map(int, inodes))


def _line(error: object) -> str:
    text = str(error) if str(error) else type(error).__name__
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:299]}\N{HORIZONTAL ELLIPSIS}"
