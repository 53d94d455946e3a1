"""Products and sequences: combining the separate values of the parts gives the values of the whole."""

import itertools
import math
from fractions import Fraction

import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from schedule_helpers import ForeignState, ForeignTimestamp, alphas
from schedule_strategies import make, shares, worlds

from ssr_hydra import schedulers as s
from ssr_hydra.errors import WrongTypeError
from ssr_hydra.schedulers import bind
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp

HALF = s.ConstantScheduler(0.5)


# Products


@given(data=st.data(), world=worlds(), share=shares)
def test_product_scheduler_multiplies_its_factors(data, world, share):
    factors = {f"f{k}": data.draw(_parts(world, world.length)) for k in range(3)}
    time = world.on_grain(share * world.length)
    expected = math.prod(world.alpha(factor, time) for factor in factors.values())
    assert world.alpha(s.ProductScheduler(factors), time) == expected


@st.composite
def _parts(draw, world, length):
    return make(draw, world, length, depth=1)


# Sequences


@given(data=st.data(), world=worlds(), twelfths=st.sets(st.integers(1, 11), min_size=1, max_size=3), share=shares)
def test_each_phase_equals_its_schedule_in_a_separate_run(data, world, twelfths, share):
    cuts = [world.on_grain(Fraction(k, 12) * world.length) for k in sorted(twelfths)]
    bounds = [Fraction(0), *cuts, world.length]
    spans = list(itertools.pairwise(bounds))
    parts = [data.draw(_parts(world, end - begin)) for begin, end in spans]
    unit = data.draw(st.sampled_from(sorted(world.per_batch)))
    untils = [Time(end * world.per_batch[unit], unit) for end in bounds[1:-1]]
    sequence = s.SequentialScheduler(
        {f"p{k}": s.Phase(part, until) for k, (part, until) in enumerate(zip(parts, [*untils, None], strict=True))}
    )
    time = world.on_grain(share * world.length)
    index = min(sum(end <= time for _, end in spans), len(spans) - 1)
    begin, end = spans[index]
    assert world.alpha(sequence, time) == world.alpha(parts[index], time - begin, length=end - begin)


UP, DOWN = s.LinearScheduler(0.0, 1.0), s.LinearScheduler()
RATES = {"dataloader_len": 4, "samples_per_batch": 32, "tokens_per_batch": 1024}
FIXED = {"a": s.Phase(DOWN, "10ba"), "b": s.Phase(DOWN, "14ba", scale=False), "c": s.ConstantScheduler(0.25)}
MIXED = {
    "a": s.Phase(s.ConstantScheduler(0.1), "64sp"),
    "b": s.Phase(DOWN, "6144tok"),
    "c": s.StepScheduler("1ep", 0.5),
}
UNKNOWN_EPOCHS = {"a": s.Phase(HALF, "5ba"), "b": s.ExponentialScheduler(0.5, "1ba")}
INNER = s.SequentialScheduler({"a": s.Phase(HALF, "2ba"), "b": s.StepScheduler("1ba", 0.5)})
OUTER = {
    "a": s.Phase(s.ConstantScheduler(0.1), "4ba"),
    "b": s.SequentialScheduler({"x": s.Phase(HALF, "0.5dur"), "y": DOWN}),
}


