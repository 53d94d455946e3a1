import math
import pickle
from fractions import Fraction
from itertools import product

import pytest
import torch
from cases import each
from refusals import refused
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from ssr_hydra import torch_schedulers as described
from ssr_hydra.errors import ConflictError, InputError, MismatchError, RangeError, UnsupportedError
from ssr_hydra.optim import ScheduledLR
from ssr_hydra.optim.torch_schedulers import Paced
from ssr_hydra.schedulers import ConstantScheduler, LinearScheduler
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp
from ssr_hydra.trainer.learning_rates import LearningRates

BATCHES = 4


def sgd(lr=0.8):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def trace(schedulers, optimizer, epochs=2, stepwise=None):
    """Return the rate of every batch in a run with epochs of four batches, called like the training loop does."""
    state = State(max_duration=f"{epochs}ep", dataloader_len=BATCHES, optimizers=optimizer)
    rates = LearningRates(schedulers, state, Fraction(1), stepwise)
    lrs = []
    for _ in range(epochs):
        for number in range(BATCHES):
            lrs.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            state.timestamp = state.timestamp.to_next_batch()
            if number == BATCHES - 1:
                state.timestamp = state.timestamp.to_next_epoch()
                rates.epoch_ended()
            rates.batch_ended()()
    return lrs


def alone(scheduler, steps, every=1):
    """Return torch's own rates, with a step after every few batches."""
    lrs = []
    for step in range(1, steps + 1):
        lrs.append(float(scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.optimizer.step()
        if step % every == 0:
            scheduler.step()
    return lrs


STALE = {
    "StepLR": lambda o: StepLR(o, 2, 0.5),
    "ConstantLR": lambda o: ConstantLR(o, 0.5, 3),
    "LinearLR": lambda o: LinearLR(o, 0.25, 1.0, 6),
    "ExponentialLR": lambda o: ExponentialLR(o, 0.9),
    "MultiStepLR": lambda o: MultiStepLR(o, [2, 2, 5], 0.5),
    "CosineAnnealingLR": lambda o: CosineAnnealingLR(o, 10, eta_min=0.001),
    "PolynomialLR": lambda o: PolynomialLR(o, 10, 2.0),
    "MultiplicativeLR": lambda o: MultiplicativeLR(o, lambda step: 0.9),
    "ChainedScheduler": lambda o: ChainedScheduler([ConstantLR(o, 0.5, 3), ExponentialLR(o, 0.9)]),
    "LambdaLR": lambda o: LambdaLR(o, lambda step: 1 - step / 10),
    "SequentialLR": lambda o: SequentialLR(o, [ConstantLR(o, 0.5, 9), ExponentialLR(o, 0.9)], [3]),
    "OneCycleLR": lambda o: OneCycleLR(o, 0.5, 10),
    "ReduceLROnPlateau": lambda o: ReduceLROnPlateau(o),
}


@pytest.mark.parametrize("name", STALE)
def test_second_torch_scheduler_starts_at_the_same_rate_as_in_torch(name):
    # Most schedulers continue from the current rate, 0.02. Schedulers that overwrite the rate start from 0.1.
    actual, expected = (torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9) for _ in range(2))
    for optimizer in (actual, expected):
        StepLR(optimizer, 100)
        optimizer.param_groups[0]["lr"] = 0.02
    own = STALE[name](expected)
    reference = [0.02] * 8 if isinstance(own, ReduceLROnPlateau) else alone(own, 8)
    assert trace(STALE[name](actual), actual, stepwise=True) == pytest.approx(reference)


def test_torch_scheduler_of_a_repeated_run_starts_from_the_initial_rate():
    optimizer = sgd()
    scheduler = ExponentialLR(optimizer, 0.5)
    assert trace(scheduler, optimizer) == trace(scheduler, optimizer) == [0.8] * 4 + [0.4] * 4


@pytest.mark.parametrize(
    ("make", "field", "fix"),
    [
        (lambda o: described.CosineAnnealingLR("1dur"), "schedulers.pace", "set pace='batch'"),
        (lambda o: CosineAnnealingLR(o, BATCHES), "schedulers.pace", r"use Paced\(scheduler, 'batch'\)"),
        (lambda o: [LinearScheduler(), StepLR(o, 1)], "schedulers[1].pace", r"use Paced\(scheduler, 'batch'\)"),
    ],
)
def test_run_within_one_epoch_needs_a_pace(make, field, fix):
    with pytest.raises(RangeError, match=f"must be set, .* within its first epoch; {fix}") as caught:
        trace(make(optimizer := sgd()), optimizer, epochs=1)
    assert caught.value.field == field


def test_explicit_pace_is_used_in_a_run_within_one_epoch():
    cosine = [0.4 * (1 + math.cos(math.pi * k / BATCHES)) for k in range(BATCHES)]  # torch's closed form; it ends at 0
    for pace, expected in (("batch", cosine), ("epoch", [0.8] * BATCHES)):
        assert trace(described.CosineAnnealingLR("1dur", pace=pace), sgd(), epochs=1) == pytest.approx(expected)
        theirs = Paced(CosineAnnealingLR(optimizer := sgd(), BATCHES), pace)
        assert trace(theirs, optimizer, epochs=1) == pytest.approx(expected)
        unpaced = CosineAnnealingLR(optimizer := sgd(), BATCHES)
        assert trace(unpaced, optimizer, epochs=1, stepwise=pace == "batch") == pytest.approx(expected)


def test_schedulers_of_this_package_can_step_by_epoch():
    assert trace(LinearScheduler(), sgd(), stepwise=False) == [0.8] * 4 + [0.4] * 4


def decay(state):
    return 1.0 if state.timestamp.epoch < 1 else 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: ExponentialLR(optimizer, 0.5),
        lambda optimizer: StepLR(optimizer, 1, 0.3),
        lambda optimizer: CosineAnnealingLR(optimizer, 8),
        lambda optimizer: LinearLR(optimizer, 0.25, 1.0, 3),
        lambda optimizer: MultiStepLR(optimizer, [1, 3], 0.1),
    ],
)
@pytest.mark.parametrize("stepwise", [None, True])
@pytest.mark.parametrize("tensor", [False, True])
def test_schedulers_of_this_package_multiply_torch_rates_at_a_separate_pace(make, stepwise, tensor):
    def lr():
        return torch.tensor(0.8, dtype=torch.float64) if tensor else 0.8

    reference = alone(make(sgd(lr())), 8, every=1 if stepwise else BATCHES)
    optimizer = sgd(lr())
    initial = optimizer.param_groups[0]["lr"]
    mixed = trace([make(optimizer), LinearScheduler(), decay], optimizer, stepwise=stepwise)
    expected = [rate * (8 - k) / 8 * (1.0 if k < 4 else 0.5) for k, rate in enumerate(reference)]
    assert mixed == pytest.approx(expected, rel=1e-12)
    if tensor:
        assert optimizer.param_groups[0]["lr"] is initial


