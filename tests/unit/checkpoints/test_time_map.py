import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from ssr_hydra.checkpoints import TimeMap
from ssr_hydra.errors import MismatchError, MissingValueError, RangeError, WrongTypeError
from ssr_hydra.schedulers import (
    CosineAnnealingWithWarmupScheduler,
    LinearScheduler,
    MultiStepScheduler,
    SequentialScheduler,
    StepScheduler,
    bind,
)
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp

LENGTH = 75  # batches of an epoch
SAMPLES = 16


def at(batch, length=LENGTH, samples=SAMPLES):
    """The timestamp of a run whose batches all have the same size and take a second."""
    return Timestamp(
        epoch=batch // length,
        batch=batch,
        batch_in_epoch=batch % length,
        sample=batch * samples,
        token=batch * samples * 10,
        seconds=batch,
        iteration=batch // 10,
    )


def run(max_duration, batch=0, **changes):
    rates = {"dataloader_len": LENGTH, "samples_per_batch": SAMPLES, **changes}
    timestamp = rates.pop("timestamp", None) or at(batch)
    return State(max_duration=max_duration, timestamp=timestamp, **rates)


def alpha(scheduler, time_map, state):
    """Return alpha as a function of the batches of a run, bound as the docs describe."""
    curve = bind(scheduler, time_map.plan(state), time_map.ssr)
    return lambda batch: curve(time_map(at(batch)))


PER_BATCH = {"ba": 1, "ep": Fraction(1, LENGTH), "sp": SAMPLES, "tok": 10 * SAMPLES, "sec": 1}
COUNTERS = {"ba": "batch", "ep": "batch", "sp": "sample", "tok": "token", "sec": "seconds"}
units = st.sampled_from(sorted(PER_BATCH))


def length(batches, unit):
    return f"{Fraction(PER_BATCH[unit]) * batches}{unit}"


@st.composite
def journeys(draw):
    """Draw a unit, lengths in batches, and the batches at which the run resumes with the next length."""
    lengths = [draw(st.integers(2, 10**6))]
    times = []
    for _ in range(draw(st.integers(1, 4))):
        times.append(draw(st.integers(times[-1] if times else 0, lengths[-1] - 1)))
        lengths.append(draw(st.integers(times[-1] + 1, 2 * 10**6)))
    return draw(units), lengths, times


def travel(unit, lengths, times):
    time_map = TimeMap.planned(run(length(lengths[0], unit)), 1)
    for then, now in zip(times, lengths[1:], strict=True):
        time_map = time_map.rescaled(run(length(now, unit), then))
    return time_map


def virtual(time_map, batch, unit):
    """Return the plan's time in batches."""
    counter = Fraction(getattr(time_map(at(batch)), COUNTERS[unit]).value)
    return counter / (1 if unit == "ep" else Fraction(PER_BATCH[unit]))


