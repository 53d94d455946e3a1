"""Saving and restoring: settings, random state, and hyperparameters that have changed since then."""

import copy
import json
import random

import numpy as np
import pytest
import torch
from refusals import refused
from torch import nn

from ssr_hydra.checkpoints.format import check_state
from ssr_hydra.data.seeding import GlobalRng
from ssr_hydra.settings import CheckpointSettings, setting_of
from ssr_hydra.trainer.description import describe_optimizer
from ssr_hydra.trainer.processes import ALONE
from ssr_hydra.trainer.saving import (
    random_numbers,
    restore_optimizers,
    restore_random_numbers,
    restore_weights,
    saved_weights,
)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"enabled": 1}, "checkpoint.enabled"),
        ({"keep": 1}, "checkpoint.keep"),
        ({"keep": "2"}, "checkpoint.keep"),
        ({"mode": "largest"}, "checkpoint.mode"),
        ({"interval": "0ba"}, "checkpoint.interval"),
        ({"interval": "10"}, "checkpoint.interval"),
        ({"best": "eval/loss", "enabled": False}, "checkpoint.best"),
        ({"intervall": "1ep"}, "checkpoint.intervall"),
        ("1ep", "checkpoint"),
    ],
)
def test_invalid_settings_are_refused(settings, field):
    with refused(field):
        setting_of(CheckpointSettings, settings, "checkpoint")


@pytest.mark.parametrize(
    ("best", "mode", "expected"),
    [
        (None, "max", None), ("eval/loss", "auto", "min"), ("train/loss", "auto", "min"),
        ("eval/accuracy", "auto", "max"), ("eval/loss", "max", "max"), ("eval/bits_per_byte", "min", "min"),
    ],
)  # fmt: skip
def test_mode_auto_of_the_best_checkpoint_follows_from_its_metric(best, mode, expected):
    assert CheckpointSettings(best=best, mode=mode).best_mode == expected


def drawn():
    return (
        random.random(), random.gauss(0, 1), float(np.random.rand()), float(np.random.standard_normal()),
        torch.rand(1).item(), torch.randn(1).item(),
    )  # fmt: skip


def test_random_state_continues_after_a_resume():
    """Python and NumPy store the second of two normal numbers for later, and the state includes it."""
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    drawn()
    state = random_numbers(GlobalRng.now())
    check_state(state)
    through_a_file = {**state, "python": json.loads(json.dumps(state["python"]))}
    expected = [drawn() for _ in range(3)]
    random.seed(4), np.random.seed(4), torch.manual_seed(4)
    restore_random_numbers(through_a_file)
    assert [drawn() for _ in range(3)] == expected


def trained(lr=0.1, steps=3, **arguments):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    groups = [{"params": [model.weight], **arguments.pop("weight", {})}, {"params": [model.bias]}]
    optimizer = torch.optim.AdamW(groups, lr=lr, **arguments)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def test_restored_model_and_optimizer_train_bitwise_like_the_originals():
    model, optimizer = trained()
    state = copy.deepcopy(saved_weights(model, [optimizer], ALONE))  # because reading a file copies too
    check_state(state)
    described = [describe_optimizer(optimizer)]
    fresh, other = trained(steps=0)
    restore_weights(fresh, state)
    restore_optimizers(fresh, [other], state["optimizers"], described, [describe_optimizer(other)])
    for _ in range(2):
        for net, opt in ((model, optimizer), (fresh, other)):
            opt.zero_grad()
            net(torch.ones(4, 3)).square().mean().backward()
            opt.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


def test_changed_hyperparameter_is_used_and_the_moments_are_restored():
    model, optimizer = trained(weight_decay=0.1)
    for group in optimizer.param_groups:  # as if a schedule has changed the learning rate
        group["initial_lr"], group["lr"] = 0.1, 0.0375
    state = saved_weights(model, [optimizer], ALONE)
    old = [describe_optimizer(optimizer)]
    fresh, other = trained(steps=0, weight_decay=0.1, betas=(0.8, 0.99), weight={"weight_decay": 0.5})
    restore_optimizers(fresh, [other], state["optimizers"], old, [describe_optimizer(other)])
    first, second = other.param_groups
    # A changed hyperparameter has its new value. An unchanged one (lr) has the value in the checkpoint.
    assert (first["weight_decay"], second["weight_decay"]) == (0.5, 0.1)
    assert tuple(first["betas"]) == tuple(second["betas"]) == (0.8, 0.99)
    assert (first["lr"], first["initial_lr"]) == (0.0375, 0.1)
    moments = optimizer.state[model.weight]["exp_avg"]
    assert torch.equal(other.state[fresh.weight]["exp_avg"], moments)
    assert moments.abs().sum() > 0
    # A changed learning rate replaces the rate in the checkpoint.
    fresh, other = trained(lr=0.2, steps=0)
    restore_optimizers(
        fresh, [other], state["optimizers"], [describe_optimizer(optimizer)], [describe_optimizer(other)]
    )
    for group in other.param_groups:
        assert group["lr"] == 0.2
        assert group.get("initial_lr", 0.2) == 0.2
