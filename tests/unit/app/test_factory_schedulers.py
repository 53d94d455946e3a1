from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from ssr_hydra.app.check import check
from ssr_hydra.app.factory import make_schedulers
from ssr_hydra.errors import InputError
from ssr_hydra.schedulers import ConstantScheduler, CosineAnnealingScheduler


def test_one_a_list_and_names(composed: Callable[..., DictConfig]) -> None:
    assert make_schedulers({"scheduler": None}, (), []) is None
    node = {"_target_": "ssr_hydra.schedulers.ConstantScheduler", "alpha": 0.5}
    other = {"_target_": "ssr_hydra.schedulers.CosineAnnealingScheduler"}
    half, cosine = ConstantScheduler(0.5), CosineAnnealingScheduler()
    assert make_schedulers({"scheduler": node}, (), []) == half
    assert make_schedulers({"scheduler": [node, other]}, (), []) == [half, cosine]
    named: dict[str, Any] = {"default": [node, other], "head": node}
    assert make_schedulers({"scheduler": named}, (), []) == {"default": [half, cosine], "head": half}


MINE = """
from torch.optim.lr_scheduler import LRScheduler

class Mine(LRScheduler):
    def __init__(self, optimizer, rate, last_epoch=-1):
        self.rate = rate
        super().__init__(optimizer, last_epoch)
    def get_lr(self):
        return [self.rate for _ in self.base_lrs]
"""


def test_a_class_of_the_users_own_gets_its_optimizer(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_schedulers_for_a_test.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    target = "scheduler._target_=my_schedulers_for_a_test.Mine"
    trust = ("my_schedulers_for_a_test",)
    values = check(composed("scheduler=custom", target, "+scheduler.rate=0.25"), trust)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    made = make_schedulers(values, trust, [optimizer])
    assert made.optimizer is optimizer
    assert optimizer.param_groups[0]["lr"] == 0.25
    with pytest.raises(InputError, match="drives one optimizer, and there are 2"):
        make_schedulers(values, trust, [optimizer, optimizer])
