"""Training in several processes that are killed many times."""

from __future__ import annotations

from pathlib import Path

import distributed_ends as ends
import pytest
from process_pairs import Pairs


@pytest.mark.parametrize(("parallel", "kills"), [("ddp", 10), ("fsdp", 4)])
def test_a_run_survives_kills_of_its_processes_to_the_bit(
    pairs: Pairs, tmp_path: Path, parallel: str, kills: int
) -> None:
    ends.check_kills(pairs, tmp_path, parallel, kills)
