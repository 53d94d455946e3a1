"""What a run is, as plain data in its checkpoints, and which of it may be another when the run is taken up again.

A description is nested dicts and lists, such as ``{"run": {"ssr": 1.0, "seed": 0}, "optimizers": [{"lr": 0.1}]}``.
Every field in which two of them differ falls under one rule of the table below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, Final

from ssr_hydra.errors import InputError
from ssr_hydra.time import Timestamp

__all__ = [
    "MISSING",
    "ON_CHANGE",
    "Change",
    "Difference",
    "change_of",
    "check_change",
    "differences",
]

ON_CHANGE = ("refuse", "extend", "rescale")
"""Values of ``resume.on_change``."""

_MOST_SHOWN = 12
_LONGEST_SHOWN = 60


class Change(Enum):
    """When a field may be another than in the checkpoint."""

    ANYTIME = "with on_change, at any batch"
    EPOCH = "with on_change, at the end of an epoch"
    NEVER = "the state does not fit"


# The first pattern that a field's name matches decides; the numbers of lists are left out of names.
_RULES: tuple[tuple[str, Change], ...] = (
    # Tensors in the checkpoint have these shapes, names and meanings.
    ("model", Change.NEVER),
    ("model.*", Change.NEVER),
    ("precision", Change.NEVER),
    ("optimizers", Change.NEVER),
    ("optimizers.class", Change.NEVER),
    ("optimizers.*parameters*", Change.NEVER),
    ("optimizers.*amsgrad", Change.NEVER),  # one more tensor per parameter, which the checkpoint lacks
    ("optimizers.*centered", Change.NEVER),  # likewise
    # What the batches of an epoch hold: within one, samples would be repeated or left out.
    ("data", Change.EPOCH),
    ("data.*", Change.EPOCH),
    ("run.seed", Change.EPOCH),
    # The rest: length, ssr, schedules, hyperparameters, processes, threads, device.
    ("*", Change.ANYTIME),
)


class _Missing:
    """A value that is not there; its repr stands in messages."""

    def __repr__(self) -> str:
        return "not there"


MISSING: Final = _Missing()
"""Stands for a value that one of two descriptions does not have."""


@dataclass(frozen=True)
class Difference:
    """One field in which two descriptions differ.

    Args:
        field: Its name, dotted: ``optimizers[0].lr``.
        old: The value in the checkpoint.
        new: The value now.
    """

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field} was {_shown(self.old)} and is {_shown(self.new)}"


def change_of(field: str) -> Change:
    """The rule that a field falls under.

    Example:
        >>> change_of("optimizers[0].lr").name, change_of("data.batch_size").name, change_of("model.weight").name
        ('ANYTIME', 'EPOCH', 'NEVER')
    """
    name = re.sub(r"\[\d+\]", "", field)
    return next(change for pattern, change in _RULES if fnmatchcase(name, pattern))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Every field in which two descriptions, or other nested mappings, differ, in order.

    Data with the same SHA-256 are the same, whatever their name, which holds the path that they were read from.

    Args:
        old: The checkpoint's.
        new: The run's.

    Example:
        >>> old = {"run": {"ssr": 1.0, "seed": 0}, "optimizers": [{"lr": 0.1}]}
        >>> new = {"run": {"ssr": 0.5, "seed": 0}, "optimizers": [{"lr": 0.2}]}
        >>> [str(found) for found in differences(old, new)]
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
    elif _is_list(old) and _is_list(new) and len(old) == len(new):
        for number, (mine, theirs) in enumerate(zip(old, new, strict=True)):
            yield from _compare(mine, theirs, f"{field}[{number}]")
    elif not _is_equal(old, new):
        yield Difference(field, old, new)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_equal(old: Any, new: Any) -> bool:
    """Equal as JSON has them: 1 is 1.0, and True is not 1."""
    return isinstance(old, bool) is isinstance(new, bool) and bool(old == new)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def check_change(found: Sequence[Difference], on_change: str, timestamp: Timestamp, resume: str = "auto") -> None:
    """Refuse to take up a run that is another one, unless the person has said what the change is to mean.

    Args:
        found: :func:`differences` of the checkpoint's description and the run's.
        on_change: ``refuse``, ``extend`` or ``rescale``.
        timestamp: The checkpoint's.
        resume: For the message: what ``resume`` was given as.

    Raises:
        InputError: There are differences that ``on_change`` does not allow here. It shows every field with both values.
    """
    if on_change not in ON_CHANGE:
        raise InputError("resume.on_change", on_change, f"one of {', '.join(ON_CHANGE)}", "write refuse")
    of_change = {change: [item for item in found if change_of(item.field) is change] for change in Change}
    if never := of_change[Change.NEVER]:
        rule = f"the checkpoint's state does not fit this run: {_list(never)}"
        raise InputError(
            "resume", resume, rule, "give the run that the checkpoint is of, or start anew in another folder"
        )
    changed = of_change[Change.EPOCH] + of_change[Change.ANYTIME]
    if changed and on_change == "refuse":
        rule = f"the checkpoint is of another run: {_list([item for item in found if item in changed])}"
        fix = (
            "say what that is to mean, with resume.on_change=extend (the new plan from here on) or "
            "resume.on_change=rescale (the rest of the plan over the rest of the run), or start anew in another folder"
        )
        raise InputError("resume", resume, rule, fix)
    if of_change[Change.EPOCH] and timestamp.batches_in_epoch != 0:
        rule = (
            f"the checkpoint stands after batch {timestamp.batches_in_epoch} of epoch {timestamp.epochs}, and within "
            f"an epoch this cannot change: {_list(of_change[Change.EPOCH])}"
        )
        fix = "resume from a checkpoint at the end of an epoch (checkpoint.interval=1ep writes them)"
        raise InputError("resume", resume, rule, fix)


def _list(found: Sequence[Difference]) -> str:
    shown = [str(item) for item in found[:_MOST_SHOWN]]
    if len(found) > _MOST_SHOWN:
        shown.append(f"and {len(found) - _MOST_SHOWN} more")
    return ", ".join(shown)
