"""List the jobs of a sweep: one job for every combination of the values in the overrides.

The keys in ``zip`` form one axis: a job combines the first values of all these keys, or their second values, and so on.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

from hydra.core.override_parser.types import Override, RangeSweep

from ssr_hydra.errors import ConflictError, MismatchError, RangeError, UnknownNameError, WrongTypeError
from ssr_hydra.sweeps.job_status import JobDescription
from ssr_hydra.sweeps.sharing.sequences import Candidate

_MOST_JOBS = 10_000

ZIP_EXAMPLE = "e.g. ssr=0.5,1 optimizer.lr=0.1,0.05 zip=ssr,optimizer.lr"
"""An example for error messages: it pairs the values of two keys."""


@dataclass
class PlannedSweep:
    """The jobs and settings of a sweep. The preflight check collects them before Hydra's sweeper starts."""

    jobs: list[tuple[tuple[str, ...], JobDescription]] = field(default_factory=list)  # overrides, description
    base: dict[str, Any] = field(default_factory=dict)  # the config that all jobs share, without the swept values
    swept: frozenset[str] = frozenset()  # keys whose values differ between jobs
    any_code: bool = False  # True if two jobs of the study may use different versions of the code
    product: str = ""  # the number of values of each axis, such as ``2 ssr x 3 seed``
    trust: tuple[str, ...] = ()  # modules whose code the jobs may run
    # The config of each job, and the steps that it can share with other jobs. Empty if jobs do not share steps.
    candidates: list[tuple[dict[str, Any], Candidate]] = field(default_factory=list)
    describe: Callable[[Mapping[str, Any]], Candidate] | None = None  # computes the Candidate of a job from its config
    keep: str | None = None  # the value of ``share_keep``; None if jobs do not share steps
    workers: int = 1  # the number of jobs that run at a time
    command: str = "the same command"  # the command that continues the sweep
    report: Callable[[Path, TextIO], None] | None = None  # writes the report of a study and prints its result
    extra: tuple[str, ...] = ()  # the overrides that the sweep adds to the overrides of every job


PLANNED: list[PlannedSweep] = []
"""The sweep that this process is about to start, if any. The list has at most one entry."""


def zips_of(value: object, overrides: Sequence[Override], text: object) -> tuple[tuple[str, ...], ...]:
    """Return one tuple of keys for each zip: the sweep pairs the values of these keys. Keys keep the prefix ``+``.

    Args:
        value: The value of ``zip``: a list of keys, a list of such lists for several zips, or None.
        overrides: The overrides of the sweep. They must set each key of ``zip`` exactly once.
        text: The value as the user wrote it, for messages.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> sweep = OverridesParser.create().parse_overrides(["ssr=0.5,1", "optimizer.lr=0.1,0.05", "seed=0,1"])
        >>> zips_of(["ssr", "optimizer.lr"], sweep, "ssr,optimizer.lr")
        (('ssr', 'optimizer.lr'),)
        >>> zips_of(["ssr", "sr"], sweep, "ssr,sr")
        Traceback (most recent call last):
        ssr_hydra.errors.UnknownNameError: zip='ssr,sr': must list keys that the sweep varies (got sr);
            did you mean ssr?
    """
    if value is None or value == []:
        return ()
    items: list[Any] = value if isinstance(value, list) else [value]
    zips: list[list[Any]] = items if all(isinstance(each, list) for each in items) else [items]
    by_name: dict[str, list[Override]] = {}
    for override in overrides:
        by_name.setdefault(_key_name(override.get_key_element()), []).append(override)
    names = list(itertools.chain(*zips))
    for name in names:
        if not isinstance(name, str):
            raise WrongTypeError("zip", text, f"must list keys (got {name})", ZIP_EXAMPLE)
    for name, times in Counter(map(_key_name, names)).items():
        if name not in by_name:
            close = difflib.get_close_matches(name, by_name, n=1)
            fix = f"did you mean {close[0]}?" if close else f"{ZIP_EXAMPLE}; to pair nothing, write zip=null"
            raise UnknownNameError("zip", text, f"must list keys that the sweep varies (got {name})", fix)
        if times > 1 or len(by_name[name]) > 1:
            rule = "must list each key only once" if times > 1 else "must list keys that the sweep sets only once"
            raise ConflictError("zip", text, f"{rule} (got {name} twice)", "leave out one of the two")
    paired = [[override for name in zipped for override in by_name[_key_name(name)]] for zipped in zips]
    for zipped in paired:
        counts = {each.get_key_element(): _n_values(each) for each in zipped}
        if len(counts) < 2:
            raise RangeError("zip", text, f"must list at least two keys (got {', '.join(counts)})", ZIP_EXAMPLE)
        if len(set(counts.values())) > 1:
            sizes = ", ".join(f"{count:,} for {key}" for key, count in counts.items())
            rule = f"must list keys with the same number of values (got {sizes})"
            raise MismatchError("zip", text, rule, "write the same number of values for each key, or change zip")
        for override in zipped:
            if getattr(override.value(), "shuffle", False):
                rule = "cannot be shuffled, because zip pairs values by their order"
                raise ConflictError(override.get_key_element(), override.get_value_string(), rule, "leave out shuffle")
    return tuple(tuple(each.get_key_element() for each in zipped) for zipped in paired)


