"""The properties that decide whether two jobs of a sweep can share their first steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssr_hydra.sweeps.sharing.sequences import Sequences

__all__ = ["Candidate", "differing"]


@dataclass(frozen=True)
class Candidate:
    """The properties of a job that decide whether it can share steps with other jobs.

    Args:
        fields: The config fields that must be equal in jobs that share steps, with their values as text.
        sequences: The scheduled values at each step; None if they are unknown, or if the job cannot share steps.
        refused: The reason why the job cannot share steps; None if it can.
        hint: The reason why the first steps of the job differ from those of other jobs; empty if unknown.
    """

    fields: Mapping[str, str]
    sequences: Sequences | None
    refused: str | None = None
    hint: str = ""

    @property
    def group(self) -> str | None:
        """A key that is equal for jobs that can share steps with each other; None if the job shares no steps."""
        return None if self.sequences is None else json.dumps(sorted(self.fields.items()))


def differing(candidates: Sequence[Candidate]) -> list[str]:
    """Return the fields that split the jobs that can share steps into several groups, because their values differ."""
    able = [each.fields for each in candidates if each.sequences is not None]
    names = dict.fromkeys(name for fields in able for name in fields)
    return [name for name in names if len({fields.get(name) for fields in able}) > 1]
