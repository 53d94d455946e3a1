"""The tree of shared steps: the steps that each job trains, and the number of steps that sharing saves."""

import pytest

from ssr_hydra.schedulers import (
    ConstantScheduler,
    CosineAnnealingScheduler,
    CosineAnnealingWithWarmupScheduler,
    InverseSquareRootWithWarmupScheduler,
    MultiStepWithWarmupScheduler,
    PiecewiseLinearScheduler,
    StepScheduler,
    WarmupStableDecayScheduler,
)
from ssr_hydra.state import State
from ssr_hydra.sweeps.sharing.sequences import Calendar, Sequences, Track, first_difference
from ssr_hydra.sweeps.sharing.stages import Planned, plan_stages

N = 10_000
GRIDS = {
    "halves": (0.25, 0.5, 1, 2),
    "octaves": (0.125, 0.25, 0.5, 1, 2, 4, 8),
    "tenths": tuple(k / 10 for k in range(1, 11)),
}
CALENDAR = Calendar(batch_size=16)


def run_of(scheduler, ssr, steps=N):
    length = round(steps * ssr)
    curve = scheduler.bind(State(f"{length}ba"), ssr)
    return Sequences(length, {"scheduler": Track(curve, CALENDAR)})


def plan_of(schedulers, grid, steps=N):
    return plan_stages([Planned(run_of(item, ssr, steps), "all") for item in schedulers for ssr in grid])


# Saving = f (1 - max / sum), where f is the fraction of a run before its first step that depends on its length.
@pytest.mark.parametrize(
    ("scheduler", "savings"),
    [
        (WarmupStableDecayScheduler("500ba", "0.1dur", decay="linear"), (42.0, 44.7, 73.6)),
        (WarmupStableDecayScheduler("0ba", "0.2dur"), (37.3, 39.7, 65.5)),
        (MultiStepWithWarmupScheduler("400ba", ["0.5dur", "0.75dur"]), (23.3, 24.8, 40.9)),
        (StepScheduler("0.3333333333333333dur"), (15.6, 16.5, 27.3)),
        (ConstantScheduler(), (46.7, 49.6, 81.8)),
        (InverseSquareRootWithWarmupScheduler("500ba"), (46.7, 49.6, 81.8)),
        (CosineAnnealingWithWarmupScheduler("500ba"), (4.0, 1.9, 8.2)),
    ],
    ids=str,
)
def test_saved_fraction_of_steps_equals_the_computed_fraction(scheduler, savings):
    for (name, grid), saving in zip(GRIDS.items(), savings, strict=True):
        plan = plan_of([scheduler], grid)
        assert plan.alone == round(N * sum(grid))
        assert 100 * (1 - plan.shared / plan.alone) == pytest.approx(saving, abs=0.06), name


def test_jobs_that_differ_only_in_the_decay_share_the_steps_before_it():
    shapes = [WarmupStableDecayScheduler("0ba", decay=decay) for decay in ("1-sqrt", "linear", "cosine")]
    plan = plan_of(shapes, GRIDS["tenths"], 100_000)  # 3 * 5.5 runs alone; shared: 0.9 + 3 * 5.5 / 10
    assert plan.alone / plan.shared == pytest.approx(6.47, abs=0.005)
    lengths = [WarmupStableDecayScheduler("0ba", t_decay) for t_decay in ("0.05dur", "0.1dur", "0.2dur")]
    plan = plan_of(lengths, GRIDS["tenths"], 100_000)  # shared: a trunk of 0.95, decays of 0.35 * 5.5
    assert plan.alone / plan.shared == pytest.approx(5.74, abs=0.005)


def test_plan_of_the_language_model_study_shares_the_stable_phase():
    plan = plan_of([WarmupStableDecayScheduler("50ba", "0.2dur")], (0.125, 0.25, 0.5, 1, 2), 1600)
    # Decays of 40, 80, 160, 320 steps and the whole of 3,200. The first step of a decay is still at the peak.
    assert (plan.alone, plan.shared) == (6200, 3800 - 4)
    assert [branch.begin for branch in plan.branches] == [161, 321, 641, 1281, 0]
    assert plan.branches[4].children == (0, 1, 2, 3)
    assert plan.published(4) == (161, 321, 641, 1281)
    assert plan.longest == 3200
    assert plan.took(1) == plan.shared
    assert plan.took(2) == 3200  # all decays fit next to the trunk
    assert plan.order(2)[0] == 4


def test_job_starts_after_the_job_whose_steps_it_shares():
    grid = (1, 2)
    schedulers = [WarmupStableDecayScheduler("0ba", length, decay="linear") for length in ("0.1dur", "0.2dur")]
    plan = plan_of(schedulers, grid, 1000)  # jobs: (.1, 1), (.1, 2), (.2, 1), (.2, 2)
    assert [branch.source for branch in plan.branches] == [1, None, 1, 1]
    assert [branch.begin for branch in plan.branches] == [901, 0, 801, 1601]
    starts = {job: place for place, job in enumerate(plan.order(2))}
    assert all(branch.source is None or starts[branch.source] < starts[job] for job, branch in enumerate(plan.branches))


