"""Differences between the runs of a study that make comparisons unreliable."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ssr_hydra.files import read_bounded
from ssr_hydra.launchers.folder import STUDY
from ssr_hydra.records import RunResult

__all__ = ["Notes", "losses"]

# The loader's seed is the run's, and its batch size is part of the recipe.
_MOST_BYTES = 64 << 20
_DATA = ("dataset",)
_MACHINE = ("cpu", "gpu", "device", "processes", "threads")


@dataclass
class Notes:
    """Counts the data, versions and machines of runs, and reports where they differ."""

    _data: Counter[str] = field(default_factory=Counter)
    _versions: dict[str, Counter[str]] = field(default_factory=dict)
    _machines: Counter[str] = field(default_factory=Counter)
    _hardware: dict[str, dict[str, Any]] = field(default_factory=dict)
    _codes: list[dict[str, str]] = field(default_factory=list)
    _without_code: int = 0  # runs of earlier releases, whose code only the sweep has recorded

    def add_codes(self, folder: Path) -> None:
        """Add the versions of the code of the sweeps into a folder, if it is a study's."""
        try:
            found = json.loads(read_bounded(folder / STUDY, _MOST_BYTES))["codes"]
            codes = [{str(name): str(version) for name, version in code.items()} for code in found]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return  # not a study's folder, or unreadable
        self._codes += [code for code in codes if code not in self._codes]

    def add(self, record: RunResult) -> None:
        """Count a run, unless it ended before its first step: then it has computed nothing."""
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
        """Return each kind of machine once."""
        return tuple(self._hardware.values())

    @property
    def versions(self) -> dict[str, tuple[str, ...]]:
        """Return the versions of all packages of the runs."""
        return {name: tuple(found) for name, found in self._versions.items()}

    def lines(self, frame: pd.DataFrame) -> tuple[str, ...]:
        """Return one line for each fact that a reader must know.

        Args:
            frame: The frame of the study.
        """
        made = []
        if len(self._data) > 1:
            shown = _listed((_data_name(text), count) for text, count in self._data.items())
            made.append(f"The runs are of {len(self._data)} data sets, and their quality is not comparable: {shown}.")
        for name, found in self._versions.items():
            if len(found) > 1:
                made.append(f"The runs are of different versions of {name}: {_listed(found.items())}.")
        if len(self._codes) > 1 and self._without_code:
            names = dict.fromkeys(name for code in self._codes for name in code)
            unlike = [name for name in names if len({code.get(name) for code in self._codes}) > 1]
            shown = f"{', '.join(unlike)} {'differs' if len(unlike) == 1 else 'differ'}"
            made.append(f"Runs of {len(self._codes)} versions of the code are in it: {shown}.")
        if len(self._machines) > 1:
            shown = _listed((_machine_name(json.loads(text)), count) for text, count in self._machines.items())
            made.append(f"The runs are of different machines, and their seconds are not comparable: {shown}.")
        resumed = int((frame["resumes"] > 0).sum())
        if resumed:
            were = "was" if resumed == 1 else "were"
            made.append(f"{_runs(resumed)} {were} taken up again from a checkpoint; seconds are those of all parts.")
        return (*made, *losses(frame))


def losses(frame: pd.DataFrame) -> list[str]:
    """Return the effect of runs without a quality: on means over the remaining seeds, or on a whole recipe."""
    made: list[str] = []
    if frame.empty:
        return made
    lost = frame["quality"].isna()
    diverged = frame["status"] == "diverged"
    cells = (~lost).groupby([frame[name] for name in ("recipe", "control", "ssr")]).transform("any")
    biased = frame[lost & diverged & cells]
    if len(biased):
        names = _few([_arm(*pair) for pair in dict.fromkeys(zip(biased["recipe"], biased["control"], strict=True))])
        made.append(
            f"{_runs(len(biased))} of {names} diverged where other seeds did not. A mean over those that did not is "
            "better than what the recipe gives."
        )
    for (recipe, control), rows in frame.groupby(["recipe", "control"], sort=False):
        whole = rows[~cells[rows.index]]
        if whole.empty:
            continue
        kinds = Counter("without a value" if status == "completed" else status for status in whole["status"])
        shown = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        where = "at SSR " + _few([f"{ssr:g}" for ssr in sorted(set(whole["ssr"]))])
        if len(whole) == len(rows):
            where = "at any SSR, and is in no comparison"
        made.append(f"{_arm(recipe, control)} has no quality {where}: {_runs(len(whole))}, {shown}.")
    return made


def _arm(recipe: Any, control: Any) -> str:
    return f"{recipe} ({control})" if control else str(recipe)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def _listed(found: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({_runs(count)})" for name, count in found)


def _data_name(text: str) -> str:
    data = json.loads(text).get("dataset")
    if not isinstance(data, dict):
        return "unknown data"
    digest = data.get("sha256")
    shown = str(data.get("name", "data"))
    return f"{shown} {digest[:8]}" if isinstance(digest, str) else shown


def _machine_name(machine: dict[str, Any]) -> str:
    shown = str(machine.get("gpu") or machine.get("cpu"))
    processes, threads = machine.get("processes"), machine.get("threads")
    return f"{shown}, {processes} x {threads} threads"