def test_plateau_scheduler_reads_evaluations():
    optimizer = sgd()
    state = State(max_duration="2ep", dataloader_len=1, optimizers=optimizer)
    rates = LearningRates(
        [ReduceLROnPlateau(optimizer, patience=0, factor=0.5), ConstantScheduler(0.5)], state, Fraction(1)
    )
    assert rates.needs_evaluation
    for metric, expected in [(1.0, 0.4), (2.0, 0.2), (0.5, 0.2)]:
        rates.epoch_ended()
        rates.batch_ended()()
        rates.evaluated(metric)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_rate_is_computed_again_if_the_epoch_ends_earlier_than_planned():
    optimizer = sgd()
    state = State(max_duration="2ep", optimizers=optimizer)
    rates = LearningRates(decay, state, Fraction(1))
    optimizer.step()
    state.timestamp = state.timestamp.to_next_batch()
    rates.batch_ended()()
    assert optimizer.param_groups[0]["lr"] == 0.8
    state.timestamp = state.timestamp.to_next_epoch()
    rates.epoch_ended(again=True)
    assert optimizer.param_groups[0]["lr"] == 0.4


def test_without_schedulers_the_rate_is_constant():
    assert trace(None, sgd()) == [0.8] * 8 == trace([], sgd())


class MyStep(StepLR):
    """A user's subclass."""


