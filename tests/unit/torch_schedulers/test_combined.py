"""Sequences and chains: the times of their parts, and invalid combinations."""

from itertools import product

import pytest
import torch
from cases import each
from refusals import refused
from torch_helpers import build, decay

from ssr_hydra import torch_schedulers as ours
from ssr_hydra.errors import MissingRateError, RangeError
from ssr_hydra.schedulers import CosineAnnealingScheduler, Phase, ProductScheduler, SequentialScheduler, StepScheduler
from ssr_hydra.schedulers.run import Run
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp
from ssr_hydra.torch_schedulers.chains import UnchainableError
from ssr_hydra.torch_schedulers.combined import together


def rates(scheduler, batches, ssr=1, length="20ba"):
    course = scheduler.bind(State(length, dataloader_len=4), ssr, True)
    return [course.rates(Timestamp(batch=k), [1.0])[0] for k in batches]


def test_dur_in_a_phase_is_a_fraction_of_the_phase():
    both = ours.SequentialLR([ours.LinearLR(0.5, total_iters="1dur"), ours.PolynomialLR("0.5dur")], ["0.2dur"])
    # The phases have 4 and 16 batches. The rate is half way up at 2, and 0 after half of the second phase, at 4 + 8.
    assert rates(both, [0, 2, 4, 8, 12, 16]) == [0.5, 0.75, 1.0, 0.5, 0.0, 0.0]
    # dur is a fraction of the length of the run, which is already scaled by ssr.
    assert rates(both, [0, 2, 4, 8, 12, 16], ssr=0.5) == [0.5, 0.75, 1.0, 0.5, 0.0, 0.0]


def test_schedulers_of_a_sequence_may_be_a_mapping_or_a_list():
    parts = [ours.LinearLR(0.5), ours.StepLR(2)]
    named = ours.SequentialLR({"warmup": parts[0], "decay": parts[1]}, ["1ep"])
    assert rates(named, list(range(12))) == rates(ours.SequentialLR(parts, [4]), list(range(12)))
    with refused("schedulers.decay.step_size", MissingRateError):
        ours.SequentialLR({"a": parts[0], "decay": ours.StepLR("9tok")}, [4]).bind(State("20ba"), 1, True)


def test_milestones_may_be_equal_but_not_out_of_order():
    scheduler = ours.SequentialLR([ours.ConstantLR(0.5), ours.StepLR(2), ours.ConstantLR(0.25, 9)], [3, 3])
    assert rates(scheduler, [2, 3, 4]) == [0.5, 0.25, 0.25]
    with refused("milestones[1]", RangeError, match=r"\(3ba is before 4ba\)"):
        rates(ours.SequentialLR([ours.StepLR(2)] * 3, ["1ep", 3]), [0])


def test_nested_sequence_that_starts_later_equals_its_separate_run():
    # torch raises NotImplementedError at such a milestone.
    inner = ours.SequentialLR([ours.ConstantLR(0.5), ours.ExponentialLR(0.5)], [3])
    scheduler = ours.SequentialLR([ours.StepLR(100), inner], [10])
    assert rates(scheduler, [10 + k for k in range(6)]) == rates(inner, list(range(6))) == [0.5] * 3 + [1.0, 0.5, 0.25]


SETTERS = [ours.LambdaLR(decay), ours.CosineAnnealingWarmRestarts(3), ours.CyclicLR(0.1, 1.0), ours.OneCycleLR(1.0)]


@each("setter", SETTERS)
def test_schedulers_that_set_the_rate_at_every_step_cannot_be_chained(setter):
    for parts in ([ours.StepLR(2), setter], [setter, ours.StepLR(2)]):
        with refused(f"schedulers[{parts.index(setter)}]", UnchainableError):
            rates(ours.ChainedScheduler(parts), [0])
    within = ours.ChainedScheduler({"a": ours.SequentialLR([ours.StepLR(2), setter], [3]), "b": ours.StepLR(2)})
    with refused("schedulers.a", UnchainableError):
        rates(within, [0])
    assert rates(ours.ChainedScheduler([setter]), [0]) == rates(setter, [0])  # alone, it overwrites no other scheduler


