"""Differences between the runs of a study that make comparisons unreliable."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ssr_hydra.files import read_bounded
from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.folder import STUDY

_MOST_BYTES = 64 << 20
_MACHINE = ("cpu", "gpu", "device", "processes", "threads")


@dataclass(frozen=True)
class Note:
    """A fact that a reader of a comparison must know. :func:`ssr_hydra.report.note_text` returns the sentence for it.

    Attributes:
        kind: ``data`` (the runs have different data sets), ``versions`` (the runs used several versions of a package or
            of its source code), ``codes`` (a sweep was continued with changed code), ``machines`` (the runs used
            several kinds of machines), ``resumed`` (some runs continued from a checkpoint), ``diverged`` (some runs of
            a recipe and SSR diverged, but not all), ``lost`` (all runs of a recipe at some SSRs have no quality),
            ``no_times`` (some rows of a table have no time).
        subject: For ``versions``: the package. For ``codes``: the number of code versions. For ``lost``: the recipe and
            its control. For ``no_times``: the unit of the times. ``""`` for other kinds.
        counts: Pairs of a name and a number. For ``data``, ``versions``, ``machines``, ``diverged`` and ``lost``: the
            number of runs with each data set, version, machine, recipe or status. For ``resumed``: the number of
            resumed runs. For ``codes``: the number of versions of each package. For ``no_times``: the first line of the
            table without a time, and the number of lines without a time.
        ssrs: For ``lost``: the SSRs without a quality; empty if the recipe has no quality at any SSR.
    """

    kind: Literal["data", "versions", "codes", "machines", "resumed", "diverged", "lost", "no_times"]
    subject: str = ""
    counts: tuple[tuple[str, int], ...] = ()
    ssrs: tuple[float, ...] = ()


def recorded_codes(folder: Path) -> list[dict[str, str]]:
    """Return the code versions of all sweeps that wrote to a folder; an empty list if no sweep wrote to the folder."""
    try:
        codes = json.loads(read_bounded(folder / STUDY, _MOST_BYTES))["codes"]
        return [{str(name): str(version) for name, version in code.items()} for code in codes]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []  # the folder is not a study, or the file cannot be read


def count_versions(records: Iterable[RunResult]) -> dict[str, Counter[str]]:
    """For each package and for the code of each package, return the number of runs with each version."""
    versions: dict[str, Counter[str]] = {}
    for record in records:
        codes = {f"the code of {name}": digest for name, digest in record.code.items()}
        for name, version in {**record.versions, **codes}.items():
            versions.setdefault(str(name), Counter())[str(version)] += 1
    return versions


def group_by_machine(records: Iterable[RunResult]) -> list[list[RunResult]]:
    """Return the records of each kind of machine."""
    return _grouped(records, lambda record: {key: record.hardware.get(key) for key in _MACHINE})


def differences(records: Sequence[RunResult], codes: Sequence[dict[str, str]]) -> Iterator[Note]:
    """Yield the notes about differences between runs. ``codes`` has the code versions of all sweeps of the study."""
    # The loader's seed is the run's seed, and its batch size is part of the recipe. So only the data set is compared.
    data = _grouped(records, lambda record: record.data.get("dataset"))
    if len(data) > 1:
        yield Note("data", counts=tuple((_data_name(group[0].data.get("dataset")), len(group)) for group in data))
    for name, versions in count_versions(records).items():
        if len(versions) > 1:
            yield Note("versions", name, tuple(versions.items()))
    # The records of earlier releases have no code version, so only study.json shows that the code changed.
    if len(codes) > 1 and not all(record.code for record in records):
        names = dict.fromkeys(name for code in codes for name in code)
        counts = {name: len({code.get(name) for code in codes}) for name in names}
        yield Note("codes", str(len(codes)), tuple((name, count) for name, count in counts.items() if count > 1))
    machines = group_by_machine(records)
    if len(machines) > 1:
        yield Note("machines", counts=tuple((_machine_name(group[0].hardware), len(group)) for group in machines))


def notes_of_frame(frame: pd.DataFrame) -> list[Note]:
    """Return the notes about resumed runs and about runs without a quality: ``resumed``, ``diverged`` and ``lost``."""
    notes: list[Note] = []
    if resumed := int((frame["resumes"] > 0).sum()):
        notes.append(Note("resumed", counts=(("", resumed),)))
    if frame.empty:
        return notes
    lost = frame["quality"].isna()
    cells = (~lost).groupby([frame[name] for name in ("recipe", "control", "ssr")]).transform("any")
    biased = frame[lost & (frame["status"] == "diverged") & cells]
    if len(biased):
        notes.append(Note("diverged", counts=tuple(Counter(map(arm, biased["recipe"], biased["control"])).items())))
    for (recipe, control), rows in frame.groupby(["recipe", "control"], sort=False):
        whole = rows[~cells[rows.index]]
        if len(whole):
            statuses = Counter("no_value" if status == "completed" else str(status) for status in whole["status"])
            ssrs = () if len(whole) == len(rows) else tuple(sorted(set(whole["ssr"].tolist())))
            notes.append(Note("lost", arm(recipe, control), tuple(statuses.items()), ssrs))
    return notes


def arm(recipe: str, control: str) -> str:
    """Return one name for a recipe and its control.

    Example:
        >>> arm("wsd", ""), arm("wsd", "truncate")
        ('wsd', 'wsd (truncate)')
    """
    return f"{recipe} ({control})" if control else recipe


def _grouped(records: Iterable[RunResult], key: Callable[[RunResult], Any]) -> list[list[RunResult]]:
    groups: dict[str, list[RunResult]] = {}
    for record in records:
        groups.setdefault(json.dumps(key(record), sort_keys=True, default=repr), []).append(record)
    return list(groups.values())


def _data_name(data: Any) -> str:
    if not isinstance(data, dict):
        return "unknown data"
    digest = data.get("sha256")
    name = str(data.get("name", "data"))
    return f"{name} {digest[:8]}" if isinstance(digest, str) else name


def _machine_name(machine: dict[str, Any]) -> str:
    name = str(machine.get("gpu") or machine.get("cpu"))
    processes, threads = machine.get("processes"), machine.get("threads")
    return f"{name}, {processes} x {threads} threads"