class MyPlateau(ReduceLROnPlateau):
    """A subclass of a torch scheduler that follows a metric."""


@pytest.mark.parametrize(
    ("make", "ssr", "field", "words"),
    [
        (lambda o: MyStep(o, 1), 0.5, "schedulers", "cannot be stretched to ssr 0.5: it is or contains a custom"),
        (lambda o: [MyPlateau(o)], 2, "schedulers[0]", "cannot be stretched to ssr 2: it is or contains a custom"),
        (lambda o: [ExponentialLR(o, 0.5), LambdaLR(o, decays)], 2, "schedulers[1]", "overwrites the rate"),
        (lambda o: ChainedScheduler([LambdaLR(o, decays), StepLR(o, 1)]), 2, "schedulers.schedulers[0]", "overwrites"),
        (lambda o: [described.StepLR(1), MyStep(o, 1)], 1, "schedulers[0]", "that only torch itself can run"),
        (lambda o: [described.StepLR(1), described.OneCycleLR(1.0)], 1, "schedulers[1]", "overwrites the rate"),
        (lambda o: [described.CyclicLR(0.1, 1.0, 3, "3tok")], 1, "schedulers[0].step_size_down", "tokens_per_batch"),
        (lambda o: LambdaLR(o, lambda step: [1.0, 0.5, 0.1][step]), 2, "schedulers.lr_lambda", "fraction of a step"),
        (lambda o: OneCycleLR(o, 1.0, total_steps=3), 1, "schedulers.total_steps", "must not end before the run"),
        (lambda o: [None, StepLR(sgd(), 1)], 1, "schedulers[1]", "for an optimizer of this trainer"),
        (lambda o: {"a": StepLR(o, 1)}, 1, "schedulers.a", "in a list"),
        (lambda o: {"a": described.StepLR(1)}, 1, "schedulers.a", "in a list"),
        (lambda o: StepLR, 1, "schedulers", r"StepLR\(\.\.\.\)"),
        (lambda o: ScheduledLR(o, LinearScheduler(), max_duration="8ba"), 1, "schedulers", "that you step yourself"),
        (lambda o: decay, 0.5, "ssr", "second argument ssr"),
        (lambda o: [StepLR(o, 1), 3], 1, "schedulers[1].scheduler", "must be a scheduler"),
    ],
)  # fmt: skip
def test_error_for_an_unusable_scheduler_names_its_field(make, ssr, field, words):
    optimizer = sgd()
    state = State(max_duration="8ba", dataloader_len=BATCHES, optimizers=optimizer)
    with pytest.raises(InputError, match=words) as caught:
        LearningRates(make(optimizer), state, Fraction(str(ssr)))
    assert caught.value.field == field
    assert len(str(caught.value).splitlines()) == 1


# --- a scheduler that is not a function of time runs unchanged, at ssr 1 ---


AS_THEY_ARE = {
    "a class of the user's own": lambda o: MyStep(o, 1, 0.5),
    "with others of torch": lambda o: [MyStep(o, 2, 0.5), ExponentialLR(o, 0.9)],
    "a chain that overwrites itself": lambda o: ChainedScheduler([LambdaLR(o, decays), ExponentialLR(o, 0.9)]),
    "a list that overwrites itself": lambda o: [ExponentialLR(o, 0.9), LambdaLR(o, decays)],
}


def decays(step):
    return 1.0 / (1.0 + step)


@pytest.mark.parametrize("name", AS_THEY_ARE)
@pytest.mark.parametrize("with_ours", [False, True])
def test_torch_schedulers_that_are_not_functions_of_time_run_as_in_torch(name, with_ours):
    def several(o):
        schedulers = AS_THEY_ARE[name](o)
        return list(schedulers) if isinstance(schedulers, list) else [schedulers]

    reference = sgd()
    items, expected = several(reference), []
    for batch in range(8):
        expected.append(reference.param_groups[0]["lr"] * ((8 - batch) / 8 if with_ours else 1.0))
        reference.step()
        for item in items if batch % BATCHES == BATCHES - 1 else []:
            item.step()
    optimizer = sgd()
    lrs = trace([*several(optimizer), *([LinearScheduler()] if with_ours else [])], optimizer)
    assert lrs == pytest.approx(expected, rel=1e-12)


