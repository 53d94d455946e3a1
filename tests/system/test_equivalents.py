"""The tables of docs/guide/moving.md: in each batch, a scheduler has the multiplier of the one it replaces."""

import inspect
import math
import warnings

import pytest
import torch
from cases import each
from torch.optim import SGD
from torch.optim import lr_scheduler as lr

from ssr_hydra import State, Timestamp
from ssr_hydra import schedulers as ours
from ssr_hydra.schedulers import Phase, bind

LR = 0.2
STEPS = 24
EPOCH = 1  # batches per epoch: torch and timm count calls, so batches, epochs and calls are equal


def alphas_of_torch(make, *, counts_epochs=False):
    """Return the multiplier of each step of torch's or timm's schedule. timm gets the number of the epoch."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    schedule = make(optimizer)
    alphas = []
    for k in range(STEPS):
        if counts_epochs:
            schedule.step(k)
        alphas.append(optimizer.param_groups[0]["lr"] / LR)
        optimizer.step()
        if not counts_epochs:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SequentialLR passes an epoch, which torch itself warns about
                schedule.step()
    return alphas


def alphas_of_ours(scheduler):
    curve = bind(scheduler, State(max_duration=f"{STEPS}ba", dataloader_len=EPOCH))
    return [curve(Timestamp(batch=k, epoch=k)) for k in range(STEPS)]


def decay_of(d, decay="linear", floor=0.0, warmup="0ba"):
    return ours.WarmupStableDecayScheduler(warmup, t_decay=f"{d}ba", alpha_f=floor, decay=decay)


def after_ramp(first, until, main):
    ramp = Phase(ours.LinearScheduler(first, 1.0), until=f"{until}ba", scale=False)
    return ours.SequentialScheduler({"warmup": ramp, "main": main})


WARM, RESTARTS = ours.CosineAnnealingWithWarmupScheduler, ours.CosineAnnealingWarmRestartsScheduler

# Each case has the class of torch, its keywords, and the equal scheduler.
TORCH = [
    ("ConstantLR", {"factor": 0.3, "total_iters": 5}, ours.ConstantScheduler(alpha=0.3, t_max="5ba")),
    (
        "LinearLR", {"start_factor": 0.1, "end_factor": 0.8, "total_iters": 10},
        ours.LinearScheduler(alpha_i=0.1, alpha_f=0.8, t_max="10ba"),
    ),
    ("StepLR", {"step_size": 7}, ours.StepScheduler("7ep")),
    ("MultiStepLR", {"milestones": [5, 12]}, ours.MultiStepScheduler(["5ep", "12ep"])),
    ("ExponentialLR", {"gamma": 0.9}, ours.ExponentialScheduler(0.9)),
    ("CosineAnnealingLR", {"T_max": STEPS, "eta_min": 0.02}, ours.CosineAnnealingScheduler(alpha_f=0.1)),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2}, RESTARTS("3ep", t_mult=2)),
    ("PolynomialLR", {"total_iters": STEPS, "power": 2.0}, ours.PolynomialScheduler(2.0)),
]  # fmt: skip


@each("name,keywords,mine", TORCH)
def test_scheduler_equals_the_scheduler_of_torch(name, keywords, mine):
    theirs = alphas_of_torch(lambda o: getattr(lr, name)(o, **keywords))
    assert alphas_of_ours(mine) == pytest.approx(theirs, abs=1e-9)


def test_sequence_and_product_equal_the_sequence_and_chain_of_torch():
    parts = {
        "first": Phase(ours.ConstantScheduler(0.5, t_max="100ba"), until="6ba"),
        "second": ours.ExponentialScheduler(0.9, decay_period="1ba"),
    }
    theirs = alphas_of_torch(
        lambda o: lr.SequentialLR(o, [lr.ConstantLR(o, 0.5, total_iters=100), lr.ExponentialLR(o, 0.9)], [6])
    )
    assert alphas_of_ours(ours.SequentialScheduler(parts)) == pytest.approx(theirs, abs=1e-9)
    factors = {"a": ours.StepScheduler("7ba", gamma=0.5), "b": ours.ExponentialScheduler(0.9, decay_period="1ba")}
    theirs = alphas_of_torch(lambda o: lr.ChainedScheduler([lr.StepLR(o, 7, gamma=0.5), lr.ExponentialLR(o, 0.9)]))
    assert alphas_of_ours(ours.ProductScheduler(factors)) == pytest.approx(theirs, abs=1e-9)


def test_one_cycle_scheduler_equals_torch_if_the_optimizer_lr_is_max_lr():
    # In torch, a schedule of n steps ends at its last step, n - 1. Here a schedule ends when the run ends, at n.
    theirs = alphas_of_torch(lambda o: lr.OneCycleLR(o, max_lr=LR, total_steps=STEPS + 1))
    # torch puts the peak at pct_start * total_steps - 1.
    peak = 0.3 * (STEPS + 1) - 1
    mine = ours.OneCycleScheduler(t_up=f"{peak:g}ba")
    assert alphas_of_ours(mine) == pytest.approx(theirs, abs=1e-6)


def _cosine_under_warmup(state, ssr=1.0):
    if state.timestamp < "4ep":
        return float(state.timestamp.epoch.value / 4)
    return ours.CosineAnnealingScheduler(alpha_f=0.1)(state, ssr)


def _falling_cycle(i):
    cycle = ours.CosineAnnealingScheduler(alpha_f=0.1 / 0.5**i)
    product = ours.ProductScheduler({"peak": ours.ConstantScheduler(0.5**i), "cycle": cycle})
    return Phase(product, until=f"{8 * (i + 1)}ep")


# Each case has the keywords of timm's CosineLRScheduler and the equal scheduler.
TIMM_COSINES = [
    ({"t_initial": STEPS - 4, "lr_min": 0.02, "warmup_t": 4, "warmup_prefix": True}, WARM("4ep", alpha_f=0.1)),
    ({"t_initial": 3, "cycle_mul": 2, "cycle_limit": 9}, RESTARTS("3ep", t_mult=2)),
    # Cycles of 3 and 6 epochs, and the floor from epoch 9 on.
    (
        {"t_initial": 3, "lr_min": 0.02, "cycle_mul": 2, "cycle_limit": 2},
        ours.SequentialScheduler({
            "cycles": Phase(RESTARTS("3ep", t_mult=2, alpha_f=0.1), until="9ep"),
            "floor": ours.ConstantScheduler(0.1, t_max="2dur"),
        }),
    ),
    ({"t_initial": 10, "lr_min": 0.02}, ours.CosineAnnealingScheduler("10ep", alpha_f=0.1)),
    (
        {"t_initial": 3, "cycle_mul": 2, "cycle_decay": 0.5, "cycle_limit": 9},
        ours.ProductScheduler({
            "cycles": RESTARTS("3ep", t_mult=2),
            "decay": ours.MultiStepScheduler(["3ep", "9ep", "21ep"], gamma=0.5),
        }),
    ),
    (
        {"t_initial": 8, "lr_min": 0.02, "cycle_decay": 0.5, "cycle_limit": 9},
        ours.SequentialScheduler({f"cycle {i}": _falling_cycle(i) for i in range(3)}),
    ),
    ({"t_initial": STEPS, "lr_min": 0.02, "warmup_t": 4}, _cosine_under_warmup),
    (
        {"t_initial": 4, "cycle_decay": 0.5, "cycle_limit": 9},
        ours.ProductScheduler({"cycles": RESTARTS("4ep"), "decay": ours.StepScheduler("4ep", gamma=0.5)}),
    ),
    (
        {"t_initial": STEPS - 4, "warmup_t": 4, "warmup_lr_init": 0.05, "warmup_prefix": True},
        after_ramp(0.25, 4, ours.CosineAnnealingScheduler()),
    ),
]  # fmt: skip
TIMM = [
    *(("CosineLRScheduler", keywords, mine) for keywords, mine in TIMM_COSINES),
    # timm decays one update early: milestone 6 takes effect at 5.
    ("MultiStepLRScheduler", {"decay_t": [6, 13], "decay_rate": 0.1}, ours.MultiStepScheduler(["5ep", "12ep"])),
    ("PolyLRScheduler", {"power": 0.5, "t_initial": STEPS, "lr_min": 0.02}, ours.PolynomialScheduler(0.5, alpha_f=0.1)),
]


@pytest.mark.extra("timm")
@each("name,keywords,mine", TIMM)
def test_scheduler_equals_the_scheduler_of_timm(name, keywords, mine):
    import timm.scheduler as timm

    theirs = alphas_of_torch(lambda o: getattr(timm, name)(o, **keywords), counts_epochs=True)
    assert alphas_of_ours(mine) == pytest.approx(theirs, abs=1e-9)


# Each case has the function of transformers, its positional arguments and keywords, and the equal scheduler.
TRANSFORMERS = [
    ("get_constant_schedule_with_warmup", (4,), {}, ours.ConstantWithWarmupScheduler("4ba")),
    ("get_linear_schedule_with_warmup", (4, STEPS), {}, ours.LinearWithWarmupScheduler("4ba")),
    ("get_linear_schedule_with_warmup", (STEPS // 4, STEPS), {}, ours.LinearWithWarmupScheduler("0.25dur")),
    ("get_cosine_schedule_with_warmup", (4, STEPS), {}, WARM("4ba")),
    ("get_cosine_with_min_lr_schedule_with_warmup", (4, STEPS), {"min_lr_rate": 0.1}, WARM("4ba", alpha_f=0.1)),
    (
        "get_polynomial_decay_schedule_with_warmup", (4, STEPS), {"lr_end": 0.02, "power": 2.0},
        ours.PolynomialWithWarmupScheduler("4ba", power=2.0, alpha_f=0.1),
    ),
    ("get_inverse_sqrt_schedule", (4, 9), {}, ours.InverseSquareRootWithWarmupScheduler("4ba", t_scale="9ba")),
    (
        "get_wsd_schedule", (4,), {"num_decay_steps": 6, "num_training_steps": STEPS},
        decay_of(6, "cosine", warmup="4ba"),
    ),
]  # fmt: skip


@pytest.mark.extra("transformers")
@each("name,arguments,keywords,mine", TRANSFORMERS)
def test_scheduler_equals_the_scheduler_of_transformers(name, arguments, keywords, mine):
    import transformers

    theirs = alphas_of_torch(lambda o: getattr(transformers, name)(o, *arguments, **keywords))
    assert alphas_of_ours(mine) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.extra("transformers")
def test_warmup_ratio_of_transformers_is_rounded_up_to_whole_steps():
    import transformers

    arguments = inspect.signature(transformers.TrainingArguments).parameters
    name = "warmup_ratio" if "warmup_ratio" in arguments else "warmup_steps"  # in releases 4 and 5
    steps = transformers.TrainingArguments("out", **{name: 0.3}).get_warmup_steps(STEPS)
    assert steps == math.ceil(0.3 * STEPS)


# Formulas of codebases that are not libraries or that are too large to install for one function. Each function returns
# the rate of step k relative to the peak, for w warmup steps and d decay steps.


def nanogpt(k, w, floor):
    if k < w:
        return (k + 1) / (w + 1)
    return floor + 0.5 * (1 + math.cos(math.pi * (k - w) / (STEPS - w))) * (1 - floor)


def nanochat(k, w, d, floor):
    if k < w:
        return (k + 1) / w
    if k <= STEPS - d:
        return 1.0
    left = (STEPS - k) / d
    return left + (1 - left) * floor


def torchtitan(k, w, d, decay, floor):
    if k < w:
        return (k + 1) / w
    stable = STEPS + 1 - d  # a virtual last step, so that the last rate is not zero
    if k < stable:
        return 1.0
    frac = (k + 1 - stable) / d
    shape = {"linear": 1 - frac, "sqrt": 1 - math.sqrt(frac), "cosine": 0.5 * (1 + math.cos(math.pi * frac))}[decay]
    return floor + (1 - floor) * shape


def olmo(k, w, shape, floor):
    return k / w if k < w else floor + (1 - floor) * shape((k - w) / (STEPS - w))


FORMULAS = {
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
def test_scheduler_equals_the_formula_of_language_model_codebases(name):
    theirs, mine = FORMULAS[name]
    assert alphas_of_ours(mine) == pytest.approx([theirs(k) for k in range(STEPS)], abs=1e-12)


# Each case has the function of optax, its positional arguments and keywords, and the equal scheduler.
OPTAX = [
    ("linear_schedule", (LR, 0.02, 10), {}, ours.LinearScheduler(alpha_f=0.1, t_max="10ba")),
    ("cosine_decay_schedule", (LR, 10, 0.1), {}, ours.CosineAnnealingScheduler("10ba", alpha_f=0.1)),
    ("warmup_cosine_decay_schedule", (0.0, LR, 4, STEPS, 0.02), {}, WARM("4ba", alpha_f=0.1)),
    ("warmup_constant_schedule", (0.0, LR, 4), {}, ours.ConstantWithWarmupScheduler("4ba")),
    ("polynomial_schedule", (LR, 0.02, 2.0, 10), {}, ours.PolynomialScheduler(2.0, t_max="10ba", alpha_f=0.1)),
    ("exponential_decay", (LR, 5, 0.5), {}, ours.ExponentialScheduler(0.5, decay_period="5ba")),
    ("exponential_decay", (LR, 5, 0.5), {"staircase": True}, ours.StepScheduler("5ba", gamma=0.5)),
]


@pytest.mark.extra("optax")
@pytest.mark.filterwarnings("ignore")
@each("name,arguments,keywords,mine", OPTAX)
def test_scheduler_equals_the_schedule_of_optax(name, arguments, keywords, mine):
    import optax

    schedule = getattr(optax, name)(*arguments, **keywords)
    # optax computes in float32.
    assert alphas_of_ours(mine) == pytest.approx([float(schedule(k)) / LR for k in range(STEPS)], abs=1e-6)


@pytest.mark.extra("optax")
@pytest.mark.filterwarnings("ignore")
def test_table_of_the_step_function_can_be_used_as_an_optax_schedule():
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
