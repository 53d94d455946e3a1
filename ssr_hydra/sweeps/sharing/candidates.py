"""Which jobs may share steps: jobs that agree in everything but what names the future of their schedules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssr_hydra.sweeps.sharing.sequences import Sequences

__all__ = ["Candidate", "differing"]


@dataclass(frozen=True)
class Candidate:
    """What decides whether a job shares steps with others.

    Args:
        fields: The fields in which jobs that share steps must agree, as text.
        sequences: The values that the run sets; None if they are unknown, or if the job cannot share.
        refused: Why the job cannot share steps; None if it can.
        hint: What keeps its first steps from being shared, if it is known.
    """

    fields: Mapping[str, str]
    sequences: Sequences | None
    refused: str | None = None
    hint: str = ""

    @property
    def group(self) -> str | None:
        """Jobs of one group may share steps. None: the job shares none."""
        return None if self.sequences is None else json.dumps(sorted(self.fields.items()))


def differing(candidates: Sequence[Candidate]) -> list[str]:
    """Return the fields in which jobs that could share steps differ, so that they are in several groups."""
    able = [each.fields for each in candidates if each.sequences is not None]
    names = dict.fromkeys(name for fields in able for name in fields)
    return [name for name in names if len({fields.get(name) for fields in able}) > 1]
