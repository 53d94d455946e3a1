"""Reading the records of a real sweep."""

from __future__ import annotations

from pathlib import Path

from checkout import REPO
from study_runs import METRIC
from warm import warm

from ssr_hydra.studies import load


def test_study_of_a_real_sweep_is_read(tmp_path: Path) -> None:
    study = tmp_path / "study"
    process = warm.run("train.py", "-m", "ssr=0.01,0.02", "seed=0,1", f"hydra.sweep.dir={study}", cwd=REPO)
    assert process.returncode == 0, process.stderr
    loaded = load(study)
    assert (loaded.problems, loaded.notes, loaded.objective) == ((), (), METRIC)
    assert loaded.frame["ssr"].tolist() == [0.01, 0.01, 0.02, 0.02]
    assert loaded.frame["steps"].tolist() == [12, 12, 24, 24]
    assert loaded.recipes == ("cosine_warmup",)