@given(journeys())
def test_rescale_stretches_the_remaining_schedule_over_the_remaining_run(journey):
    unit, lengths, times = journey
    # v = v0 + s (t - t0), s = (N - v0) / (M - t0), computed here separately for each change in turn.
    offset, slope = Fraction(0), Fraction(1)
    for then, now in zip(times, lengths[1:], strict=True):
        reached = offset + slope * then
        slope = (lengths[0] - reached) / (now - then)
        offset = reached - slope * then
    time_map = travel(unit, lengths, times)
    before = travel(unit, lengths[:-1], times[:-1])
    assert virtual(time_map, times[-1], unit) == virtual(before, times[-1], unit)  # time never jumps
    for batch in (times[-1], (times[-1] + lengths[-1]) // 2, lengths[-1], lengths[-1] + 3):
        expected = offset + slope * batch
        if unit == "sec":  # kept as whole nanoseconds
            assert abs(virtual(time_map, batch, unit) - expected) <= Fraction(1, 10**9)
        else:
            assert virtual(time_map, batch, unit) == expected
    assert virtual(time_map, lengths[-1], unit) == lengths[0]


@given(journeys(), st.floats(0, 1))
def test_resuming_without_a_change_changes_nothing(journey, share):
    unit, lengths, times = journey
    time_map = travel(unit, lengths, times)
    then = times[-1] + int(share * (lengths[-1] - 1 - times[-1]))
    assert time_map.rescaled(run(length(lengths[-1], unit), then)) == time_map


@given(journeys())
def test_time_map_can_be_saved_and_restored(journey):
    time_map = travel(*journey)
    again = TimeMap.from_state_dict(json.loads(json.dumps(time_map.state_dict())))
    assert {again} == {time_map}
    assert (again.is_identity, again.max_duration) == (time_map.is_identity, time_map.max_duration)


@given(journeys(), units)
def test_unit_of_the_run_length_may_change_at_a_resume(journey, other):
    unit, lengths, times = journey
    if times[-1] == 0 and COUNTERS[unit] != COUNTERS[other]:
        return  # before the first batch, the two units cannot be compared: an error, see below
    before = travel(unit, lengths[:-1], times[:-1])
    after = before.rescaled(run(length(lengths[-1], other), times[-1]))
    assert virtual(after, times[-1], unit) == virtual(before, times[-1], unit)
    assert virtual(after, lengths[-1], unit) == lengths[0]
    # The time map also changes the other counters. All batches have the same size here, so the counters must agree.
    middle = at((times[-1] + lengths[-1]) // 2)
    batches = {name: after(middle).get(name).value / Fraction(PER_BATCH[name]) for name in ("ba", "sp", "tok")}
    assert len(set(batches.values())) == 1


def test_new_ssr_stretches_the_remaining_schedule():
    """At ssr 0.5 the run of 10 epochs takes 5; resumed at 2, the remaining 8 epochs of the plan take 3."""
    state = run("5ep", 2 * LENGTH)
    old = TimeMap.planned(run("10ep"), 1)
    rescaled, extended = old.rescaled(state), old.extended(state, 0.5)
    assert (rescaled.ssr, extended.ssr) == (1, Fraction(1, 2))
    decay = StepScheduler("5ep", 0.1)  # scaled by ssr
    of_rescaled, of_extended = alpha(decay, rescaled, state), alpha(decay, extended, state)
    # After rescaling, epoch 5 of the plan is at 2 + 3/8 * 3 = 3.125. If planned from the start, it would be at 2.5.
    assert [of_rescaled(batch) for batch in (234, 235)] == [1.0, 0.1]  # 3.125 * 75 = 234.375
    assert [of_extended(batch) for batch in (187, 188)] == [1.0, 0.1]  # 2.5 * 75 = 187.5


@pytest.mark.parametrize("begin", [30, 100, 400])
@pytest.mark.parametrize("new", ["6ep", "20ep", "1000ba"])
def test_no_schedule_jumps_if_only_the_length_changes(begin, new):
    """Warmups and milestones in batches, epochs and samples are times of the plan: a finished part stays finished."""
    schedulers = [
        CosineAnnealingWithWarmupScheduler("50ba"),
        CosineAnnealingWithWarmupScheduler("0.1dur", alpha_f=0.1),
        CosineAnnealingWithWarmupScheduler("3000sp"),
        MultiStepScheduler(["2ep", "200ba", "0.9dur"]),
        SequentialScheduler(
            {
                "constant": {"scheduler": StepScheduler("100ba"), "until": "3ep"},
                "decay": {"scheduler": LinearScheduler(), "until": "1dur"},
            }
        ),
        lambda state: 1 - float(state.timestamp.batch.value) / 1e4,
        lambda state, ssr: 1 / (1 + float(state.get_elapsed_duration().value)) / ssr,
    ]
    planned, state = TimeMap.planned(run("10ep"), 1), run(new, begin)
    rescaled = planned.rescaled(state)
    for scheduler in schedulers:
        before = bind(scheduler, run("10ep"))
        after = alpha(scheduler, rescaled, state)
        assert after(begin) == pytest.approx(before(at(begin)), abs=1e-15)
        assert after({"6ep": 450, "20ep": 1500, "1000ba": 1000}[new]) == pytest.approx(before(at(750)), abs=1e-12)


def test_extend_discards_an_earlier_rescaling():
    rescaled = TimeMap.planned(run("10ep"), 1).rescaled(run("20ep", 300))
    assert not rescaled.is_identity
    new = run("30ep", 600)
    assert rescaled.extended(new, 1) == TimeMap.planned(new, 1)


def test_position_in_epochs_is_kept_if_the_epoch_length_changes():
    """At the end of epoch 5 of 10 the batch size is doubled: 5 epochs of 38 batches are left, not 5 of 75."""
    now = at(5 * LENGTH)
    new = run("10ep", timestamp=now, dataloader_len=38, samples_per_batch=32)
    old = TimeMap.planned(run("10ep"), 1)
    extended, rescaled = old.extended(new, 1), old.rescaled(new)
    end = now.copy(epoch=10, batch=375 + 190)
    half = now.copy(epoch=7, batch=375 + 95, batch_in_epoch=19)
    for time_map in (extended, rescaled):
        curve = bind(LinearScheduler(), time_map.plan(new), time_map.ssr)
        assert [curve(time_map(time)) for time in (now, half, end)] == pytest.approx([0.5, 0.25, 0.0], abs=1e-15)
        milestones = bind(StepScheduler("7ep", 0.1), time_map.plan(new), time_map.ssr)
        moments = [now.copy(epoch=6, batch=375 + 75, batch_in_epoch=37), now.copy(epoch=7, batch=375 + 76)]
        assert [milestones(time_map(time)) for time in moments] == [1.0, 0.1]
    # extend: as if all batches of the run had the new size. rescale: each new batch counts as two batches of the plan.
    assert [str(time_map(now).batch) for time_map in (extended, rescaled)] == ["190ba", "375ba"]
    assert extended(half).epoch == rescaled(half).epoch == 7
    assert extended(half).batch_in_epoch == 19
    # Samples are converted by the batch sizes: 190 * 32 samples of the run are 375 * 16 samples of the plan.
    late = now.copy(batch=375 + 190, sample=now.sample.value + 190 * 32)
    assert rescaled(late).sample == 750 * 16


def test_length_in_batches_ignores_the_batch_size():
    now = at(500)
    new = run("1000ba", timestamp=now, dataloader_len=38, samples_per_batch=32)
    old = TimeMap.planned(run("1000ba"), 1)
    assert old.extended(new, 1).is_identity
    rescaled = old.rescaled(new)
    later = now.copy(batch=750, sample=500 * 16 + 250 * 32)
    assert rescaled(later).batch == 750
    assert rescaled(later).sample == 750 * 16  # in the plan, each batch has 16 samples


def test_rescaled_plan_ends_with_the_run_if_the_new_unit_is_samples_and_batches_differ():
    now = at(50).copy(sample=700)
    rescaled = TimeMap.planned(run("100ba"), 1).rescaled(run("1500sp", timestamp=now))
    assert rescaled(now.copy(batch=90, sample=1500)).batch == 100


def test_only_complete_epochs_are_counted_if_their_length_is_unknown():
    now = at(3 * LENGTH)
    old = TimeMap.planned(run("10ep", dataloader_len=None), 1)
    rescaled = old.rescaled(run("17ep", timestamp=now, dataloader_len=None))
    assert [rescaled(now.copy(epoch=epoch)).epoch.value for epoch in (3, 10, 17)] == [3, Fraction(13, 2), 10]
    assert rescaled(now).batch_in_epoch == now.batch_in_epoch


@pytest.mark.parametrize("batch", [750, 751])
@pytest.mark.parametrize("mode", ["extend", "rescale"])
def test_new_length_must_be_longer_than_the_run_so_far(mode, batch):
    old, new = TimeMap.planned(run("20ep"), 1), run("10ep", batch)
    here = "10ep" if batch == 750 else "751/75ep"
    with refused("max_duration", RangeError, f"^max_duration='10ep': .*: the checkpoint is at {here}; give a longer"):
        old.rescaled(new) if mode == "rescale" else old.extended(new, 1)


def test_new_length_in_a_unit_without_a_counter_is_refused():
    old, now = TimeMap.planned(run("10ep"), 1), at(75).copy(token=0)
    with refused("max_duration", MismatchError):
        old.rescaled(run("1000000tok", timestamp=now))


def test_a_run_without_a_length_is_refused():
    with refused("max_duration", MissingValueError):
        TimeMap.planned(State(dataloader_len=10), 1)


GOOD = TimeMap.planned(run("10ep"), 0.5).rescaled(run("20ep", 300)).state_dict()


@pytest.mark.parametrize(
    "bad",
    [
        {},
        [],
        None,
        {**GOOD, "ssr": "0"},
        {**GOOD, "ssr": 0.5},
        {**GOOD, "max_duration": "10ep"},
        {**GOOD, "max_duration": ["10", "dur"]},
        {**GOOD, "max_duration": ["1/0", "ep"]},
        {**GOOD, "dataloader_len": "many"},
        {**GOOD, "counters": {}},
        {**GOOD, "counters": {**GOOD["counters"], "batch": ["batch", "0"]}},
        {**GOOD, "counters": {**GOOD["counters"], "batch": ["__class__", "0", "1"]}},
        {**GOOD, "counters": {**GOOD["counters"], "batch": ["batch", "nan", "1"]}},
    ],
)
def test_invalid_state_is_refused(bad):
    with refused("time_map", WrongTypeError):
        TimeMap.from_state_dict(bad)
    assert TimeMap.from_state_dict(GOOD).ssr == Fraction(1, 2)


def test_time_map_returns_a_timestamp():
    time_map = TimeMap.planned(run("10ep"), 1).rescaled(run("20ep", 375))
    mapped = time_map(at(375 + 100))
    assert isinstance(mapped, Timestamp)
    assert mapped.batch == Fraction(375) + Fraction(100, 3)
    assert mapped.epoch == 5
    assert mapped.batch_in_epoch == Fraction(100, 3)
    assert mapped.seconds.value == Fraction(math.floor((375 + Fraction(100, 3)) * 10**9), 10**9)
    assert mapped.total_wct.total_seconds() == pytest.approx(375 + 100 / 3)
    assert mapped.get("sp").value == (375 + Fraction(100, 3)) * SAMPLES
    assert mapped.sample_in_epoch == at(475).sample_in_epoch
    plain = mapped.to_next_batch(16).copy(token=3)
    assert type(plain) is Timestamp
    assert plain.batch == mapped.batch + 1
    assert Timestamp.from_state_dict(mapped.state_dict()) == mapped
    assert time_map.plan(run("20ep", 475)).timestamp == mapped
    assert time_map.plan(run("20ep", 475)).max_duration == "10ep"


def test_repr_shows_the_counters_that_the_time_map_changes():
    time_map = TimeMap.planned(run("10ep"), 1).rescaled(run("20ep", 375))
    assert "batch = 250 + 1/3 batch" in repr(time_map)
    assert repr(TimeMap.planned(run("10ep"), 2)) == "TimeMap(10ep, ssr 2)"
    assert time_map != "a map"
