"""What the command line says before Hydra reads it: whom to trust, and where configs are."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException

from ssr_hydra.build.foreign import check_length
from ssr_hydra.build.targets import check_trust
from ssr_hydra.errors import InputError
from ssr_hydra.settings.base import did_you_mean
from ssr_hydra.settings.resume import AUTO

__all__ = ["StudyOptions", "Typed", "check_job_count", "find_configs", "quoted", "take_study", "take_trust"]


def take_trust(overrides: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """``trust`` off the command line. Hydra never sees it, so no file, sweep or saved config can carry it.

    If something is trusted, the working directory can be imported from, as with a script that is in it.

    Args:
        overrides: As typed.

    Returns:
        What is trusted, and the other overrides.

    Raises:
        InputError: No list of names; or an override without a key.

    Example:
        >>> take_trust(["ssr=0.5", "trust=[my_package]"])
        (('my_package',), ['ssr=0.5'])
    """
    trust: list[str] = []
    rest: list[str] = []
    for override in overrides:
        if not override.lstrip("+~").partition("=")[0].strip():
            raise InputError("overrides", override, "has no key", "write key=value")
        if not re.match(r"\+{0,2}trust=", override):
            rest.append(override)
            continue
        try:
            value: Any = OverridesParser.create().parse_override(override).value()
        except HydraException as error:
            raise InputError("trust", override.partition("=")[2], "a list of modules", "trust=[my_package]") from error
        trust += check_trust(value if isinstance(value, list) else [value])
    if trust:
        _import_from_here()
    return tuple(trust), rest


def _import_from_here() -> None:
    """Let trusted modules be imported from the working directory, here and in the processes of jobs.

    What is installed comes first.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if here not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, here])


@dataclass(frozen=True)
class Typed:
    r"""A command as it was typed, for messages that say how to continue what it began.

    Args:
        arguments: Flags and overrides.
        program: What stands before them, such as ``python train.py``.

    Example:
        >>> Typed(("-m", "ssr=0.5,1")).in_study(Path("multirun/a"))
        'ssr-train -m ssr=0.5,1 study=multirun/a'
        >>> Typed(("ssr=0.5", "resume=never"), ("python", "train.py")).in_run(Path("runs/my run"), "never")
        'python train.py ssr=0.5 \'hydra.run.dir="runs/my run"\' resume=auto'
    """

    arguments: tuple[str, ...]
    program: tuple[str, ...] = ("ssr-train",)

    @classmethod
    def here(cls) -> Typed:
        """The command that started this process."""
        own = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
        script = Path(sys.argv[0])
        if script.suffix != ".py":  # a console script, which the shell finds by its name or by its path
            is_found = shutil.which(script.name) == str(script)
            own = [script.name if is_found else str(script)]
        return cls(tuple(sys.argv[1:]), tuple(own))

    def in_study(self, folder: Path) -> str:
        """The command that continues a sweep.

        Args:
            folder: The study's.
        """
        value = folder.as_posix() if len(folder.parts) > 1 else f"./{folder}"
        study = f"study={value}" if _STUDY_NAME.fullmatch(value) else f"hydra.sweep.dir={quoted(str(folder))}"
        fixed = [item for item in self._of({"study", "hydra.sweep.dir"}) if "$" not in item]
        return self._with({"study", "hydra.sweep.dir"} - {_key(item) for item in fixed}, [] if fixed else [study])

    def in_run(self, folder: Path, resume: str) -> str:
        """The command that continues a run.

        Args:
            folder: The run's.
            resume: The run's ``resume.path``.
        """
        place = f"hydra.run.dir={quoted(str(folder))}"
        added = [] if place in self.arguments else [place]
        changed = {"hydra.run.dir"} if added else set()
        if resume != AUTO:  # it says where the run began; now the run has a checkpoint of its own
            changed, added = changed | {"resume", "resume.path"}, [*added, f"resume={AUTO}"]
        return self._with(changed, added)

    def _of(self, keys: Collection[str]) -> list[str]:
        return [item for item in self.arguments if _key(item) in keys]

    def _with(self, without: Collection[str], added: Sequence[str]) -> str:
        kept = [item for item in self.arguments if _key(item) not in without]
        return shlex.join([*self.program, *kept, *added])


def _key(argument: str) -> str:
    """The key of an override; of a flag, nothing that an override is called."""
    return argument.lstrip("+~").partition("=")[0]


def quoted(value: str) -> str:
    """A value for Hydra's command line."""
    if re.fullmatch(r"[\w./+@%-]+", value, re.ASCII):
        return value
    # Backslashes are literal unless they precede a quote or a reference.
    return re.sub(r'(\\*)("|\$\{|$)', lambda found: found[1] * 2 + (found[2] and f"\\{found[2]}"), value).join('""')


@dataclass(frozen=True)
class StudyOptions:
    """What the command line says of a sweep's study, beside its folder.

    Args:
        any_code: ``study_code=any``: runs of other code may be in it.
        reports: ``study_report=false``: whether the sweep ends with a report.
        workers: ``workers=N``: how many jobs run at a time; None leaves it to the launcher.
    """

    any_code: bool = False
    reports: bool = True
    workers: int | None = None


_STUDY_NAME = re.compile(r"[\w./+-]+")
_STUDY_OPTIONS = {"study": None, "workers": None, "study_code": ("same", "any"), "study_report": ("true", "false")}


