"""The description of a run in its checkpoints, and the rules that say which fields may differ when the run resumes.

A description is nested dicts and lists, such as ``{"run": {"ssr": 1.0, "seed": 0}, "optimizers": [{"lr": 0.1}]}``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Final

from ssr_hydra.errors import MismatchError
from ssr_hydra.settings.base import one_of
from ssr_hydra.settings.resume import ON_CHANGE
from ssr_hydra.time import Timestamp

CHANGE_FIX = (
    "set resume.on_change=extend to switch to the new schedule at the checkpoint, or "
    "resume.on_change=rescale to stretch the remaining old schedule to the new end of the run"
)
_MOST_SHOWN = 12
_LONGEST_SHOWN = 60


class Change(Enum):
    """When a resume may change a field of the run's description: at any batch, at the end of an epoch, or never."""

    ANYTIME = "with on_change, at any batch"
    EPOCH = "with on_change, at the end of an epoch"
    NEVER = "the state does not fit"


# The first pattern that matches a field's name applies; list indices are removed from names.
_RULES: tuple[tuple[str, Change], ...] = (
    # The tensors of the checkpoint depend on these fields.
    ("model", Change.NEVER),
    ("model.*", Change.NEVER),
    ("precision", Change.NEVER),
    ("optimizers", Change.NEVER),
    ("optimizers.class", Change.NEVER),
    ("optimizers.*parameters*", Change.NEVER),
    # These two options decide whether the checkpoint has one more tensor per parameter.
    ("optimizers.*amsgrad", Change.NEVER),
    ("optimizers.*centered", Change.NEVER),
    # A change of these fields within an epoch would repeat or skip samples.
    ("data", Change.EPOCH),
    ("data.*", Change.EPOCH),
    ("run.seed", Change.EPOCH),
    ("*", Change.ANYTIME),
)


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING: Final = _Missing()
"""The value of a field that one of two compared descriptions does not have."""


@dataclass(frozen=True)
class Difference:
    """One field in which two descriptions differ.

    Args:
        field: The dotted name of the field, such as ``optimizers[0].lr``.
        old: The value in the checkpoint.
        new: The value in the run that resumes.
    """

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field} was {_short_repr(self.old)} and is {_short_repr(self.new)}"


def change_of(field: str) -> Change:
    """Return when a resume may change this field of the description.

    Example:
        >>> change_of("optimizers[0].lr").name, change_of("data.batch_size").name, change_of("model.weight").name
        ('ANYTIME', 'EPOCH', 'NEVER')
    """
    name = re.sub(r"\[\d+\]", "", field)
    return next(change for pattern, change in _RULES if fnmatchcase(name, pattern))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Return the fields that differ between two descriptions (or two other nested mappings).

    If two data sets have the same SHA-256, the function ignores their names, which contain paths.

    Args:
        old: The checkpoint's description.
        new: The run's description.

    Example:
        >>> old = {"run": {"ssr": 1.0, "seed": 0}, "optimizers": [{"lr": 0.1}]}
        >>> new = {"run": {"ssr": 0.5, "seed": 0}, "optimizers": [{"lr": 0.2}]}
        >>> [str(item) for item in differences(old, new)]
        ['run.ssr was 1.0 and is 0.5', 'optimizers[0].lr was 0.1 and is 0.2']
    """
    return list(_compare(old, new, ""))


def _compare(old: Any, new: Any, field: str) -> Iterator[Difference]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        same_content = isinstance(old.get("sha256"), str) and old["sha256"] == new.get("sha256")
        for key in [*old, *(key for key in new if key not in old)]:
            if key == "name" and same_content:
                continue
            name = f"{field}.{key}" if field else str(key)
            yield from _compare(old.get(key, MISSING), new.get(key, MISSING), name)
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        for number, (mine, theirs) in enumerate(zip(old, new, strict=True)):
            yield from _compare(mine, theirs, f"{field}[{number}]")
    elif isinstance(old, bool) is not isinstance(new, bool) or old != new:  # in JSON, 1 equals 1.0 but not True
        yield Difference(field, old, new)


def _short_repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def check_change(changes: Sequence[Difference], on_change: str, timestamp: Timestamp, resume: str = "auto") -> None:
    """Raise an error if the run cannot resume with these changes.

    Args:
        changes: The :func:`differences` between the checkpoint's description and the run's description.
        on_change: ``refuse``, ``extend`` or ``rescale``.
        timestamp: The checkpoint's timestamp.
        resume: The value of ``resume``, for the message.

    Raises:
        InputError: ``on_change`` is ``refuse``; a field differs that must never change; or a field differs that may
            change only at the end of an epoch, and the checkpoint is within an epoch. The message has the old and new
            values.
    """
    one_of(on_change, "resume.on_change", ON_CHANGE)
    of_change = {change: [item for item in changes if change_of(item.field) is change] for change in Change}
    if never := of_change[Change.NEVER]:
        rule = f"the state of the checkpoint does not fit this run: {joined(never)}"
        fix = "resume with the config of the checkpoint, or start in a new folder"
        raise MismatchError("resume", resume, rule, fix)
    changed = of_change[Change.EPOCH] + of_change[Change.ANYTIME]
    if changed and on_change == "refuse":
        rule = f"the run differs from the checkpoint: {joined([item for item in changes if item in changed])}"
        raise MismatchError("resume", resume, rule, f"{CHANGE_FIX}, or start in a new folder")
    if of_change[Change.EPOCH] and timestamp.batches_in_epoch != 0:
        rule = (
            f"the checkpoint is after batch {timestamp.batches_in_epoch} of epoch {timestamp.epochs}, and these fields "
            f"cannot change within an epoch: {joined(of_change[Change.EPOCH])}"
        )
        fix = "resume from a checkpoint at the end of an epoch (checkpoint.interval=1ep writes such checkpoints)"
        raise MismatchError("resume", resume, rule, fix)


def joined(changes: Sequence[Difference]) -> str:
    """Return the first differences as text, followed by the number of differences that are left out."""
    parts = [str(item) for item in changes[:_MOST_SHOWN]]
    if len(changes) > _MOST_SHOWN:
        parts.append(f"and {len(changes) - _MOST_SHOWN} more")
    return ", ".join(parts)
