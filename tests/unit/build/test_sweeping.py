"""Sweeps as the command line starts them, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import answer

SMALL = ("max_duration=1ba", "trainer.progress=none", "study_report=false", "launcher=basic", "study=s")


def test_folders_may_be_called_by_what_a_job_varies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What refers to the job is resolved in each job, not once for the sweep.
    monkeypatch.chdir(tmp_path)
    said = answer(capsys, "-m", "seed=0,1", "hydra.sweep.subdir=s${seed}_${hydra.job.num}", *SMALL)
    assert said.code == 0, said.err
    assert sorted(path.parent.name for path in tmp_path.glob("studies/s/*/result.json")) == ["s0_0", "s1_1"]


@pytest.mark.parametrize("size", [0, -1])
def test_a_sweep_of_batches_below_one_job_is_refused(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = answer(capsys, "-m", "seed=0,1", f"hydra.sweeper.max_batch_size={size}", *SMALL)
    assert said.code == 2
    assert said.err == (
        f"error: hydra.sweeper.max_batch_size={size}: must be a whole number of at least 1; write e.g. 1\n"
    )
    assert list(tmp_path.iterdir()) == []