def take_study(overrides: Sequence[str], *, is_sweep: bool) -> tuple[StudyOptions, list[str]]:
    """``study`` and what belongs to it off the command line: a study's name is short for its folder.

    Args:
        overrides: As typed.
        is_sweep: Whether a sweep is asked for.

    Returns:
        The study's options, and the overrides, with ``hydra.sweep.dir`` for ``study``.

    Raises:
        InputError: A name that is none; or a single run.

    Example:
        >>> take_study(["ssr=0.5,1", "study=first"], is_sweep=True)
        (StudyOptions(any_code=False, reports=True, workers=None), ['ssr=0.5,1', 'hydra.sweep.dir=studies/first'])
    """
    options = StudyOptions()
    rest: list[str] = []
    folders: list[str] = []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        value = value.strip()
        if key not in _STUDY_OPTIONS:
            rest.append(override)
            continue
        if not is_sweep:
            raise InputError(key, value, "is of a sweep, and this is a single run", "add -m")
        choices = _STUDY_OPTIONS[key]
        if choices is not None:
            if value not in choices:
                raise InputError(key, value, f"must be {' or '.join(choices)}", did_you_mean(value, choices))
            if key == "study_code":
                options = replace(options, any_code=value == "any")
            else:
                options = replace(options, reports=value == "true")
            continue
        if key == "workers":
            if value != "null" and (not re.fullmatch(r"[0-9]{1,6}", value) or int(value) < 1):
                rule = "must be a whole number of at least 1, or null for as many as fit"
                raise InputError(key, value, rule, "e.g. workers=2")
            options = replace(options, workers=None if value == "null" else int(value))
            continue
        if not _STUDY_NAME.fullmatch(value) or not value.strip("./"):
            rule = "names a study's folder, by letters, digits and . _ + - /"
            raise InputError(key, value, rule, "e.g. study=first, or study=results/first")
        folders.append(f"hydra.sweep.dir={quoted(value if '/' in value else f'studies/{value}')}")
    others = [override for override in rest if override.lstrip("+").startswith("hydra.sweep.dir=")]
    if folders and len(folders) + len(others) > 1:
        given = " ".join([*folders, *others])
        raise InputError("study", given, "a sweep has one folder, and here are several", "leave one")
    return options, [*rest, *folders]


_MOST_JOBS = 10_000


def check_job_count(overrides: Sequence[str], config_loader: Any = None) -> None:
    """Refuse a sweep of more jobs than anybody would wait for, without listing them.

    Args:
        overrides: Those of the sweep, from its file and from the command line.
        config_loader: Hydra's, for ``glob(...)``.

    Raises:
        InputError: Too many jobs, or a range that does not end.
        HydraException: An override that cannot be read.

    Example:
        >>> check_job_count(["ssr=0.5,1", "seed=range(0,100000)"])
        Traceback (most recent call last):
        ssr_hydra.errors.InputError: seed='range(0,100000)': makes a sweep of 200,000 jobs, and the limit is 10,000; ...
    """
    parsed = OverridesParser.create(config_loader).parse_overrides(list(overrides))
    counts = {item.get_key_element(): (item, _count(item)) for item in parsed}  # the last of a key is what counts
    jobs = math.prod(count for _, count in counts.values())
    if jobs <= _MOST_JOBS:
        return
    largest, count = max(counts.values(), key=lambda pair: pair[1])
    what = f"{jobs:,} jobs" if math.isfinite(count) else "jobs without end"
    rule = f"makes a sweep of {what}, and the limit is {_MOST_JOBS:,}"
    fix = "sweep over fewer values, or start several sweeps"
    raise InputError(largest.get_key_element(), str(largest.input_line).partition("=")[2], rule, fix)


def _count(override: Override) -> float:
    value: Any = override.value()
    if not override.is_discrete_sweep():
        return 1
    if not isinstance(value, RangeSweep):
        return sum(1 for _ in override.sweep_iterator())
    start, stop, step = value.start or 0, value.stop or 0, value.step
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        return math.inf
    return max(0, math.ceil((Fraction(stop) - Fraction(start)) / Fraction(step)))


def find_configs(args: argparse.Namespace, conf: Path) -> tuple[ConfigSearchPath, frozenset[str]]:
    """Where configs are found, and which of those places come with installed code.

    Args:
        args: With Hydra's ``config_path`` and ``config_dir``.
        conf: Folder of the app's own configs.

    Returns:
        The search path, and the providers of it whose files are trusted.

    Raises:
        InputError: A folder that is not there.
    """
    main = str(conf)
    if getattr(args, "config_name", None) is not None:
        check_length(args.config_name, "--config-name")
    if args.config_path is not None:
        # Relative to where the person stands, as every path on a command line is.
        check_length(args.config_path, "--config-path")
        main = args.config_path if args.config_path.startswith("pkg://") else str(Path(args.config_path).absolute())
        if not main.startswith("pkg://") and not Path(main).is_dir():
            raise InputError("--config-path", args.config_path, "there is no such folder", "check the path")
    search_path = create_config_search_path(main)
    trusted = {element.provider for element in search_path.get_path() if element.provider is not None}
    trusted.add("ssr_hydra")  # the structured configs, and below the app's own folder beside another main one
    before_schema = SearchPathQuery(provider="schema", path=None)
    if args.config_path is not None:
        trusted.discard("main")
        search_path.prepend("ssr_hydra", str(conf), before_schema)
    if args.config_dir is not None:
        check_length(args.config_dir, "--config-dir")
        folder = Path(args.config_dir).absolute()
        if not folder.is_dir():
            raise InputError("--config-dir", args.config_dir, "there is no such folder", "check the path")
        search_path.prepend("command-line", f"file://{folder}", before_schema)
    return search_path, frozenset(trusted)
