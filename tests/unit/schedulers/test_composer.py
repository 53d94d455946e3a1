"""The values of MosaicML Composer 0.32.1 where it satisfies its own equation, and the right values elsewhere."""

import json

import pytest
from cases import each
from checkout import SUPPORT
from refusals import refused
from schedule_helpers import alphas, run

from ssr_hydra import schedulers as s
from ssr_hydra.errors import RangeError
from ssr_hydra.time import Time

CASES = json.loads((SUPPORT / "reference" / "composer_alphas.json").read_text(encoding="utf-8"))["cases"]


def test_file_of_composer_reference_values_is_complete():
    assert (len(CASES), sum(len(case["alphas"]) for case in CASES)) == (400, 4656)
    assert len({case["scheduler"] for case in CASES}) == 13
    (case,) = [case for case in CASES if _warmup_outlasts_the_run(case)]
    assert (case["kwargs"]["t_warmup"], case["max_duration"], case["ssr"]) == ("92tok", "320tok", 0.25)


@pytest.mark.parametrize("name", sorted({case["scheduler"] for case in CASES}))
def test_scheduler_has_the_values_that_composer_computes(name):
    for case in CASES:
        if case["scheduler"] != name:
            continue
        rates = {key: case[key] for key in ("dataloader_len", "samples_per_batch", "tokens_per_batch")}
        scheduler = getattr(s, name)(**case["kwargs"])
        batches, expected = zip(*case["alphas"], strict=True)
        if _warmup_outlasts_the_run(case):
            # Composer accepts this run, and the peak is never reached.
            with refused("t_warmup", RangeError, match="at ssr 0.25"):
                alphas(scheduler, batches, case["ssr"], max_duration=case["max_duration"], **rates)
            continue
        values = alphas(scheduler, batches, case["ssr"], max_duration=case["max_duration"], **rates)
        assert values == pytest.approx(expected, rel=0, abs=1e-9), case
        # In Composer the caller scales max_duration, and so does this test.
        assert run(0, case["ssr"], max_duration=case["max_duration"], **rates).max_duration == Time(
            case["scaled_max_duration"]
        )


def _warmup_outlasts_the_run(case):
    """Return whether a fixed warmup is longer than the scaled run; both then have the same unit."""
    warmup, length = Time(case["kwargs"].get("t_warmup", "0dur")), Time(case["scaled_max_duration"])
    return warmup.unit is length.unit and not case["kwargs"].get("scale_warmup") and warmup > length


# Composer's violations of its equation, by their effect. "There" means in Composer.


@pytest.mark.parametrize(
    "make",
    [s.LinearWithWarmupScheduler, s.CosineAnnealingWithWarmupScheduler, s.PolynomialWithWarmupScheduler,
     s.ConstantWithWarmupScheduler],
)  # fmt: skip
def test_option_scale_warmup_scales_the_end_of_the_warmup(make):
    scheduler = make(t_warmup="10ba", scale_warmup=True)
    # ssr 2: the ramp takes 20 batches. There alpha(9) = .45 and alpha(10) = 1.
    assert alphas(scheduler, (9, 10, 19, 20), 2, max_duration="100ba") == pytest.approx([0.45, 0.5, 0.95, 1.0])
    # ssr .5: the ramp takes 5 batches, and then the decay begins. There the multiplier stays 1 from 5 to 10.
    assert alphas(scheduler, (2.5, 5, 10), 0.5, max_duration="100ba") == alphas(
        scheduler, (5, 10, 20), max_duration="100ba"
    )


def test_t_max_is_compared_with_the_exactly_scaled_end_of_the_run():
    # 15 epochs of 3 batches, times 1.4, are 63 batches for both. There the error is that t_max < max_duration.
    of_run = {"ssr": 1.4, "max_duration": "15ep", "dataloader_len": 3}
    for t_max in ("15ep", "45ba", "1dur", "15.01ep"):
        assert alphas(s.LinearWithWarmupScheduler("1ba", t_max=t_max), [63], **of_run)[0] == pytest.approx(0, abs=1e-3)
    for t_max in ("14.99ep", "44ba"):
        with refused("t_max", RangeError):
            alphas(s.LinearWithWarmupScheduler("1ba", t_max=t_max), [0], **of_run)


HALVED = {"ssr": 0.5, "max_duration": "5ep", "dataloader_len": 10}


@each(
    "scheduler,batches,expected,of_run",
    [
        # Linear over 10ba * .35 = 3.5 batches: 1 - 3 / 3.5 = 1/7. There 0.
        (s.LinearScheduler(t_max="10ba"), [3], [1 / 7], {"ssr": 0.35}),
        # A decay every 1.5 batches: 4 by batch 6. There 6, so 1e-6.
        (s.StepScheduler("3ba"), [6], [1e-4], {"ssr": 0.5}),
        # 0.29 * 100 in floats is 28.999999999999996, and there batch 28.
        (s.MultiStepScheduler(["0.29dur"]), (28, 29), [1.0, 0.1], {"max_duration": "100ba"}),
        # A decay every half batch. There a division by zero.
        (s.StepScheduler("1ba", 0.5), range(4), [1.0, 0.25, 0.0625, 0.015625], {"ssr": 0.5}),
        # There the scheduler steps before the clock, so a warmup of 2ba trains two batches at 0.
        (s.LinearWithWarmupScheduler("2ba"), range(3), [0.0, 0.5, 1.0], {"max_duration": "6ba"}),
        # 5ep * .5 is 2.5 epochs of 10 batches. There the run stops at epoch 2, with a learning rate above 0.
        *(
            (s.LinearScheduler(t_max=t_max), (0, 20, 25), [1.0, 0.2, 0], HALVED)
            for t_max in ("1dur", "5ep", "50ba")
        ),
        # 2000 batches in tokens, and a warmup in batches. There this is always an error.
        (
            s.LinearWithWarmupScheduler("500ba"), (250, 500, 1250, 2000), [0.5, 1.0, 0.5, 0.0],
            {"max_duration": "2048000tok", "tokens_per_batch": 1024},
        ),
    ],
)  # fmt: skip
def test_times_are_not_rounded(scheduler, batches, expected, of_run):
    assert alphas(scheduler, batches, **of_run) == pytest.approx(expected, abs=1e-15)