def test_worker_runs_other_jobs_before_it_waits_for_shared_steps():
    jobs = [Planned(run_of(WarmupStableDecayScheduler("0ba", "0.5dur"), ssr, 1000), "a") for ssr in (1, 0.5)]
    plan = plan_stages([*jobs, Planned(run_of(ConstantScheduler(), 0.2, 1000), "b")])
    # The long decay begins at step 501, the short one at step 251 and ends at 500. The other job has 200 steps.
    assert [(branch.begin, branch.steps) for branch in plan.branches] == [(0, 1000), (251, 500), (0, 200)]
    assert list(plan.starts(1)) == [(0, 0), (1000, 1), (1249, 2)]
    assert list(plan.starts(2)) == [(0, 0), (0, 2), (251, 1)]  # a worker waits only from 200 to 251
    assert (plan.took(1), plan.took(2), plan.took(9), plan.longest) == (1449, 1000, 1000, 1000)


def test_jobs_share_steps_only_within_a_group_and_never_the_last_step():
    run = run_of(ConstantScheduler(), 1, 100)
    for groups, shared in (("aa", 101), ("ab", 200), ((None, None), 200)):
        plan = plan_stages([Planned(run, group) for group in groups])
        assert (plan.shared, plan.alone) == (shared, 200)


def test_very_short_common_prefix_is_not_shared():
    plan = plan_of([CosineAnnealingScheduler()], (1, 2), 1000)  # only step 0, at the peak, is the same
    assert plan.shared == plan.alone


def test_plan_of_a_started_job_has_only_its_remaining_steps():
    scheduler = WarmupStableDecayScheduler("0ba", decay="linear")
    trunk, short = run_of(scheduler, 2, 1000), run_of(scheduler, 1, 1000)
    for trunk_job, start, expected in (
        (Planned(trunk, "a", 1500), 0, [(1500, None), (0, None)]),  # the trunk has passed step 901, the branch point
        (Planned(trunk, "a", 1500, held=(901, 1500)), 0, [(1500, None), (901, 0)]),
        (Planned(trunk, "a", 500), 0, [(500, None), (901, 0)]),
        (Planned(trunk, "a", 500), 950, [(500, None), (950, None)]),
    ):
        plan = plan_stages([trunk_job, Planned(short, "a", start)])
        assert [(branch.begin, branch.source) for branch in plan.branches] == expected
        assert plan.order(1) == [0, 1] or plan.branches[1].source is None


def test_steps_near_a_decay_are_not_shared_if_the_tokens_per_batch_are_unknown():
    """A batch may have fewer tokens than ``batch_size`` allows, so only equal pieces of the schedules are shared."""
    calendar = Calendar(batch_size=8, tokens=16)  # at most 128 tokens in a batch

    def run(steps, decay):
        scheduler = WarmupStableDecayScheduler("1280tok", "0.25dur", decay=decay)
        curve = scheduler.bind(State(f"{128 * steps}tok", tokens_per_batch=128), steps / 100)
        return Sequences(calendar.steps(State(f"{128 * steps}tok").max_duration), {"scheduler": Track(curve, calendar)})

    plan = plan_stages([Planned(run(100, "linear"), "a"), Planned(run(200, "linear"), "a")])
    assert [(branch.steps, branch.begin) for branch in plan.branches] == [(100, 75), (200, 0)]
    plan = plan_stages([Planned(run(100, "linear"), "a"), Planned(run(100, "cosine"), "a")])
    assert plan.shared == 125


@pytest.mark.parametrize("unknown", [1, 2, 77, 98])
def test_steps_after_a_step_that_reads_an_unknown_counter_are_not_shared(unknown):
    """A custom schedule may read, at few steps, a counter that is unknown before training."""

    def curve(timestamp):
        return 1.0 if timestamp.batches != unknown else float(timestamp.tokens)

    run = Sequences(100, {"scheduler": Track(curve, CALENDAR)})
    other = Sequences(200, {"scheduler": Track(curve, CALENDAR)})
    assert first_difference(run, other, 0, 99) == unknown
    plan = plan_stages([Planned(run, "a"), Planned(other, "a")])
    shared = unknown if unknown >= 2 else 0  # a single step is not worth a checkpoint
    assert plan.shared == 300 - shared
    plan = plan_stages([Planned(run, "a"), Planned(other, "a"), Planned(run, "a")])
    assert plan.shared == 400 - 2 * shared


@pytest.mark.parametrize(
    "make",
    [
        lambda: WarmupStableDecayScheduler("37ba", "0.17dur", decay="cosine", alpha_f=0.1),
        lambda: MultiStepWithWarmupScheduler("11ba", ["0.3dur", "0.61dur"]),
        lambda: PiecewiseLinearScheduler([("0ba", 0.0), ("20ba", 1.0), ("0.5dur", 1.0), ("1dur", 0.0)]),
        lambda: InverseSquareRootWithWarmupScheduler("10ba", t_cooldown="0.2dur"),
        lambda: StepScheduler("0.2dur"),
    ],
)
def test_first_difference_equals_that_of_a_step_by_step_comparison(make):
    """The first difference is also the first difference of the two lists of multipliers."""
    for ssrs in ((1, 2), (0.3, 0.7), (1, 1.01)):
        one, other = (run_of(make(), ssr, 500) for ssr in ssrs)
        end = min(one.steps, other.steps)
        a, b = (run.tracks["scheduler"].values(0, end) for run in (one, other))
        assert first_difference(one, other, 0, end) == next((i for i in range(end) if a[i] != b[i]), end)
