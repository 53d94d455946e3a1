"""Read a study from the records of runs on disk."""

from __future__ import annotations

import math
import os
import re
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from ssr_hydra.errors import InputError, MismatchError, MissingValueError, PathError, UnknownNameError
from ssr_hydra.metrics import DIRECTIONS, Direction, resolve_direction
from ssr_hydra.metrics_log import METRICS
from ssr_hydra.records import RESULT, RunResult, check_evaluations, is_count, is_number
from ssr_hydra.studies.notes import count_versions, differences, group_by_machine, notes_of_frame, recorded_codes
from ssr_hydra.studies.recipes import Config, ConfigReader, Recipe, label_recipes, work_of
from ssr_hydra.studies.study import CLOCKS, CONDITIONS, Problem, Study, as_curves, as_frame
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Pulse, is_alive
from ssr_hydra.sweeps.job_status import JOB, KILLED, JobState, run_folders
from ssr_hydra.time import simplest

_OF_A_RUN = (RESULT, METRICS, JOB, ".hydra")


def load(
    paths: str | Path | Iterable[str | Path], *, objective: str | None = None, direction: Direction | None = None
) -> Study:
    """Read every run in a folder, or in several folders, and their subfolders. The study may still be running.

    A folder is the folder of a run if it contains ``result.json`` (the record), ``metrics.jsonl``, ``job.json`` or
    ``.hydra``. ``Study.problems`` lists failed runs, runs without a record, and runs whose record is ignored because it
    is truncated, has impossible values, or contradicts the run's config. If several runs have the same recipe, control,
    ssr and seed, only the first completed run counts, and the others are problems.

    Two runs belong to the same recipe if their configs differ only in ``ssr``, ``seed``, ``control``, and settings that
    do not change results (loggers, checkpoints, display). If some runs of a recipe have a fixed warmup and others a
    scaled warmup, the runs with a scaled warmup are the control ``scale_warmup``.

    Args:
        paths: The folder of a study or of a single run, or several such folders.
        objective: Name of the metric to compare, such as ``eval/loss``; None means the ``trainer.objective`` of the
            runs.
        direction: Whether ``max`` or ``min`` is better; None means that the metric's name decides.

    Raises:
        InputError: There is no run; the runs have different objectives, or no objective is known; no run has the
            requested objective; or it is unknown whether a higher value is better.

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
        """A key that is equal for runs of the same recipe. Without a config, it is computed from the record."""
        return self.config.key if self.config is not None else (self.record.name, self.record.max_duration)

    def setting(self, name: str) -> Any:
        """Return a setting of the config; None if there is no such setting, or no config."""
        return None if self.config is None else self.config.get(name)

    @property
    def scaled(self) -> bool | None:
        """Whether the warmup is scaled; None if unknown."""
        return None if self.config is None else self.config.scaled


@dataclass
class _Reading:
    runs: list[_Run] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _codes: list[dict[str, str]] = field(default_factory=list)
    _configs: ConfigReader = field(default_factory=ConfigReader)
    _seen: set[str] = field(default_factory=set)

    def add(self, source: Path) -> None:
        """Read every run in a folder and its subfolders. A run that was already read is skipped."""
        root = source.parent if source.name == RESULT and source.is_file() else source
        if not root.is_dir():
            rule = "must be a folder (got a file)" if source.exists() else "folder not found"
            raise PathError("study", str(source), rule, "give the folder of a study")
        jobs = sorted((os.path.relpath(folder, root) for folder in run_folders(root, _OF_A_RUN)), key=_natural)
        # The folder of a study may be the root, or any folder between the root and a run.
        for place in sorted({root, *(root / above for job in jobs for above in PurePath(job).parents)}):
            self._codes += [code for code in recorded_codes(place) if code not in self._codes]
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
            self._add_problem(folder, *self._without_record(folder))
        except (OSError, ValueError, RecursionError) as error:
            torn = isinstance(error, OSError) or (isinstance(error, InputError) and error.field == "result")
            # The problem already names the path, so do not use the whole message of an InputError.
            why = error.rule if isinstance(error, InputError) else str(error) or type(error).__name__
            self._add_problem(folder, "torn" if torn else "invalid", why)
        else:
            if not JobState(record.status).is_final and _is_alive(folder):
                why = f"the run is being retried: {record.error or 'it failed before'}"
                self._add_problem(folder, "running", why)
            else:
                self.runs.append(_Run(root.resolve().name, Path(job).as_posix(), folder, record, config))

    def _add_problem(self, folder: Path, kind: str, reason: str) -> None:
        text = " ".join(reason.split())
        text = text if len(text) <= 300 else f"{text[:299]}\N{HORIZONTAL ELLIPSIS}"
        self.problems.append(Problem(str(folder), kind, text))

    def _without_record(self, folder: Path) -> tuple[str, str]:
        """Return why a run has no record: the ``kind`` and the ``reason`` of a :class:`Problem`."""
        try:
            running = (folder / METRICS).stat().st_ino in self._locked_inodes
        except OSError:
            running = False
        if running or _is_alive(folder):
            return "running", "the run is being trained now"
        if Pulse.read(folder / HEARTBEAT) is not None:
            return "unfinished", KILLED
        if (folder / JOB).exists() and not ((folder / METRICS).exists() or (folder / ".hydra").exists()):
            return "waiting", "a sweep has planned the run, but has not started it"
        return "unfinished", f"there is no {RESULT}: the run was killed, or runs elsewhere"

    @cached_property
    def _locked_inodes(self) -> frozenset[int]:
        """The inodes of all locked files on this machine. Locking a file to test it could disturb its run."""
        try:
            text = Path("/proc/locks").read_text(encoding="ascii")
        except (OSError, ValueError):
            return frozenset()
        return frozenset(map(int, re.findall(r"FLOCK .* [0-9a-f]+:[0-9a-f]+:(\d+) ", text)))

    def study(self, sources: tuple[Path, ...], objective: str | None, direction: Direction | None) -> Study:
        # Without a valid record, the study has only problems, and needs no metric.
        metric = self._objective(objective) if self.runs else objective or ""
        way = self._direction(metric, direction) if self.runs else direction or "max"
        labels = self._labels()
        fixed = {run.key for run in self.runs if run.scaled is False}
        rows, points = [], []
        for index, run in enumerate(self.runs):
            record = run.record
            if record.status != "completed":
                self._add_problem(run.folder, record.status, record.error or "the record has no reason")
            elif record.metrics.get(metric) is None:
                has = "is not a finite number" if metric in record.metrics else "is not among its metrics"
                self._add_problem(run.folder, "no_value", f"{metric} {has}")
            control = "+".join(filter(None, (record.control, "scale_warmup" * bool(run.scaled and run.key in fixed))))
            rows.append(_run_row(run, labels[run.key], control, metric))
            for evaluation in record.evaluations:
                if metric in evaluation["metrics"]:
                    times = [evaluation["timestamp"][clock] for clock in CLOCKS.values()]
                    points.append((index, *times, evaluation["metrics"][metric]))
        frame, curves, duplicates = without_duplicates(as_frame(rows), as_curves(points))
        recorded = {str(run.folder): [run.record.conditions.get(name) for name in CONDITIONS] for run in self.runs}
        conditions = pd.DataFrame([recorded[folder] for folder in frame["folder"]], frame.index, CONDITIONS)
        started = [run.record for run in self.runs if run.record.steps]  # the other runs have computed nothing
        return Study(
            frame=frame,
            curves=curves,
            objective=metric,
            direction=way,
            problems=(*self.problems, *duplicates),
            notes=(*differences(started, self._codes), *notes_of_frame(frame)),
            sources=sources,
            hardware=tuple(dict(group[0].hardware) for group in group_by_machine(started)),
            versions={name: tuple(versions) for name, versions in count_versions(started).items()},
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
        settings = [run.setting("trainer.objective") for run in self.runs]
        objectives = Counter(metric for metric in settings if isinstance(metric, str))
        if len(objectives) > 1:
            counts = ", ".join(f"{name} ({n} {'run' if n == 1 else 'runs'})" for name, n in objectives.items())
            rule = f"must be set, because the runs have different objectives: {counts}"
            fix = "choose a metric that all runs have, or load the runs separately"
            raise MismatchError("objective", None, rule, fix)
        if not objectives:
            fix = f"choose one of {', '.join(metric_names)}" if metric_names else "load runs that have a metric"
            rule = "must be set, because the configs of the runs have no objective"
            raise MissingValueError("objective", None, rule, fix)
        return next(iter(objectives))

    def _direction(self, metric: str, direction: str | None) -> Direction:
        """Return ``direction``. If None, use the ``checkpoint.mode`` for this metric, or the direction of its name."""
        best = [run for run in self.runs if run.setting("checkpoint.best") == metric]
        modes = {str(run.setting("checkpoint.mode")) for run in best} - {"auto"}
        if direction is None and len(modes) > 1:
            rule = "must be set, because some runs have checkpoint.mode=max and other runs checkpoint.mode=min"
            raise MissingValueError("direction", None, rule, "choose max or min, or load the runs separately")
        configured = next((mode for mode in DIRECTIONS if modes == {mode}), None)
        return resolve_direction(direction or configured, metric, "direction")

    def _labels(self) -> dict[Hashable, str]:
        runs_by_key: dict[Hashable, list[_Run]] = {}
        for run in self.runs:
            runs_by_key.setdefault(run.key, []).append(run)
        recipes = {}
        for key, (first, *others) in runs_by_key.items():
            title = first.setting("name")
            if not isinstance(title, str) or any(run.setting("name") != title for run in others):
                title = None
            recipes[key] = Recipe.of(first.folder, first.config, first.record.name, title)
        return label_recipes(recipes)


def _run_row(run: _Run, label: str, control: str, metric: str) -> dict[str, Any]:
    record = run.record
    same = ("seed", "status", "steps", "samples", "tokens", "total_seconds", "resumes", "max_duration", "config_hash")
    return {name: getattr(record, name) for name in same} | {
        "study": run.study,
        "job": run.job,
        "recipe": label,
        "control": control,
        "ssr": float(simplest(float(record.ssr))),
        "error": record.error or "",
        "quality": record.metrics.get(metric) if record.status == "completed" else None,
        "seconds": record.train_seconds,
        "folder": str(run.folder),
    }


def check_record(record: RunResult, config: Mapping[str, Any]) -> None:
    """Raise a ValueError if a record contradicts itself or its config.

    ``config`` has ``ssr``, ``seed`` and ``control``. ``RunResult.load`` has already checked each field of the record.
    """
    if record.control not in (None, "truncate"):
        raise ValueError(f"control cannot be {record.control!r}")
    check_evaluations(record.evaluations)
    before = 0
    for evaluation in record.evaluations:
        batch = evaluation["timestamp"]["batch"]
        if not before <= batch <= record.steps:
            raise ValueError(f"the step of an evaluation must be from {before} to {record.steps} (got {batch})")
        before = batch
    if record.status == "completed" and record.evaluations:
        last = record.evaluations[-1]["metrics"]
        for name, value in record.metrics.items():
            if name in last and last[name] != value:
                raise ValueError(f"{name} is {value!r} at the end, and {last[name]!r} in the last evaluation")
    for name, value in config.items():
        recorded = getattr(record, name)
        if name == "ssr":
            if not is_number(value):
                continue  # an interpolation
            recorded, value = (float(simplest(float(ssr))) for ssr in (recorded, value))
        if recorded != value and (name != "seed" or is_count(value)):
            raise ValueError(f"{name} is {recorded!r} in the record, and {value!r} in its config.yaml")


def without_duplicates(frame: pd.DataFrame, curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[Problem]]:
    """Keep only the first completed run of all runs with the same recipe, control, ssr and seed.

    A second run with the same seed is not an independent run. If both counted, intervals would be too narrow.

    Returns:
        The frame and the evaluations of the kept runs, and a problem for each dropped run with a final metric.
    """
    keys = ["recipe", "control", "ssr", "seed"]
    seeded = frame[frame["seed"].notna()]
    order = seeded.assign(lacking=seeded["quality"].isna()).sort_values("lacking", kind="stable")
    twice = order.duplicated(keys)
    if not twice.any():
        return frame, curves, []
    first = {tuple(row[:4]): row[4:] for row in order[~twice][[*keys, "folder", "quality"]].itertuples(index=False)}
    dropped = order.index[twice].sort_values()
    problems = []
    for row in frame.loc[dropped].itertuples():
        folder, quality = first[row.recipe, row.control, row.ssr, row.seed]
        if math.isnan(row.quality):
            continue  # the list of problems already has this failed run
        same = "the same value" if quality == row.quality else f"{quality:.6g} there, {row.quality:.6g} here"
        reason = f"{folder} has the same recipe, ssr and seed, and only that run counts: {same}"
        problems.append(Problem(row.folder, "duplicate", reason))
    rest = frame.drop(index=dropped)
    curves = curves[curves["run"].isin(rest.index)].reset_index(drop=True)
    numbers = pd.Series(range(len(rest)), rest.index, dtype=int)
    return rest.reset_index(drop=True), curves.assign(run=curves["run"].map(numbers)), problems


def _is_alive(folder: Path) -> bool:
    # Use this machine's clock: to read the file server's clock, the program would have to write to the folder.
    return is_alive(folder / HEARTBEAT, time.time())


def _natural(path: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts job 10 after job 9."""
    parts = re.split(r"(\d+)", path)
    return [(0, int(part), "") if part.isdecimal() and len(part) < 20 else (1, 0, part) for part in parts]
