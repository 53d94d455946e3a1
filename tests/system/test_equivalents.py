"""The tables of docs/guide/moving.md: in each batch, a scheduler has the multiplier of the one it replaces."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as lr

from ssr_hydra import State, Timestamp
from ssr_hydra import schedulers as ours
from ssr_hydra.schedulers import Phase, bind

LR = 0.2
STEPS = 24
EPOCH = 1  # batches per epoch: torch and timm count calls, so batches, epochs and calls are equal


def alphas_of_torch(make: Callable[[Optimizer], Any]) -> list[float]:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    schedule = make(optimizer)
    alphas = []
    for _ in range(STEPS):
        alphas.append(optimizer.param_groups[0]["lr"] / LR)
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SequentialLR passes an epoch, which torch itself warns about
            schedule.step()
    return alphas


def alphas_of_timm(make: Callable[[Optimizer], Any]) -> list[float]:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    schedule = make(optimizer)
    alphas = []
    for k in range(STEPS):
        schedule.step(k)
        alphas.append(optimizer.param_groups[0]["lr"] / LR)
    return alphas


def alphas_of_ours(scheduler: Any) -> list[float]:
    curve = bind(scheduler, State(max_duration=f"{STEPS}ba", dataloader_len=EPOCH))
    return [curve(Timestamp(batch=k, epoch=k)) for k in range(STEPS)]


TORCH = {
    "constant": (lambda o: lr.ConstantLR(o, factor=0.3, total_iters=5), ours.ConstantScheduler(alpha=0.3, t_max="5ba")),
    "linear": (
        lambda o: lr.LinearLR(o, start_factor=0.1, end_factor=0.8, total_iters=10),
        ours.LinearScheduler(alpha_i=0.1, alpha_f=0.8, t_max="10ba"),
    ),
    "step": (lambda o: lr.StepLR(o, 7), ours.StepScheduler("7ep")),
    "multistep": (lambda o: lr.MultiStepLR(o, [5, 12]), ours.MultiStepScheduler(["5ep", "12ep"])),
    "exponential": (lambda o: lr.ExponentialLR(o, 0.9), ours.ExponentialScheduler(0.9)),
    "cosine": (lambda o: lr.CosineAnnealingLR(o, STEPS, eta_min=0.02), ours.CosineAnnealingScheduler(alpha_f=0.1)),
    "restarts": (
        lambda o: lr.CosineAnnealingWarmRestarts(o, 3, T_mult=2),
        ours.CosineAnnealingWarmRestartsScheduler("3ep", t_mult=2),
    ),
    "polynomial": (lambda o: lr.PolynomialLR(o, total_iters=STEPS, power=2.0), ours.PolynomialScheduler(2.0)),
    "sequential": (
        lambda o: lr.SequentialLR(
            o,
            [lr.ConstantLR(o, factor=0.5, total_iters=100), lr.ExponentialLR(o, 0.9)],
            milestones=[6],
        ),
        ours.SequentialScheduler(
            {
                "first": Phase(ours.ConstantScheduler(alpha=0.5, t_max="100ba"), until="6ba"),
                "second": ours.ExponentialScheduler(0.9, decay_period="1ba"),
            }
        ),
    ),
    "chained": (
        lambda o: lr.ChainedScheduler([lr.StepLR(o, 7, gamma=0.5), lr.ExponentialLR(o, 0.9)]),
        ours.ProductScheduler(
            {"a": ours.StepScheduler("7ba", gamma=0.5), "b": ours.ExponentialScheduler(0.9, decay_period="1ba")}
        ),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_scheduler_equals_the_scheduler_of_torch(name: str) -> None:
    theirs, mine = TORCH[name]
    assert alphas_of_ours(mine) == pytest.approx(alphas_of_torch(theirs), abs=1e-9)


def test_one_cycle_scheduler_equals_torch_if_the_optimizer_lr_is_max_lr() -> None:
    # In torch, a schedule of n steps ends at its last step, n - 1. Here a schedule ends when the run ends, at n.
    theirs = alphas_of_torch(lambda o: lr.OneCycleLR(o, max_lr=LR, total_steps=STEPS + 1))
    # torch puts the peak at pct_start * total_steps - 1.
    peak = 0.3 * (STEPS + 1) - 1
    mine = ours.OneCycleScheduler(t_up=f"{peak:g}ba")
    assert alphas_of_ours(mine) == pytest.approx(theirs, abs=1e-6)


TIMM: dict[str, tuple[Callable[[Any, Optimizer], Any], Any]] = {
    "cosine with warmup": (
        lambda timm, o: timm.CosineLRScheduler(o, t_initial=STEPS - 4, lr_min=0.02, warmup_t=4, warmup_prefix=True),
        ours.CosineAnnealingWithWarmupScheduler("4ep", alpha_f=0.1),
    ),
    "cycles": (
        lambda timm, o: timm.CosineLRScheduler(o, t_initial=3, cycle_mul=2, cycle_limit=9),
        ours.CosineAnnealingWarmRestartsScheduler("3ep", t_mult=2),
    ),
    "cycles with a limit": (
        # Cycles of 3 and 6 epochs, and the floor from epoch 9 on.
        lambda timm, o: timm.CosineLRScheduler(o, t_initial=3, lr_min=0.02, cycle_mul=2, cycle_limit=2),
        ours.SequentialScheduler(
            {
                "cycles": Phase(ours.CosineAnnealingWarmRestartsScheduler("3ep", t_mult=2, alpha_f=0.1), until="9ep"),
                "floor": ours.ConstantScheduler(0.1, t_max="2dur"),
            }
        ),
    ),
    "one cycle by default": (
        lambda timm, o: timm.CosineLRScheduler(o, t_initial=10, lr_min=0.02),
        ours.CosineAnnealingScheduler("10ep", alpha_f=0.1),
    ),
    "cycles that grow and decay": (
        lambda timm, o: timm.CosineLRScheduler(o, t_initial=3, cycle_mul=2, cycle_decay=0.5, cycle_limit=9),
        ours.ProductScheduler(
            {
                "cycles": ours.CosineAnnealingWarmRestartsScheduler("3ep", t_mult=2),
                "decay": ours.MultiStepScheduler(["3ep", "9ep", "21ep"], gamma=0.5),
            }
        ),
    ),
    "cycles that decay above a floor": (
        lambda timm, o: timm.CosineLRScheduler(o, t_initial=8, lr_min=0.02, cycle_decay=0.5, cycle_limit=9),
        ours.SequentialScheduler(
            {
                f"cycle {i}": Phase(
                    ours.ProductScheduler(
                        {
                            "peak": ours.ConstantScheduler(0.5**i),
                            "cycle": ours.CosineAnnealingScheduler(alpha_f=0.1 / 0.5**i),
                        }
                    ),
                    until=f"{8 * (i + 1)}ep",
                )
                for i in range(3)
            }
        ),
    ),
    "warmup over the start of the cosine": (
        lambda timm, o: timm.CosineLRScheduler(o, t_initial=STEPS, lr_min=0.02, warmup_t=4),
        lambda state, ssr=1.0: (
            state.timestamp.epoch.value / 4
            if state.timestamp < "4ep"
            else ours.CosineAnnealingScheduler(alpha_f=0.1)(state, ssr)
        ),
    ),
    "cycles that decay": (
        lambda timm, o: timm.CosineLRScheduler(o, t_initial=4, cycle_decay=0.5, cycle_limit=9),
        ours.ProductScheduler(
            {
                "cycles": ours.CosineAnnealingWarmRestartsScheduler("4ep"),
                "decay": ours.StepScheduler("4ep", gamma=0.5),
            }
        ),
    ),
    "multistep": (
        lambda timm, o: timm.MultiStepLRScheduler(o, decay_t=[6, 13], decay_rate=0.1),
        # timm decays one update early: milestone 6 takes effect at 5.
        ours.MultiStepScheduler(["5ep", "12ep"], gamma=0.1),
    ),
    "polynomial": (
        lambda timm, o: timm.PolyLRScheduler(o, power=0.5, t_initial=STEPS, lr_min=0.02),
        ours.PolynomialScheduler(0.5, alpha_f=0.1),
    ),
    "warmup from above zero": (
        lambda timm, o: timm.CosineLRScheduler(
            o, t_initial=STEPS - 4, warmup_t=4, warmup_lr_init=0.05, warmup_prefix=True
        ),
        ours.SequentialScheduler(
            {
                "warmup": Phase(ours.LinearScheduler(alpha_i=0.25, alpha_f=1.0), until="4ba", scale=False),
                "main": ours.CosineAnnealingScheduler(),
            }
        ),
    ),
}


@pytest.mark.extra("timm")
@pytest.mark.parametrize("name", TIMM)
def test_scheduler_equals_the_scheduler_of_timm(name: str) -> None:
    import timm.scheduler as timm

    theirs, mine = TIMM[name]
    assert alphas_of_ours(mine) == pytest.approx(alphas_of_timm(lambda o: theirs(timm, o)), abs=1e-9)


def _warmup_steps(transformers: Any, share: float) -> int:
    """Return the number of warmup steps of the Trainer of transformers."""
    arguments = inspect.signature(transformers.TrainingArguments).parameters
    name = "warmup_ratio" if "warmup_ratio" in arguments else "warmup_steps"  # in releases 4 and 5
    steps: int = transformers.TrainingArguments("out", **{name: share}).get_warmup_steps(STEPS)
    return steps


TRANSFORMERS: dict[str, tuple[Callable[[Any, Optimizer], Any], Any]] = {
    "constant": (lambda t, o: t.get_constant_schedule_with_warmup(o, 4), ours.ConstantWithWarmupScheduler("4ba")),
    "linear": (lambda t, o: t.get_linear_schedule_with_warmup(o, 4, STEPS), ours.LinearWithWarmupScheduler("4ba")),
    "cosine": (
        lambda t, o: t.get_cosine_schedule_with_warmup(o, 4, STEPS),
        ours.CosineAnnealingWithWarmupScheduler("4ba"),
    ),
    "cosine with a floor": (
        lambda t, o: t.get_cosine_with_min_lr_schedule_with_warmup(o, 4, STEPS, min_lr_rate=0.1),
        ours.CosineAnnealingWithWarmupScheduler("4ba", alpha_f=0.1),
    ),
    "polynomial": (
        lambda t, o: t.get_polynomial_decay_schedule_with_warmup(o, 4, STEPS, lr_end=0.02, power=2.0),
        ours.PolynomialWithWarmupScheduler("4ba", power=2.0, alpha_f=0.1),
    ),
    "inverse square root": (
        lambda t, o: t.get_inverse_sqrt_schedule(o, 4, timescale=9),
        ours.InverseSquareRootWithWarmupScheduler("4ba", t_scale="9ba"),
    ),
    "warmup, stable, decay": (
        lambda t, o: t.get_wsd_schedule(o, 4, num_decay_steps=6, num_training_steps=STEPS),
        ours.WarmupStableDecayScheduler("4ba", t_decay="6ba", decay="cosine"),
    ),
    "warmup as a share": (
        lambda t, o: t.get_linear_schedule_with_warmup(o, STEPS // 4, STEPS),
        ours.LinearWithWarmupScheduler("0.25dur"),
    ),
    "warmup as a share of whole steps": (
        # 0.3 of 24 steps is 7.2, and transformers makes 8 of it.
        lambda t, o: t.get_linear_schedule_with_warmup(o, _warmup_steps(t, 0.3), STEPS),
        ours.LinearWithWarmupScheduler(f"{math.ceil(0.3 * STEPS)}ba"),
    ),
}


@pytest.mark.extra("transformers")
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_scheduler_equals_the_scheduler_of_transformers(name: str) -> None:
    import transformers

    theirs, mine = TRANSFORMERS[name]
    assert alphas_of_ours(mine) == pytest.approx(alphas_of_torch(lambda o: theirs(transformers, o)), abs=1e-9)


# Formulas of codebases that are not libraries or that are too large to install for one function. Each function returns
# the rate of step k relative to the peak, for w warmup steps and d decay steps.


def nanogpt(k: int, w: int, floor: float) -> float:
    if k < w:
        return (k + 1) / (w + 1)
    return floor + 0.5 * (1 + math.cos(math.pi * (k - w) / (STEPS - w))) * (1 - floor)


def nanochat(k: int, w: int, d: int, floor: float) -> float:
    if k < w:
        return (k + 1) / w
    if k <= STEPS - d:
        return 1.0
    left = (STEPS - k) / d
    return left + (1 - left) * floor


def torchtitan(k: int, w: int, d: int, decay: str, floor: float) -> float:
    if k < w:
        return (k + 1) / w
    stable = STEPS + 1 - d  # a virtual last step, so that the last rate is not zero
    if k < stable:
        return 1.0
    frac = (k + 1 - stable) / d
    shape = {"linear": 1 - frac, "sqrt": 1 - math.sqrt(frac), "cosine": 0.5 * (1 + math.cos(math.pi * frac))}[decay]
    return floor + (1 - floor) * shape


def olmo(k: int, w: int, shape: Callable[[float], float], floor: float) -> float:
    return k / w if k < w else floor + (1 - floor) * shape((k - w) / (STEPS - w))


def after_ramp(first: float, until: int, main: Any) -> Any:
    ramp = Phase(ours.LinearScheduler(first, 1.0), until=f"{until}ba", scale=False)
    return ours.SequentialScheduler({"warmup": ramp, "main": main})


def decay_of(d: int, decay: str = "linear", floor: float = 0.0, warmup: str = "0ba") -> Any:
    return ours.WarmupStableDecayScheduler(warmup, t_decay=f"{d}ba", alpha_f=floor, decay=decay)


FORMULAS: dict[str, tuple[Callable[[int], float], Any]] = {
    "nanoGPT": (lambda k: nanogpt(k, 5, 0.1), after_ramp(1 / 6, 5, ours.CosineAnnealingScheduler(alpha_f=0.1))),
    "nanochat": (lambda k: nanochat(k, 5, 8, 0.05), after_ramp(1 / 5, 4, decay_of(8, floor=0.05))),
    "nanochat without warmup": (lambda k: nanochat(k, 0, 8, 0.0), decay_of(8)),
    "torchtitan, linear": (lambda k: torchtitan(k, 4, 7, "linear", 0.1), after_ramp(1 / 4, 3, decay_of(7, floor=0.1))),
    "torchtitan, sqrt": (lambda k: torchtitan(k, 4, 7, "sqrt", 0.0), after_ramp(1 / 4, 3, decay_of(7, "1-sqrt"))),
    "torchtitan, cosine": (lambda k: torchtitan(k, 4, 7, "cosine", 0.0), after_ramp(1 / 4, 3, decay_of(7, "cosine"))),
    "OLMo-core, cosine": (
        lambda k: olmo(k, 4, lambda x: 0.5 * (1 + math.cos(math.pi * x)), 0.1),
        ours.CosineAnnealingWithWarmupScheduler("4ba", alpha_f=0.1),
    ),
    "OLMo-core, linear": (
        lambda k: olmo(k, 4, lambda x: 1 - x, 0.1),
        ours.LinearWithWarmupScheduler("4ba", alpha_f=0.1),
    ),
    "OLMo-core, wsd": (lambda k: min(1, k / 4, (STEPS - k) / 6), decay_of(6, warmup="4ba")),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_scheduler_equals_the_formula_of_language_model_codebases(name: str) -> None:
    theirs, mine = FORMULAS[name]
    assert alphas_of_ours(mine) == pytest.approx([theirs(k) for k in range(STEPS)], abs=1e-12)


OPTAX: dict[str, tuple[Callable[[Any], Callable[[int], Any]], Any]] = {
    "linear": (lambda o: o.linear_schedule(LR, 0.02, 10), ours.LinearScheduler(alpha_f=0.1, t_max="10ba")),
    "cosine": (lambda o: o.cosine_decay_schedule(LR, 10, 0.1), ours.CosineAnnealingScheduler("10ba", alpha_f=0.1)),
    "cosine with warmup": (
        lambda o: o.warmup_cosine_decay_schedule(0.0, LR, 4, STEPS, 0.02),
        ours.CosineAnnealingWithWarmupScheduler("4ba", alpha_f=0.1),
    ),
    "constant with warmup": (lambda o: o.warmup_constant_schedule(0.0, LR, 4), ours.ConstantWithWarmupScheduler("4ba")),
    "polynomial": (
        lambda o: o.polynomial_schedule(LR, 0.02, 2.0, 10),
        ours.PolynomialScheduler(2.0, t_max="10ba", alpha_f=0.1),
    ),
    "exponential": (lambda o: o.exponential_decay(LR, 5, 0.5), ours.ExponentialScheduler(0.5, decay_period="5ba")),
    "step": (lambda o: o.exponential_decay(LR, 5, 0.5, staircase=True), ours.StepScheduler("5ba", gamma=0.5)),
}


@pytest.mark.extra("optax")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OPTAX)
def test_scheduler_equals_the_schedule_of_optax(name: str) -> None:
    import optax

    theirs, mine = OPTAX[name]
    schedule = theirs(optax)
    # optax computes in float32.
    assert alphas_of_ours(mine) == pytest.approx([float(schedule(k)) / LR for k in range(STEPS)], abs=1e-6)


@pytest.mark.extra("optax")
@pytest.mark.filterwarnings("ignore")
def test_table_of_the_step_function_can_be_used_as_an_optax_schedule() -> None:
    import jax
    import optax

    alpha = ours.as_function(ours.LinearScheduler(), "8ba", ssr=0.5)  # over 4 steps: 1, .75, .5, .25
    table = jax.numpy.array([0.5 * alpha(k) for k in range(4)])
    optimizer = optax.sgd(lambda count: table[count])
    update = jax.jit(optimizer.update)
    state, steps = optimizer.init(0.0), []
    for _ in range(4):
        change, state = update(1.0, state)
        steps.append(-float(change))
    assert steps == [0.5, 0.375, 0.25, 0.125]