def _key_name(key: str) -> str:
    return key.lstrip("+~")


def check_job_count(overrides: Sequence[Override], zips: Sequence[tuple[str, ...]] = ()) -> int:
    """Return the number of jobs of a sweep. Raise an InputError for more than 10,000 jobs, or a key without values.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> check_job_count(OverridesParser.create().parse_overrides(["ssr=0.5,1", "seed=range(0,100000)"]))
        Traceback (most recent call last):
        ssr_hydra.errors.RangeError: seed='range(0,100000)': makes a sweep of 200,000 jobs, but the limit is 10,000; ...
    """
    counts = {
        item.get_key_element(): (item, _n_values(item)) for item in overrides
    }  # if a key has several overrides, the last override counts
    for key, (item, count) in counts.items():
        if not count:
            rule, fix = "must have at least one value (got none)", "change the pattern or range, or write the values"
            raise RangeError(key, item.get_value_string(), rule, fix)
    jobs = math.prod(counts[axis[0]][1] for axis in _axes(counts, zips))
    if jobs <= _MOST_JOBS:
        return int(jobs)
    largest, _ = max(counts.values(), key=lambda pair: pair[1])
    what = f"{jobs:,} jobs" if math.isfinite(jobs) else "infinitely many jobs"
    rule = f"makes a sweep of {what}, but the limit is {_MOST_JOBS:,}"
    fix = "sweep over fewer values, pair them with zip, or start several sweeps"
    raise RangeError(largest.get_key_element(), largest.get_value_string(), rule, fix)


def product_of(overrides: Sequence[Override], zips: Sequence[tuple[str, ...]] = ()) -> str:
    """Return a text with the size of each axis, such as ``2 ssr,optimizer.lr x 3 seed``. Omit axes with one value."""
    counts = {item.get_key_element(): _n_values(item) for item in overrides}
    axes = [axis for axis in _axes(counts, zips) if counts[axis[0]] > 1]
    return " x ".join(f"{counts[axis[0]]} {','.join(axis)}" for axis in axes)


def _axes(keys: Iterable[str], zips: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the axes of the sweep, in the order of ``keys``. A zip is one axis. Every other key is one axis."""
    axis_of = {key: axis for axis in zips for key in axis}
    return list(dict.fromkeys(axis_of.get(key, (key,)) for key in keys))


def _n_values(override: Override) -> float:
    if not override.is_sweep_override():
        return 1
    if not override.is_discrete_sweep():
        key, value = override.get_key_element(), override.get_value_string()
        raise WrongTypeError(
            key,
            value,
            "cannot be an interval, because a sweep needs a list of values",
            "write the values, or range(...)",
        )
    steps: Any = override.value()
    if not isinstance(steps, RangeSweep):
        return sum(1 for _ in override.sweep_iterator())
    start, stop, step = steps.start or 0, steps.stop or 0, steps.step
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        return math.inf
    return max(0, math.ceil((Fraction(stop) - Fraction(start)) / Fraction(step)))


def combinations(overrides: Sequence[Override], zips: Sequence[tuple[str, ...]] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the overrides of each job. The last key varies fastest. If a key is repeated, its last override is used.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> list(combinations(OverridesParser.create().parse_overrides(["ssr=0.5,1", "seed=range(2)"])))
        [('ssr=0.5', 'seed=0'), ('ssr=0.5', 'seed=1'), ('ssr=1', 'seed=0'), ('ssr=1', 'seed=1')]
        >>> sweep = OverridesParser.create().parse_overrides(["ssr=0.5,1", "optimizer.lr=0.1,0.05"])
        >>> list(combinations(sweep, [("ssr", "optimizer.lr")]))
        [('ssr=0.5', 'optimizer.lr=0.1'), ('ssr=1', 'optimizer.lr=0.05')]
    """
    check_job_count(overrides, zips)
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            values[key] = [override.input_line or f"{key}={override.get_value_element_as_str()}"]
    axes = _axes(values, zips)
    rows = (zip(*(values[key] for key in axis), strict=True) for axis in axes)
    jobs = (dict(zip(itertools.chain(*axes), itertools.chain(*row), strict=True)) for row in itertools.product(*rows))
    return (tuple(job[key] for key in values) for job in jobs)
