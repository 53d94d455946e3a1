"""The folder of a study. Several sweeps can use the folder at the same time, because a lock protects its files.

``study.json`` holds the settings that all jobs share. ``<number>/job.json`` identifies the job of the folder
``<number>``.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ssr_hydra.checkpoints.description import MISSING, Difference, differences, joined
from ssr_hydra.checkpoints.store import OF_A_RUN, refuse_links
from ssr_hydra.errors import ConflictError, FormatError, MismatchError, PathError
from ssr_hydra.files import read_bounded, try_lock, write_atomically, write_error
from ssr_hydra.sweeps.heartbeat import is_alive
from ssr_hydra.sweeps.job_status import JOB, JobDescription, StudyJob, is_free, owners_of, read_identity, read_state

_MOST_BYTES = 64 << 20
STUDY = "study.json"
"""Name of the file with the settings that all jobs of a study share."""

SWEEPS = ".sweeps"
"""Name of the folder with the heartbeat files of the sweeps that run jobs of a study."""

LOCK = ".lock"
"""Name of the lock file of a study."""

_ALWAYS_SWEPT = frozenset({"ssr", "seed", "control"})
_WHOLE = frozenset({"experiment", "debug"})  # these groups may change any field
_LOCK_SECONDS = 60.0
_FIELD = "hydra.sweep.dir"


@dataclass(frozen=True)
class AssignedJobs:
    """The jobs of a sweep, each with its folder, and which of them this sweep runs."""

    jobs: tuple[StudyJob, ...]  # all jobs in the order of their overrides; the same job may occur several times
    mine: tuple[StudyJob, ...]  # the jobs that this sweep runs, without duplicates
    others: tuple[StudyJob, ...]  # the jobs that other running sweeps have claimed, without duplicates


class StudyFolder:
    """The folder of a study, for a sweep with the id ``sweep``. By default the sweep gets a random id."""

    def __init__(self, path: Path, sweep: str | None = None) -> None:
        self.path = path
        self.sweep = secrets.token_hex(8) if sweep is None else sweep

    @property
    def sign(self) -> Path:
        """The heartbeat file of this sweep."""
        return self._sign_of(self.sweep)

    def _sign_of(self, sweep: str) -> Path:
        return self.path / SWEEPS / f"{sweep}.json"

    def open(self, base: Mapping[str, Any], swept: Iterable[str], code: Mapping[str, str], *, any_code: bool) -> None:
        """Create the study in the folder, or check that the study in the folder matches the arguments.

        ``base`` is the config that all jobs share. ``swept`` are the keys whose values differ between jobs. ``code``
        maps each package to its version. With ``any_code``, jobs of one study may use different versions of a package.

        Raises:
            InputError: The study in the folder does not match the arguments.
        """
        with self._locked():
            before = self.check(base, swept, code, any_code=any_code)
            codes = [*before.get("codes", [])]
            if dict(code) not in codes:
                codes.append(dict(code))
            content = {
                "base": before.get("base", _as_stored(base)),
                "swept": sorted({*map(_path_of, swept), *before.get("swept", ())}),
                "code": dict(code),
                "codes": codes,
            }
            if content != before:
                write_atomically(self.path / STUDY, json.dumps(content, indent=2) + "\n")

    def check(
        self, base: Mapping[str, Any], swept: Iterable[str], code: Mapping[str, str], *, any_code: bool
    ) -> dict[str, Any]:
        """Check as :meth:`open` does, but write no file. Return ``study.json`` as a dict; {} if the file is missing."""
        before = self._read()
        if before:
            swept_keys = {*map(_path_of, swept), *before.get("swept", ())}
            self._check_base(before["base"], _as_stored(base), swept_keys)
            self._check_code(before["code"], code, any_code=any_code)
        return before

    def _read(self) -> dict[str, Any]:
        path = self.path / STUDY
        try:
            content = json.loads(read_bounded(path, _MOST_BYTES))
            swept, codes = content.get("swept", []), content.get("codes", [])
            has_types = all(isinstance(content[key], dict) for key in ("base", "code"))
            if (
                has_types
                and isinstance(codes, list)
                and isinstance(swept, list)
                and all(isinstance(key, str) for key in swept)
            ):
                return dict(content)
        except FileNotFoundError:
            return {}
        except (AttributeError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            rule = f"cannot be read ({error})"
            raise PathError(_FIELD, str(path), rule, "restore the file, or choose a new folder") from None
        raise FormatError(_FIELD, str(path), "does not describe a study", "restore the file, or choose a new folder")

    def _check_base(self, old: Mapping[str, Any], new: Mapping[str, Any], swept: set[str]) -> None:
        changes = [item for item in differences(old, new) if not is_free(item.field) and not _is_swept(item, swept)]
        if not changes:
            return
        rule = f"holds a different study: {joined(changes)}"
        first = changes[0]
        key, _, rest = first.field.partition(".")
        whole = any(f"{item.field}.".startswith(f"{key}.") and MISSING in (item.old, item.new) for item in changes)
        vary = f"{key}=..." if whole or rest == "_target_" else f"{first.field}={first.old},{first.new}"
        fix = f"choose a new study, such as study=NAME, or sweep over both values in this study: {vary}"
        raise MismatchError(_FIELD, str(self.path), rule, fix)

    def _check_code(self, old: Mapping[str, str], new: Mapping[str, str], *, any_code: bool) -> None:
        changes = differences(old, new)
        if changes and not any_code:
            rule = f"the runs of this study used different code: {joined(changes)}"
            fix = "choose a new study, such as study=NAME, or add study_code=any to allow different code in one study"
            raise MismatchError(_FIELD, str(self.path), rule, fix)

    def assign(
        self, jobs: Sequence[tuple[tuple[str, ...], JobDescription]], place: Sequence[str] | None = None
    ) -> AssignedJobs:
        """Assign a folder to each job, and claim the jobs that no other sweep runs.

        A job that is already in the study keeps its folder. ``place`` has a folder name for each job; only new jobs use
        these names. By default, new jobs use the next free numbers.

        Raises:
            InputError: A folder in ``place`` already belongs to a different job.
        """
        with self._locked():
            owners = owners_of(self.path)
            used_numbers = (int(path.name) for path in self.path.iterdir() if path.name.isdecimal())
            numbers = itertools.count(1 + max(used_numbers, default=-1))
            planned, mine, others = [], {}, {}
            lives = self._lives()
            for index, (overrides, description) in enumerate(jobs):
                identity = description.identity
                if identity not in owners:
                    name = str(next(numbers)) if place is None else place[index]
                    folder = self.path / name
                    # ``owners`` lacks jobs whose folder is hidden or inside the folder of another job.
                    owner = read_identity(folder)
                    if owner is not None and owner[0] != identity:
                        rule = f"the folder {folder} belongs to a different job"
                        fix = "remove this setting, or give each job a different folder"
                        raise ConflictError("hydra.sweep.subdir", name, rule, fix)
                    owners[identity] = folder, self.sweep if owner is None else owner[1]
                folder, sweep = owners[identity]
                job = StudyJob(overrides, description, folder)
                planned.append(job)
                if identity in mine or identity in others:
                    continue
                if sweep != self.sweep and lives(sweep) and not read_state(folder).is_final:
                    others[identity] = job
                else:
                    mine[identity] = job
                    self._take(job)
        return AssignedJobs(tuple(planned), tuple(mine.values()), tuple(others.values()))

    def _take(self, job: StudyJob) -> None:
        content = {"identity": job.description.identity, "sweep": self.sweep, "overrides": list(job.overrides)}
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(error, job.folder, 0) from error
        owner, is_final = read_identity(job.folder), read_state(job.folder).is_final
        if not is_final:
            refuse_links(self.path, [job.folder.relative_to(self.path).as_posix()], _FIELD)
            refuse_links(job.folder, OF_A_RUN, _FIELD)
        if owner is None or not (owner[1] == self.sweep or is_final):
            write_atomically(job.folder / JOB, json.dumps(content, indent=2) + "\n")

    def take_over(self, jobs: Iterable[StudyJob]) -> list[StudyJob]:
        """Claim each job whose sweep has died, and each job without a sweep. Return these jobs."""
        with self._locked():
            lives, orphans = self._lives(), []
            for job in jobs:
                owner = read_identity(job.folder)
                if owner is None or owner[1] == self.sweep or not lives(owner[1]):
                    self._take(job)
                    orphans.append(job)
            return orphans

    def _lives(self) -> Callable[[str], bool]:
        """Return a cached function: given the id of a sweep, it returns whether the sweep is alive."""
        return cache(lambda sweep: is_alive(self._sign_of(sweep)))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        refuse_links(self.path, (LOCK, SWEEPS), _FIELD)
        path = self.path / LOCK
        with path.open("ab") as file:
            until = time.monotonic() + _LOCK_SECONDS
            while not try_lock(file.fileno()):
                if time.monotonic() > until:
                    rule = f"a different sweep has locked {path} for {_LOCK_SECONDS:.0f} s"
                    raise ConflictError(_FIELD, str(self.path), rule, "stop the other sweep, or choose a new folder")
                time.sleep(0.02)
            yield

    def clear_signs(self) -> bool:
        """Remove the heartbeat files of killed sweeps. Return True if no other sweep of the study is alive."""
        alone = True
        with suppress(OSError):
            for path in (self.path / SWEEPS).glob("*.json"):
                if path == self.sign:
                    continue
                if is_alive(path):
                    alone = False
                else:
                    path.unlink(missing_ok=True)
            # Keep the folder SWEEPS even if it is empty: a new sweep may be about to write its heartbeat file there.
        return alone


def _as_stored(base: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(base, default=str))  # study.json stores numeric keys and enums as text


def _path_of(key: str) -> str:
    """Return the config key of an override, such as ``schedules.momentum`` for ``+scheduler@schedules.momentum``."""
    key = key.lstrip("+~")
    return (key.partition("@")[2] or key).replace("/", ".")


def _is_swept(item: Difference, swept: set[str]) -> bool:
    return (
        any(key in _WHOLE or item.field == key or item.field.startswith((f"{key}.", f"{key}[")) for key in swept)
        or item.field in _ALWAYS_SWEPT
    )