@each(
    "phases,batches,expected,of_run",
    [
        # Up over 2 batches, half for 2, then down over the last 4.
        (
            {"up": s.Phase(UP, "2ba"), "flat": {"scheduler": HALF, "until": "4ba"}, "down": DOWN}, range(10),
            [0, 0.5, 0.5, 0.5, 1.0, 0.75, 0.5, 0.25, 0, 0], {"max_duration": "8ba"},
        ),
        # A phase with scale=False keeps its length. The last phase takes the rest of the run.
        *(
            (
                {"warmup": s.Phase(s.LinearScheduler(0.0, 1.0, "4ba"), "4ba", scale=False), "decay": DOWN},
                (0, 1, 4, 2 + 10 * ssr, 20 * ssr), [0.0, 0.25, 1.0, 0.5, 0.0], {"ssr": ssr, "max_duration": "20ba"},
            )
            for ssr in (Fraction(1, 2), 1, 2)
        ),
        # At ssr 2, a ends at 20, and b takes 4 batches until 24. At ssr 0.5, a ends at 5 and b ends at 9.
        (FIXED, (10, 20, 22, 24), [0.5, 1.0, 0.5, 0.25], {"ssr": 2, "max_duration": "40ba"}),
        (FIXED, (4, 5, 7, 9), [0.2, 1.0, 0.5, 0.25], {"ssr": 0.5, "max_duration": "40ba"}),
        # An end in dur is always a fraction of the run.
        *(
            (
                {"a": s.Phase(HALF, "0.25dur", scale=scale), "b": s.ConstantScheduler(0.1)}, (9, 10), [0.5, 0.1],
                {"ssr": 2, "max_duration": "20ba"},
            )
            for scale in (True, False)
        ),
        # The parts of an unscaled phase run at ssr 1 as well.
        (
            {"fixed": s.Phase(s.ProductScheduler({"x": INNER}), "6ba", scale=False), "rest": HALF}, (1, 2, 3, 4),
            [0.5, 1.0, 0.5, 0.25], {"ssr": 2, "max_duration": "20ba"},
        ),
        # So a function without ssr may be an unscaled phase.
        (
            {"mine": s.Phase(lambda state: 0.3, "6ba", scale=False), "rest": HALF}, (0, 6), [0.3, 0.5],
            {"ssr": 2, "max_duration": "20ba"},
        ),
        # In a nested sequence, dur is a fraction of the 8 batches of the outer phase.
        (OUTER, (3, 4, 7, 8, 10, 12), [0.1, 0.5, 0.5, 1.0, 0.5, 0.0], {"max_duration": "12ba"}),
        # s.Phase a has batches 0..2, b has 2..6, and c has the rest. The epochs of c begin at batch 6.
        (MIXED, (1, 2, 4, 6, 9, 10), [0.1, 1.0, 0.5, 1.0, 1.0, 0.5], {"max_duration": "5ep", **RATES}),
        # Only the rates that a phase needs must be known: the length of an epoch, or of the run, may be unknown.
        (UNKNOWN_EPOCHS, (4, 5, 6), [0.5, 1.0, 0.5], {"max_duration": "3ep"}),
        (UNKNOWN_EPOCHS, (4, 5, 6), [0.5, 1.0, 0.5], {}),
        # Phases may use a clock other than the run's.
        (
            {"a": s.Phase(HALF, "64sp"), "b": s.ConstantScheduler(0.1, "999sp")}, (1, 2), [0.5, 0.1],
            {"max_duration": "90m", "samples_per_batch": 32},
        ),
    ],
)  # fmt: skip
def test_sequence_matches_hand_computed_values(phases, batches, expected, of_run):
    assert alphas(s.SequentialScheduler(phases), batches, **of_run) == pytest.approx(expected, abs=1e-15)


UNEVEN = State(
    "3ep", 10, 32, timestamp=Timestamp(epoch=1, batch=10, sample=310)  # the epoch's last batch had 22 samples
)  # fmt: skip


@pytest.mark.parametrize(
    ("scheduler", "start"),
    [
        (s.StepScheduler("64sp", 0.5), 1.0), (s.ExponentialScheduler(0.5, "64sp"), 1.0),
        (s.ExponentialScheduler(0, "64sp"), 1.0),
        (s.LinearScheduler(t_max="640sp"), 1.0), (s.CosineAnnealingWithWarmupScheduler("32sp", t_max="640sp"), 0.0),
        (s.CosineAnnealingWarmRestartsScheduler("64sp", 2), 1.0), (lambda state: 1 + state.timestamp.sample.value, 1.0),
        (s.SequentialScheduler({"x": s.Phase(s.LinearScheduler(0.25, 1), "32sp"), "y": HALF}), 0.25),
    ],
)  # fmt: skip
def test_phase_never_gets_a_time_before_its_start(scheduler, start):
    # The phase begins with epoch 1. By the rates this is sample 320, but the run is at sample 310. A time before the
    # start of a phase would give negative multipliers, or steps backwards.
    sequence = s.SequentialScheduler({"a": s.Phase(HALF, "1ep"), "b": scheduler})
    assert bind(sequence, UNEVEN)(UNEVEN.timestamp) == start


def test_sequences_and_functions_work_with_timestamps_of_other_libraries():
    scheduler = s.SequentialScheduler({
        "a": s.Phase(lambda state: float(state.timestamp.get("ba").value), "5ba"),
        "b": lambda state: state.timestamp.get("ba").value + 0.5 * state.timestamp.get("ep").value,
    })  # fmt: skip
    values = [scheduler(ForeignState("20ba", ForeignTimestamp(k, 4, 32, 1024), 4)) for k in (0, 3, 5, 8, 9)]
    assert values == [0.0, 3.0, 0.0, 3.0, 4.5]


