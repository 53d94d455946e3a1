"""Products and sequences: combining the separate values of the parts gives the values of the whole."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from schedule_helpers import ForeignState, ForeignTimestamp, alphas
from schedule_strategies import World, cases, make, shares, worlds

from ssr_hydra.errors import WrongTypeError
from ssr_hydra.schedulers import (
    ConstantScheduler,
    CosineAnnealingWarmRestartsScheduler,
    CosineAnnealingWithWarmupScheduler,
    ExponentialScheduler,
    LinearScheduler,
    LinearWithWarmupScheduler,
    Phase,
    ProductScheduler,
    SequentialScheduler,
    StepScheduler,
    bind,
)
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp

HALF = ConstantScheduler(0.5)


# Products


@given(data=st.data(), world=worlds(), share=shares)
def test_product_scheduler_multiplies_its_factors(data: st.DataObject, world: World, share: Fraction) -> None:
    factors = {f"f{k}": data.draw(_parts(world, world.length)) for k in range(3)}
    time = world.on_grain(share * world.length)
    expected = math.prod(world.alpha(factor, time) for factor in factors.values())
    assert world.alpha(ProductScheduler(factors), time) == expected


@st.composite
def _parts(draw: st.DrawFn, world: World, length: Fraction) -> Any:
    return make(draw, world, length, depth=1)


# Sequences


@given(data=st.data(), world=worlds(), twelfths=st.sets(st.integers(1, 11), min_size=1, max_size=3), share=shares)
def test_each_phase_equals_its_schedule_in_a_separate_run(
    data: st.DataObject, world: World, twelfths: set[int], share: Fraction
) -> None:
    cuts = [world.on_grain(Fraction(k, 12) * world.length) for k in sorted(twelfths)]
    bounds = [Fraction(0), *cuts, world.length]
    spans = list(itertools.pairwise(bounds))
    parts = [data.draw(_parts(world, end - begin)) for begin, end in spans]
    unit = data.draw(st.sampled_from(sorted(world.per_batch)))
    untils = [Time(end * world.per_batch[unit], unit) for end in bounds[1:-1]]
    sequence = SequentialScheduler(
        {f"p{k}": Phase(part, until) for k, (part, until) in enumerate(zip(parts, [*untils, None], strict=True))}
    )
    time = world.on_grain(share * world.length)
    index = min(sum(end <= time for _, end in spans), len(spans) - 1)
    begin, end = spans[index]
    assert world.alpha(sequence, time) == world.alpha(parts[index], time - begin, length=end - begin)


def test_sequence_matches_hand_computed_values() -> None:
    # Up over 2 batches, half for 2, then down over the last 4.
    scheduler = SequentialScheduler({
        "up": Phase(LinearScheduler(0.0, 1.0), "2ba"), "flat": {"scheduler": HALF, "until": "4ba"},
        "down": LinearScheduler(),
    })  # fmt: skip
    assert alphas(scheduler, range(10), max_duration="8ba") == [0, 0.5, 0.5, 0.5, 1.0, 0.75, 0.5, 0.25, 0, 0]


def test_unscaled_phase_keeps_its_length_and_schedule() -> None:
    scheduler = SequentialScheduler(
        {"warmup": Phase(LinearScheduler(0.0, 1.0, "4ba"), "4ba", scale=False), "decay": LinearScheduler()}
    )
    for ssr in (0.5, 1, 2):
        end = 4 + Fraction(20 * ssr) - 4
        values = alphas(scheduler, (0, 1, 4, (4 + end) / 2, end), ssr, max_duration="20ba")
        assert values == [0.0, 0.25, 1.0, 0.5, 0.0]


def test_unscaled_phase_in_the_middle_keeps_its_length() -> None:
    scheduler = SequentialScheduler({
        "a": Phase(ConstantScheduler(1.0), "10ba"), "b": Phase(LinearScheduler(1.0, 0.0), "14ba", scale=False),
        "c": Phase(ConstantScheduler(0.25)),
    })  # fmt: skip
    # At ssr 2, a ends at 20, and b takes 4 batches until 24. At ssr 0.5, a ends at 5 and b ends at 9.
    assert alphas(scheduler, (19, 20, 22, 24), 2, max_duration="40ba") == [1.0, 1.0, 0.5, 0.25]
    assert alphas(scheduler, (4, 5, 7, 9), 0.5, max_duration="40ba") == [1.0, 1.0, 0.5, 0.25]


def test_phase_end_in_dur_is_always_a_fraction_of_the_run() -> None:
    for scale in (True, False):
        scheduler = SequentialScheduler({"a": Phase(HALF, "0.25dur", scale=scale), "b": ConstantScheduler(0.1)})
        assert alphas(scheduler, (9, 10), 2, max_duration="20ba") == [0.5, 0.1]


def test_unscaled_phase_runs_nested_parts_at_ssr_one() -> None:
    inner = SequentialScheduler({"a": Phase(HALF, "2ba"), "b": Phase(StepScheduler("1ba", 0.5))})
    scheduler = SequentialScheduler({"fixed": Phase(ProductScheduler({"x": inner}), "6ba", scale=False), "rest": HALF})
    at_two = alphas(scheduler, range(6), 2, max_duration="20ba")
    assert at_two == alphas(scheduler, range(6), max_duration="20ba") == [0.5, 0.5, 1.0, 0.5, 0.25, 0.125]
    # A phase may be f(state), because that phase is not scaled.
    plain = SequentialScheduler({"mine": Phase(lambda state: 0.3, "6ba", scale=False), "rest": HALF})
    assert alphas(plain, (0, 6), 2, max_duration="20ba") == [0.3, 0.5]


def test_times_of_a_nested_sequence_count_from_its_start() -> None:
    inner = SequentialScheduler({"a": Phase(HALF, "0.5dur"), "b": Phase(LinearScheduler())})
    scheduler = SequentialScheduler({"first": Phase(ConstantScheduler(0.1), "4ba"), "then": Phase(inner)})
    # The first phase has batches 0..4, and the inner sequence 4..12: half until 8, then down until 12.
    assert alphas(scheduler, (3, 4, 7, 8, 10, 12), max_duration="12ba") == [0.1, 0.5, 0.5, 1.0, 0.5, 0.0]


def test_phases_may_use_different_units() -> None:
    rates = {"dataloader_len": 4, "samples_per_batch": 32, "tokens_per_batch": 1024}
    scheduler = SequentialScheduler({
        "a": Phase(ConstantScheduler(0.1), "64sp"), "b": Phase(LinearScheduler(), "6144tok"),
        "c": StepScheduler("1ep", 0.5),
    })  # fmt: skip
    # Phase a has batches 0..2, b has 2..6, and c has the rest. The epochs of c begin at batch 6.
    values = alphas(scheduler, (1, 2, 4, 6, 9, 10), max_duration="5ep", **rates)
    assert values == [0.1, 1.0, 0.5, 1.0, 1.0, 0.5]


def test_only_rates_that_a_phase_needs_must_be_known() -> None:
    # The length of an epoch is unknown, but phases in batches need no dataloader_len.
    scheduler = SequentialScheduler({"a": Phase(HALF, "5ba"), "b": ExponentialScheduler(0.5, "1ba")})
    assert alphas(scheduler, (4, 5, 6), max_duration="3ep") == [0.5, 1.0, 0.5]
    assert alphas(scheduler, (4, 5, 6)) == [0.5, 1.0, 0.5]  # nor the length of the run
    # Phases may use a clock other than the run's.
    mixed = SequentialScheduler({"a": Phase(HALF, "64sp"), "b": ConstantScheduler(0.1, "999sp")})
    assert alphas(mixed, (1, 2), max_duration="90m", samples_per_batch=32) == [0.5, 0.1]


UNEVEN = State(
    "3ep", 10, 32, timestamp=Timestamp(epoch=1, batch=10, sample=310)  # the epoch's last batch had 22 samples
)  # fmt: skip


@pytest.mark.parametrize(
    ("scheduler", "start"),
    [
        (StepScheduler("64sp", 0.5), 1.0), (ExponentialScheduler(0.5, "64sp"), 1.0),
        (ExponentialScheduler(0, "64sp"), 1.0),
        (LinearScheduler(t_max="640sp"), 1.0), (CosineAnnealingWithWarmupScheduler("32sp", t_max="640sp"), 0.0),
        (CosineAnnealingWarmRestartsScheduler("64sp", 2), 1.0), (lambda state: 1 + state.timestamp.sample.value, 1.0),
        (SequentialScheduler({"x": Phase(LinearScheduler(0.25, 1), "32sp"), "y": HALF}), 0.25),
    ],
)  # fmt: skip
def test_phase_never_gets_a_time_before_its_start(scheduler: Any, start: float) -> None:
    # The phase begins with epoch 1. By the rates this is sample 320, but the run is at sample 310. A time before the
    # start of a phase would give negative multipliers, or steps backwards.
    sequence = SequentialScheduler({"a": Phase(HALF, "1ep"), "b": scheduler})
    assert bind(sequence, UNEVEN)(UNEVEN.timestamp) == start


def test_sequences_and_functions_work_with_timestamps_of_other_libraries() -> None:
    scheduler = SequentialScheduler({
        "a": Phase(lambda state: float(state.timestamp.get("ba").value), "5ba"),
        "b": lambda state: state.timestamp.get("ba").value + 0.5 * state.timestamp.get("ep").value,
    })  # fmt: skip
    values = [scheduler(ForeignState("20ba", ForeignTimestamp(k, 4, 32, 1024), 4)) for k in (0, 3, 5, 8, 9)]  # type: ignore[arg-type]
    assert values == [0.0, 3.0, 0.0, 3.0, 4.5]


# Errors


@pytest.mark.parametrize("part", [None, LinearScheduler, [LinearScheduler()]])
def test_part_of_a_combinator_must_be_a_scheduler(part: Any) -> None:
    with refused("factors.a", WrongTypeError):
        ProductScheduler({"a": part})
    with refused("phases.a.scheduler", WrongTypeError):
        SequentialScheduler({"a": part})
    with refused("scheduler", WrongTypeError):
        Phase(part)


@pytest.mark.parametrize(
    ("phases", "field"),
    [
        ({1: HALF}, "phases"),
        ({"a": Phase(HALF, "5ba"), "b": Phase(HALF), "c": HALF}, "phases.b.until"),
        ({"a": Phase(HALF, "5ba"), "b": Phase(HALF, "3ba"), "c": HALF}, "phases.b.until"),
        ({"a": {"scheduler": HALF, "until": "0ba"}}, "phases.a.until"),
        ({"a": {"scheduler": HALF, "scale": "no"}}, "phases.a.scale"),
        ({"a": {"until": "5ba"}}, "phases.a.keys"),
        ({"a": {"scheduler": HALF, "untill": "5ba"}}, "phases.a.keys"),
        # The phase begins at half of the run and ends at batch 600: at another ssr, its length is undefined.
        ({"a": Phase(HALF, "0.5dur"), "b": Phase(HALF, "600ba", scale=False), "c": HALF}, "phases.b.until"),
    ],
)  # fmt: skip
def test_sequences_refuse_invalid_arguments_at_construction(phases: Any, field: str) -> None:
    with refused(field):
        SequentialScheduler(phases)


@pytest.mark.parametrize(
    ("phases", "of_run", "field", "match"),
    [
        # 0.5dur of 8 batches is 4, before batch 6, where the first phase ends
        ({"a": Phase(HALF, "6ba"), "b": Phase(HALF, "0.5dur"), "c": HALF}, {"max_duration": "8ba"},
         "phases.b.until", "starts at 6ba and ends at 4ba"),
        ({"a": Phase(HALF, "8ba"), "b": HALF}, {"max_duration": "8ba"},
         "phases.a.until", "ends at 8ba, and the run ends at 8ba"),
        # ssr halves the run to 6 batches, and the unscaled phase takes all of them
        ({"a": Phase(HALF, "6ba", scale=False), "b": HALF}, {"max_duration": "12ba", "ssr": 0.5},
         "phases.a.until", "ends at 6ba, and the run ends at 6ba at ssr 0.5"),
        ({"a": Phase(HALF, "0.5dur"), "b": HALF}, {}, "phases.a.until", "max_duration is unknown"),
        ({"a": Phase(HALF, "1ep"), "b": HALF}, {"max_duration": "8ba"}, "phases.a.until", "dataloader_len"),
        ({"a": Phase(HALF, "1ba"), "b": LinearScheduler()}, {"max_duration": "90m"},
         "phases.b.scheduler.t_max", "length of this phase is unknown: sec cannot be converted to ba"),
        ({"a": Phase(HALF, "1ba"), "b": LinearScheduler()}, {}, "phases.b.scheduler.t_max", "length of this phase"),
        ({"a": Phase(HALF, "1ba"), "b": StepScheduler("32sp")}, {"max_duration": "8ba"},
         "phases.b.scheduler.step_size", "this phase starts at 1ba, and .*samples_per_batch"),
        ({"a": Phase(LinearWithWarmupScheduler("3ba"), "2ba"), "b": HALF}, {"max_duration": "8ba"},
         "phases.a.scheduler.t_warmup", "t_max is 2ba"),
    ],
)  # fmt: skip
def test_error_while_a_sequence_is_bound_names_the_path(phases: Any, of_run: Any, field: str, match: str) -> None:
    with refused(field, match=match):
        alphas(SequentialScheduler(phases), [0], **of_run)


def test_combinators_ignore_later_changes_of_the_given_mappings() -> None:
    phases: dict[str, Any] = {"a": HALF}
    factors: dict[str, Any] = {"a": HALF}
    sequence, product = SequentialScheduler(phases), ProductScheduler(factors)
    phases["a"] = factors["a"] = None
    assert alphas(sequence, [0], max_duration="9ba") == alphas(product, [0], max_duration="9ba") == [0.5]


def test_random_cases_include_nested_schedules() -> None:
    # The tests above would show little if all random schedules were constant.
    names: set[str] = set()

    @settings(max_examples=25, database=None)
    @given(cases("sequence", depth=2))
    def look(case: tuple[World, Any]) -> None:
        for phase in case[1].phases.values():
            names.add(type(phase.scheduler).__name__)

    look()
    assert {"SequentialScheduler", "ProductScheduler"} <= names
