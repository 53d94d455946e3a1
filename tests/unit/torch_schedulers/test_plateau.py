"""ReduceLROnPlateau compared with torch's, and the effect of SSR and times on its patience."""

import json
import random
from itertools import product

import pytest
import torch
from cases import each
from refusals import refused
from torch.optim.lr_scheduler import ReduceLROnPlateau as Theirs

from ssr_hydra.errors import WrongTypeError
from ssr_hydra.schedulers.run import Run
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp
from ssr_hydra.torch_schedulers import ReduceLROnPlateau

BASES = [0.8, 0.05, 1e-3]


def metrics(seed, length=120):
    """Falling, then flat, with noise: improvements, plateaus, and both signs."""
    rng = random.Random(seed)
    return [max(1.0 - step / 30, -0.2) + rng.uniform(-0.02, 0.02) for step in range(length)]


def follow(plateau, values, every=1):
    rates, history = BASES, []
    for number, value in enumerate(values, 1):
        rates = plateau.evaluated(value, Timestamp(batch=number * every, epoch=number), rates)
        history.append(rates)
    return history


@each("mode,threshold_mode,seed", product(("min", "max"), ("rel", "abs"), range(2)))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 3, "factor": 0.5},
        {"patience": 0, "factor": 0.9, "cooldown": 4},
        {"patience": 2, "cooldown": 1, "threshold": 0.05, "min_lr": 1e-3},
        {"patience": 1, "factor": 0.3, "min_lr": [0.1, 0.01, 0.0], "eps": 1e-3},
    ],
)
def test_plateau_at_ssr_1_equals_the_plateau_of_torch(options, mode, threshold_mode, seed):
    own = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in BASES])
    theirs = Theirs(own, mode=mode, threshold_mode=threshold_mode, **options)
    expected = []
    for value in metrics(seed):
        theirs.step(value)
        expected.append([group["lr"] for group in own.param_groups])
    ours = ReduceLROnPlateau(mode=mode, threshold_mode=threshold_mode, **options).bind(Run.of(State()))
    history = follow(ours, metrics(seed))
    assert history == [pytest.approx(rates, rel=1e-12) for rates in expected]
    assert expected[-1] != BASES  # some rate was reduced
    # The stored factor multiplies the new rates.
    assert [base * factor for base, factor in zip(BASES, ours.factors(3), strict=True)] == pytest.approx(expected[-1])


@each(
    "options,ssr,every,expected",
    [
        # The first evaluation is always the best. The rate falls when more than 5, 10, 2.5 and 1 evaluations follow.
        ({"patience": 5}, 1, 10, [7]), ({"patience": 5}, 2, 10, [12]), ({"patience": 5}, 0.5, 10, [4]),
        ({"patience": 5}, 0.2, 10, [3]),
        # Patience restarts after a cooldown of two evaluations: 1 + 1 for patience, 2 for the cooldown, 1 + 1 again.
        ({"patience": 1, "cooldown": 2}, 1, 10, [3, 7, 11]), ({"patience": 0, "cooldown": 4}, 0.5, 10, [2, 5, 8]),
        ({"patience": 0, "cooldown": 2}, 2, 10, [2, 7, 12]),
        # As a time, patience does not depend on the number of batches between evaluations.
        ({"patience": "50ba"}, 1, 10, [7]), ({"patience": "50ba"}, 1, 20, [4]), ({"patience": "50ba"}, 0.5, 10, [4]),
        ({"patience": "5ep"}, 1, 10, [7]),
        ({"patience": "0.5dur"}, 0.5, 10, [7]),  # a fraction of a run of 100 batches, which is already scaled by ssr
    ],
)  # fmt: skip
def test_ssr_multiplies_patience_and_cooldown_without_rounding(options, ssr, every, expected):
    plateau = ReduceLROnPlateau(factor=0.5, **options).bind(Run.of(State("100ba", dataloader_len=10), ssr))
    rates = [first for first, *_ in [BASES, *follow(plateau, [1.0] * 16, every)]]
    assert [number for number in range(1, 17) if rates[number] != rates[number - 1]][: len(expected)] == expected


def test_state_is_plain_data_and_can_be_restored():
    for options in ({"patience": 3, "cooldown": 2}, {"patience": "35ba", "cooldown": "15ba"}):
        values = metrics(1)
        whole = follow(ReduceLROnPlateau(**options).bind(Run.of(State(), 0.7)), values, 10)
        for cut in (0, 1, 40, 47, 60):
            first = ReduceLROnPlateau(**options).bind(Run.of(State(), 0.7))
            rates = follow(first, values[:cut], 10)[-1] if cut else BASES
            state = json.loads(json.dumps(first.state_dict()))
            second = ReduceLROnPlateau(**options).bind(Run.of(State(), 0.7))
            second.load_state_dict(state)
            for number, value in enumerate(values[cut:], cut + 1):
                rates = second.evaluated(value, Timestamp(batch=number * 10), rates)
                assert rates == whole[number - 1]


def test_invalid_state_changes_nothing():
    plateau = ReduceLROnPlateau().bind(Run.of(State()))
    before = plateau.state_dict()
    for state in ({}, {**before, "since": "soon"}, {**before, "factors": None}, {"best": 1.0}):
        with refused("state_dict", WrongTypeError):
            plateau.load_state_dict(state)
    assert plateau.state_dict() == before


def test_group_that_is_added_later_starts_without_reductions():
    plateau = ReduceLROnPlateau(patience=0, factor=0.5).bind(Run.of(State()))
    plateau.evaluated(1.0, Timestamp(), [1.0])
    plateau.evaluated(2.0, Timestamp(), [1.0])
    assert plateau.factors(2) == [0.5, 1.0]
