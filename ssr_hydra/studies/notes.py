"""Differences between the runs of a study that make comparisons unreliable."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ssr_hydra.files import read_bounded
from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.folder import STUDY

# Only the data set is compared. The loader's seed is the run's seed, and its batch size is part of the recipe.
_MOST_BYTES = 64 << 20
_DATA = ("dataset",)
_MACHINE = ("cpu", "gpu", "device", "processes", "threads")


@dataclass(frozen=True)
class Note:
    """A fact that a reader of a comparison must know. :func:`ssr_hydra.report.note_text` returns the sentence for it.

    Attributes:
        kind: ``data`` (the runs have different data sets), ``versions`` (the runs have several versions of a package,
            or of its code), ``codes`` (a sweep was continued with changed code), ``machines`` (the runs were on several
            kinds of machines), ``resumed`` (some runs continued from a checkpoint), ``diverged`` (some runs of a recipe
            at an SSR diverged, but not all), ``lost`` (a recipe has no quality at some SSRs), ``no_times`` (some rows
            of a table have no time).
        subject: Depending on the kind: the package, the recipe with its control, the number of code versions, or the
            unit of the times.
        counts: Pairs of a name and a number: the number of runs by data set, version, machine, recipe or status. For
            ``codes``: the number of versions of each package. For ``no_times``: the first line of the table without a
            time, and the number of lines without a time.
        ssrs: For ``lost``: the SSRs without a quality; empty if the recipe has no quality at any SSR.
    """

    kind: Literal["data", "versions", "codes", "machines", "resumed", "diverged", "lost", "no_times"]
    subject: str = ""
    counts: tuple[tuple[str, int], ...] = ()
    ssrs: tuple[float, ...] = ()


@dataclass
class Notes:
    """Counts of runs by data set, version and machine, from which the notes about differences are made."""

    _data: Counter[str] = field(default_factory=Counter)
    _versions: dict[str, Counter[str]] = field(default_factory=dict)
    _machines: Counter[str] = field(default_factory=Counter)
    _hardware: dict[str, dict[str, Any]] = field(default_factory=dict)
    _codes: list[dict[str, str]] = field(default_factory=list)
    _without_code: int = 0  # the number of runs of earlier releases, whose records have no code version

    def add_codes(self, folder: Path) -> None:
        """Add the code versions of all sweeps that wrote to a folder. Do nothing if no sweep wrote to the folder."""
        try:
            listed = json.loads(read_bounded(folder / STUDY, _MOST_BYTES))["codes"]
            codes = [{str(name): str(version) for name, version in code.items()} for code in listed]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return  # the folder is not a study, or the file cannot be read
        self._codes += [code for code in codes if code not in self._codes]

    def add(self, record: RunResult) -> None:
        """Count a run. A run that ended before its first step does not count, because it has computed nothing."""
        if not record.steps:
            return
        self._data[_canonical({key: record.data[key] for key in _DATA if key in record.data})] += 1
        self._without_code += not record.code
        codes = {f"the code of {name}": digest for name, digest in record.code.items()}
        for name, version in {**record.versions, **codes}.items():
            self._versions.setdefault(str(name), Counter())[str(version)] += 1
        machine = _canonical({key: record.hardware.get(key) for key in _MACHINE})
        self._machines[machine] += 1
        self._hardware.setdefault(machine, dict(record.hardware))

    @property
    def hardware(self) -> tuple[dict[str, Any], ...]:
        """The hardware of each kind of machine, without duplicates."""
        return tuple(self._hardware.values())

    @property
    def versions(self) -> dict[str, tuple[str, ...]]:
        """The versions of each package in the runs."""
        return {name: tuple(versions) for name, versions in self._versions.items()}

    def collected(self, frame: pd.DataFrame) -> tuple[Note, ...]:
        """Return the notes of a study."""
        notes = []
        if len(self._data) > 1:
            notes.append(Note("data", counts=tuple((_data_name(text), count) for text, count in self._data.items())))
        for name, versions in self._versions.items():
            if len(versions) > 1:
                notes.append(Note("versions", name, tuple(versions.items())))
        if len(self._codes) > 1 and self._without_code:
            names = dict.fromkeys(name for code in self._codes for name in code)
            counts = {name: len({code.get(name) for code in self._codes}) for name in names}
            differing = tuple((name, count) for name, count in counts.items() if count > 1)
            notes.append(Note("codes", str(len(self._codes)), differing))
        if len(self._machines) > 1:
            machines = tuple((_machine_name(json.loads(text)), count) for text, count in self._machines.items())
            notes.append(Note("machines", counts=machines))
        if resumed := int((frame["resumes"] > 0).sum()):
            notes.append(Note("resumed", counts=(("", resumed),)))
        return (*notes, *losses(frame))


def losses(frame: pd.DataFrame) -> list[Note]:
    """Return the notes about runs without a quality: ``diverged`` and ``lost``; see :class:`Note`."""
    notes: list[Note] = []
    if frame.empty:
        return notes
    lost = frame["quality"].isna()
    diverged = frame["status"] == "diverged"
    cells = (~lost).groupby([frame[name] for name in ("recipe", "control", "ssr")]).transform("any")
    biased = frame[lost & diverged & cells]
    if len(biased):
        arms = Counter(arm(*pair) for pair in zip(biased["recipe"], biased["control"], strict=True))
        notes.append(Note("diverged", counts=tuple(arms.items())))
    for (recipe, control), rows in frame.groupby(["recipe", "control"], sort=False):
        whole = rows[~cells[rows.index]]
        if len(whole):
            statuses = Counter("no_value" if status == "completed" else str(status) for status in whole["status"])
            ssrs = () if len(whole) == len(rows) else tuple(sorted(set(whole["ssr"].astype(float).tolist())))
            notes.append(Note("lost", arm(str(recipe), str(control)), tuple(statuses.items()), ssrs))
    return notes


def arm(recipe: str, control: str) -> str:
    """Return one name for a recipe and its control.

    Example:
        >>> arm("wsd", ""), arm("wsd", "truncate")
        ('wsd', 'wsd (truncate)')
    """
    return f"{recipe} ({control})" if control else recipe


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def _data_name(text: str) -> str:
    data = json.loads(text).get("dataset")
    if not isinstance(data, dict):
        return "unknown data"
    digest = data.get("sha256")
    name = str(data.get("name", "data"))
    return f"{name} {digest[:8]}" if isinstance(digest, str) else name


def _machine_name(machine: dict[str, Any]) -> str:
    name = str(machine.get("gpu") or machine.get("cpu"))
    processes, threads = machine.get("processes"), machine.get("threads")
    return f"{name}, {processes} x {threads} threads"