def test_custom_torch_scheduler_is_refused_in_a_rescaled_run():
    optimizer = sgd()
    state = State(max_duration="8ba", dataloader_len=BATCHES, optimizers=optimizer)
    with refused("schedulers", UnsupportedError):
        LearningRates(MyStep(optimizer, 1), state, Fraction(1), clock=lambda timestamp: timestamp)


# --- resuming: a function of time is computed, a state is loaded ---


RESUMED = {
    "ours": lambda o: LinearScheduler(),
    "ours by name": lambda o: {"default": LinearScheduler()},
    "none": lambda o: None,
    "torch": lambda o: CosineAnnealingLR(o, 3, 0.01),
    "torch by batches": lambda o: Paced(ExponentialLR(o, 0.9), "batch"),
    "a recursion": lambda o: [LinearLR(o, 0.1, total_iters=3), CosineAnnealingLR(o, 3, 0.01), decay],
    "described": lambda o: [described.OneCycleLR(1.0), LinearScheduler()],
    "plateau": lambda o: [ReduceLROnPlateau(o, patience=1, factor=0.5), ExponentialLR(o, 0.9)],
    "plateaus": lambda o: [described.ReduceLROnPlateau(patience="5ba", factor=0.5, cooldown=1), LinearScheduler()],
    "my plateau": lambda o: [MyPlateau(o, patience=1, factor=0.5), LinearScheduler()],
    "as it is": lambda o: [MyStep(o, 1, 0.5), ExponentialLR(o, 0.9), LinearScheduler()],
}


@each("stepwise,cut", product([None, True, False], [1, 4, 6, 11]))
@pytest.mark.parametrize("name", RESUMED)
def test_interrupted_run_resumes_with_bitwise_equal_param_groups(name, stepwise, cut):
    def start(optimizer):
        state = State(max_duration="16ba", dataloader_len=BATCHES, optimizers=optimizer)
        return state, LearningRates(RESUMED[name](optimizer), state, Fraction(1), stepwise)

    def go(state, rates, optimizer, batches):
        snapshots = []
        for batch in batches:
            snapshots.append(dict(optimizer.param_groups[0], params=None))
            optimizer.step()
            state.timestamp = state.timestamp.to_next_batch()
            if (batch + 1) % BATCHES == 0:
                state.timestamp = state.timestamp.to_next_epoch()
                rates.epoch_ended()
            rates.batch_ended()()
            if (batch + 1) % 2 == 0:
                rates.evaluated(1.0)
        return snapshots

    optimizer = sgd()
    state, rates = start(optimizer)
    whole = go(state, rates, optimizer, range(16))
    optimizer = sgd()
    state, rates = start(optimizer)
    first = go(state, rates, optimizer, range(cut))
    saved = pickle.loads(pickle.dumps((rates.state_dict(), optimizer.state_dict(), state.timestamp)))
    assert bool(saved[0]) == (name in ("plateau", "plateaus", "my plateau", "as it is"))
    other = sgd()
    new_state, new_rates = start(other)
    other.load_state_dict(saved[1])
    new_state.timestamp = saved[2]
    new_rates.load_state_dict(saved[0])
    assert first + go(new_state, new_rates, other, range(cut, 16)) == whole


@pytest.mark.parametrize("name", RESUMED)
def test_state_of_other_schedulers_is_refused(name):
    optimizer = sgd()
    state = State(max_duration="16ba", dataloader_len=BATCHES, optimizers=optimizer)
    rates = LearningRates(RESUMED[name](optimizer), state, Fraction(1))
    for memory in ({"optimizers": [{"plateaus": [{}] * 3}]}, {"optimizers": [{}, {}]}, None, {"other": 1}):
        with refused("schedulers", MismatchError):
            rates.load_state_dict(memory)


# --- the clock ---


