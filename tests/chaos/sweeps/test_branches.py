"""Test that ``run_equality`` compares each part of a checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import Answer
from run_equality import assert_same, content_of
from sharing_lab import RICH, SMALL, WSD

from ssr_hydra.app import prefix
from ssr_hydra.checkpoints.store import Checkpoint, load


def test_damage_in_any_part_of_a_shared_state_changes_the_job(
    app: Callable[..., Answer], in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rich = (*SMALL, *WSD, *RICH, "trainer.precision=fp16")  # so that the state has a GradScaler
    assert app("-m", "study=alone", *rich, "ssr=0.5").code == 0
    shared = (*rich, "ssr=0.5,1", "share=true")
    assert app("-m", "study=s", *shared).code == 0
    assert_same(Path("studies/s/0"), Path("studies/alone/0"))
    for part in ("model", "optimizers", "scaler", "random", "callbacks", "position", "watch"):

        def damaged(path: Path, part: str = part) -> Checkpoint:
            checkpoint = load(path)
            damage(checkpoint.state, part)
            if part == "position":
                checkpoint.timestamp.update(checkpoint.state["timestamp"])
            return checkpoint

        monkeypatch.setattr(prefix, "load", damaged)
        shutil.rmtree("studies/s/0")
        app("-m", "study=s", *shared)  # job 0 takes the published checkpoint again
        try:
            (folder,) = [path.parent for path in Path("studies/s").glob("*/job.json") if "ssr=0.5" in path.read_text()]
            same = content_of(folder) == content_of(Path("studies/alone/0"))
            folder.rename("studies/s/0")
        except (AssertionError, OSError, ValueError):  # the job could not start
            same = False
        assert not same, part


def damage(state: dict[str, Any], part: str) -> None:
    """Change one part of the state of a checkpoint."""
    if part == "random":
        state["random"][0]["cpu"] = torch.Generator().manual_seed(7).get_state()
    elif part == "optimizers":
        for values in state["optimizers"][0]["state"].values():
            values["exp_avg"].zero_()
    elif part == "scaler":
        state["scaler"] = None
    elif part == "callbacks":
        state["callbacks"] = {}
    elif part == "position":
        state["timestamp"]["batch_in_epoch"] -= 1
    elif part == "watch":
        state["loop"]["watch"] = {
            name: value + 1 if isinstance(value, float) else value for name, value in state["loop"]["watch"].items()
        }
    else:
        next(iter(state["model"].values())).add_(1e-6)