# Errors


@each("part", [None, s.LinearScheduler, [s.LinearScheduler()]])
def test_part_of_a_combinator_must_be_a_scheduler(part):
    with refused("factors.a", WrongTypeError):
        s.ProductScheduler({"a": part})
    with refused("phases.a.scheduler", WrongTypeError):
        s.SequentialScheduler({"a": part})
    with refused("scheduler", WrongTypeError):
        s.Phase(part)


@pytest.mark.parametrize(
    ("phases", "field"),
    [
        ({1: HALF}, "phases"),
        ({"a": s.Phase(HALF, "5ba"), "b": s.Phase(HALF), "c": HALF}, "phases.b.until"),
        ({"a": s.Phase(HALF, "5ba"), "b": s.Phase(HALF, "3ba"), "c": HALF}, "phases.b.until"),
        ({"a": {"scheduler": HALF, "until": "0ba"}}, "phases.a.until"),
        ({"a": {"scheduler": HALF, "scale": "no"}}, "phases.a.scale"),
        ({"a": {"until": "5ba"}}, "phases.a.keys"),
        ({"a": {"scheduler": HALF, "untill": "5ba"}}, "phases.a.keys"),
        # The phase begins at half of the run and ends at batch 600: at another ssr, its length is undefined.
        ({"a": s.Phase(HALF, "0.5dur"), "b": s.Phase(HALF, "600ba", scale=False), "c": HALF}, "phases.b.until"),
    ],
)  # fmt: skip
def test_sequences_refuse_invalid_arguments_at_construction(phases, field):
    with refused(field):
        s.SequentialScheduler(phases)


@pytest.mark.parametrize(
    ("phases", "of_run", "field", "match"),
    [
        # 0.5dur of 8 batches is 4, before batch 6, where the first phase ends
        ({"a": s.Phase(HALF, "6ba"), "b": s.Phase(HALF, "0.5dur"), "c": HALF}, {"max_duration": "8ba"},
         "phases.b.until", "starts at 6ba and ends at 4ba"),
        ({"a": s.Phase(HALF, "8ba"), "b": HALF}, {"max_duration": "8ba"},
         "phases.a.until", "ends at 8ba, and the run ends at 8ba"),
        # ssr halves the run to 6 batches, and the unscaled phase takes all of them
        ({"a": s.Phase(HALF, "6ba", scale=False), "b": HALF}, {"max_duration": "12ba", "ssr": 0.5},
         "phases.a.until", "ends at 6ba, and the run ends at 6ba at ssr 0.5"),
        ({"a": s.Phase(HALF, "0.5dur"), "b": HALF}, {}, "phases.a.until", "max_duration is unknown"),
        ({"a": s.Phase(HALF, "1ep"), "b": HALF}, {"max_duration": "8ba"}, "phases.a.until", "dataloader_len"),
        ({"a": s.Phase(HALF, "1ba"), "b": s.LinearScheduler()}, {"max_duration": "90m"},
         "phases.b.scheduler.t_max", "length of this phase is unknown: sec cannot be converted to ba"),
        ({"a": s.Phase(HALF, "1ba"), "b": s.LinearScheduler()}, {}, "phases.b.scheduler.t_max", "length of this phase"),
        ({"a": s.Phase(HALF, "1ba"), "b": s.StepScheduler("32sp")}, {"max_duration": "8ba"},
         "phases.b.scheduler.step_size", "this phase starts at 1ba, and .*samples_per_batch"),
        ({"a": s.Phase(s.LinearWithWarmupScheduler("3ba"), "2ba"), "b": HALF}, {"max_duration": "8ba"},
         "phases.a.scheduler.t_warmup", "t_max is 2ba"),
    ],
)  # fmt: skip
def test_error_while_a_sequence_is_bound_names_the_path(phases, of_run, field, match):
    with refused(field, match=match):
        alphas(s.SequentialScheduler(phases), [0], **of_run)


def test_combinators_ignore_later_changes_of_the_given_mappings():
    phases = {"a": HALF}
    factors = {"a": HALF}
    sequence, product = s.SequentialScheduler(phases), s.ProductScheduler(factors)
    phases["a"] = factors["a"] = None
    assert alphas(sequence, [0], max_duration="9ba") == alphas(product, [0], max_duration="9ba") == [0.5]