@pytest.mark.parametrize(
    "make",
    [
        lambda o: LinearScheduler(),
        lambda o: {"default": LinearScheduler()},
        lambda o: described.LinearLR(1.0, 0.0, "1dur", pace="batch"),
        lambda o: [described.LinearLR(1.0, 0.0, "1dur", pace="batch"), ConstantScheduler(1.0)],
        lambda o: [described.StepLR(1, 1.0), LinearScheduler()],
    ],
)
def test_schedules_follow_the_time_map(make):
    # A plan of 8 batches is stretched to 16 after batch 4. From there on, the clock has a third of the speed.
    optimizer = sgd()
    state = State(max_duration="16ba", dataloader_len=BATCHES, optimizers=optimizer)
    plan = State(max_duration="8ba", dataloader_len=BATCHES)

    def clock(timestamp):
        return timestamp.copy(batch=4 + Fraction(timestamp.batches - 4, 3)) if timestamp.batches > 4 else timestamp

    rates = LearningRates(make(optimizer), state, Fraction(1), clock=clock, plan=plan)
    lrs = []
    for _ in range(16):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        state.timestamp = state.timestamp.to_next_batch()
        rates.batch_ended()()
    times = [*range(5), *(4 + Fraction(k, 3) for k in range(1, 12))]
    assert lrs == pytest.approx([0.8 * float(1 - time / 8) for time in times], rel=1e-12)


def test_schedulers_by_epoch_use_the_epochs_of_the_clock():
    optimizer = sgd()
    state = State(max_duration="4ep", dataloader_len=BATCHES, optimizers=optimizer)

    def twice(timestamp):
        return timestamp.copy(batch=2 * timestamp.batches, epoch=2 * timestamp.epochs)

    rates = LearningRates(described.ExponentialLR(0.5), state, Fraction(1), clock=twice)
    state.timestamp = Timestamp(epoch=1, batch=6, batch_in_epoch=2)
    rates.load_state_dict({})
    assert optimizer.param_groups[0]["lr"] == 0.8 * 0.25  # two epochs of the plan have ended, not three


# --- groups and optimizers ---


def test_param_groups_that_are_added_later_follow_the_schedule():
    for make in (
        lambda o: ExponentialLR(o, 0.5),
        lambda o: [described.ExponentialLR(0.5), ConstantScheduler(1.0)],
        lambda o: [StepLR(o, 1, 0.5), ReduceLROnPlateau(o)],
    ):
        optimizer = sgd()
        state = State(max_duration="9ep", dataloader_len=1, optimizers=optimizer)
        rates = LearningRates(make(optimizer), state, Fraction(1))
        for epoch in range(1, 4):
            if epoch == 2:
                optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.1})
            state.timestamp = state.timestamp.to_next_batch().to_next_epoch()
            rates.epoch_ended()
            rates.batch_ended()()
        # The group has the same rate as if it had existed from the start: a rate is a function of time.
        assert [group["lr"] for group in optimizer.param_groups] == [0.8 / 8, 0.1 / 8]


def test_torch_scheduler_instance_sets_only_its_own_optimizer():
    a, b = sgd(), sgd(0.2)
    state = State(max_duration="2ep", dataloader_len=1, optimizers=(a, b))
    rates = LearningRates([described.ExponentialLR(0.5), StepLR(b, 1, 0.1)], state, Fraction(1))
    state.timestamp = state.timestamp.to_next_batch().to_next_epoch()
    rates.epoch_ended()
    assert [a.param_groups[0]["lr"], b.param_groups[0]["lr"]] == pytest.approx([0.4, 0.01])


def test_scheduled_momentum_needs_an_optimizer_with_momentum():
    optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    state = State(max_duration="8ba", optimizers=optimizer)
    with refused("schedulers[0].cycle_momentum", ConflictError):
        LearningRates([described.OneCycleLR(1.0)], state, Fraction(1))
    assert not LearningRates(described.OneCycleLR(1.0, cycle_momentum=False), state, Fraction(1)).drives_momentum
    state = State(max_duration="8ba", optimizers=sgd())
    assert LearningRates(described.OneCycleLR(1.0), state, Fraction(1)).drives_momentum


def test_tensors_are_filled_in_place_and_keep_their_precision():
    lr = torch.tensor(0.8)
    optimizer = sgd(lr)
    lrs = trace(described.CosineAnnealingLR(8, pace="batch"), optimizer)
    assert optimizer.param_groups[0]["lr"] is lr
    expected = [0.4 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert lrs == pytest.approx(expected, rel=1e-6)