def test_cosine_cannot_be_chained_with_a_sequence_that_sets_the_rate():
    sequence = ours.SequentialLR([ours.StepLR(2), ours.StepLR(3)], [3])
    with refused("schedulers[1]", UnchainableError):
        rates(ours.ChainedScheduler([ours.CosineAnnealingLR(9), sequence]), [0])
    inner = ours.SequentialLR([ours.CosineAnnealingLR(9), ours.StepLR(3)], [3])
    with refused("schedulers[0]", UnchainableError) as refusal:
        rates(ours.ChainedScheduler([inner, ours.StepLR(3)]), [0])
    assert refusal.value.fix == "use scheduler=product with schedulers of this package"
    cosine = SequentialScheduler({"a": Phase(CosineAnnealingScheduler(), "9ba"), "b": StepScheduler("3ba")})
    product = ProductScheduler({"sequence": cosine, "step": StepScheduler("3ba", gamma=0.1)})
    assert product(State("20ba", timestamp=Timestamp(batch=3))) == pytest.approx(0.75 * 0.1)


# Each reaches 0 as a float within 400 steps, or has a factor of 0.
VANISHING = {
    "ExponentialLR": ("ExponentialLR", 0.05),
    "StepLR": ("StepLR", 2, 0.01),
    "MultiStepLR": ("MultiStepLR", (1, 2, 3) * 60, 0.01),
    "PolynomialLR": ("PolynomialLR", 320, 300.0),
    "MultiplicativeLR": ("MultiplicativeLR", lambda step: 0.05),
    "LinearLR to 0": ("LinearLR", 1.0, 0.0, 7),
    "chain": ("ChainedScheduler", [("ExponentialLR", 0.1), ("StepLR", 3, 0.5)]),
    "ExponentialLR of 0": ("ExponentialLR", 0.0),
    "StepLR of 0": ("StepLR", 7, 0.0),
    "MultiStepLR of 0": ("MultiStepLR", (5, 250), 0.0),
    "MultiplicativeLR of 0": ("MultiplicativeLR", lambda step: 0.0 if step < 5 else 0.9),
}
REVIVING = {
    "cosine": ("CosineAnnealingLR", 10),
    "cosine with a floor": ("CosineAnnealingLR", 10, 0.01),
    "sequence": ("SequentialLR", [("ConstantLR", 0.5, 5), ("ExponentialLR", 0.99)], (300,)),
    "sequence that goes on": (
        "SequentialLR",
        [("ExponentialLR", 0.5), ("ExponentialLR", 0.6), ("MultiplicativeLR", lambda step: 0.9)],
        (200, 350),
    ),
}


PAIRS = {*product(VANISHING, ["cosine", "sequence that goes on"]), *product(["ExponentialLR", "StepLR of 0"], REVIVING)}


@each("pair,is_first", product(sorted(PAIRS), [False, True]))
def test_chain_matches_torch_after_a_factor_became_zero(pair, is_first):
    parts = [VANISHING[pair[0]], REVIVING[pair[1]]]
    spec = ("ChainedScheduler", parts if is_first else parts[::-1])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, expected = build(spec, optimizer), []
    for _ in range(400):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    lrs = rates(build(spec), list(range(400)), length="400ba")
    rounding = 1e-15 if "floor" in pair[1] else 1e-290  # a rate of 0 is computed as floor - floor
    assert lrs == pytest.approx(expected, rel=1e-9, abs=rounding)


def test_recursive_schedulers_of_different_paces_cannot_be_chained():
    run = Run.of(State("20ba", dataloader_len=4))
    chain = together([("a", ours.StepLR(1, 0.5), "epoch"), ("b", ours.ExponentialLR(0.9), "batch")], run)
    assert [(place, pace) for place, _, pace in chain] == [("a", "epoch"), ("b", "batch")]
    with refused("b", UnchainableError):
        together([("a", ours.StepLR(1, 0.5), "epoch"), ("b", ours.CosineAnnealingLR(9), "batch")], run)
    with refused("b", UnchainableError):
        together([("a", ours.StepLR(1, 0.5), "epoch"), ("b", ours.OneCycleLR(1.0), "batch")], run)


def test_one_cycle_that_ends_before_the_run_is_refused():
    assert rates(ours.OneCycleLR(1.0, 20), [0]) == pytest.approx([0.04])
    for scheduler in (ours.OneCycleLR(1.0, 19), ours.OneCycleLR(1.0, "0.9dur")):
        with refused("total_steps", RangeError):
            rates(scheduler, [0])
    # The schedule is stretched with the run: at ssr 2, ten steps are the twenty batches of the run.
    assert rates(ours.OneCycleLR(1.0, 10), [0, 19], ssr=2) == pytest.approx([0.04, 0.04 / 1e4])
    with refused("total_steps", RangeError):
        rates(ours.OneCycleLR(1.0, 19), [0], ssr=0.5)
