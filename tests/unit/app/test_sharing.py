"""Which jobs may share steps: each field that may differ, each that may not, and each reason for a refusal."""

import itertools
import json
from collections.abc import Callable

import pytest
from cases import each
from checkpoint_helpers import save
from omegaconf import DictConfig

from ssr_hydra.app.check import check
from ssr_hydra.app.sharing import candidate
from ssr_hydra.checkpoints import CheckpointStore
from ssr_hydra.sweeps.plan import PlannedJob, SharingPlan, differing
from ssr_hydra.sweeps.sharing.orders import Orders, publish
from ssr_hydra.sweeps.sharing.sequences import first_difference

Compose = Callable[..., DictConfig]
WSD = ("scheduler=wsd", "scheduler.t_warmup=20ba", "max_duration=400ba")


CODE = {"torch": "2.10"}


def job(composed, *overrides, trust=()):
    return candidate(check(composed(*overrides), trust), trust)


@pytest.fixture(scope="module")
def wsd(composed):
    return job(composed, *WSD)


MAY_DIFFER = "ssr=0.5 max_duration=200ba control=truncate scheduler.t_decay=0.2dur name=other checkpoint.interval=7ba"
MUST_BE_EQUAL = (
    "seed=1 optimizer.lr=0.2 data.augment=null trainer.threads=2 trainer.eval_interval=7ba model.widths=[4,8] "
    "+scheduler@schedules.momentum=linear callbacks=[ema] logger=[csv]"
)


@each("change,may_differ", [(s, True) for s in MAY_DIFFER.split()] + [(s, False) for s in MUST_BE_EQUAL.split()])
def test_only_fields_without_effect_on_the_shared_steps_may_differ(composed, wsd, change, may_differ):
    assert wsd.group is not None
    assert (wsd.group == job(composed, *WSD, change).group) == may_differ


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("trainer.eval_interval=0.25dur",), "trainer.eval_interval"),
        (("callbacks=[ema]", "callbacks.ema.half_life=0.1dur"), "callbacks.ema.half_life"),
    ],
)
def test_times_in_dur_differ_between_runs_of_different_lengths(composed, change, field):
    jobs = [job(composed, *WSD, *change, ssr) for ssr in ("ssr=1", "ssr=0.5")]
    assert differing(jobs) == [field]
    jobs = [job(composed, *WSD, *change, *same) for same in ((), ("scheduler.decay=linear",))]
    assert differing(jobs) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("scheduler.t_warmup=0ba", "max_duration=10m"), "max_duration=10m is measured in seconds"),
        (("trainer.eval_interval=1m",), "trainer.eval_interval=1m is measured in seconds"),
        (("checkpoint.enabled=false",), "checkpoint.enabled=false"),
        (("checkpoint.best=eval/accuracy",), "checkpoint.best=eval/accuracy"),
        (("resume=never",), "resume.path=never"),
        (("callbacks=[throughput]",), "callbacks.throughput has a state"),
        (("scheduler=torch_plateau",), "scheduler is a scheduler of torch"),
        (("+callbacks.nudge._target_=sharing_lab.Nudge",), "(sharing_lab.Nudge) may depend on the length"),
    ],
)
def test_description_of_a_job_states_why_it_cannot_share_steps(composed, change, reason):
    own = () if any(each.startswith("scheduler=") for each in change) else WSD
    description = job(composed, *own, *change, trust=("sharing_lab",))
    assert description.group is None
    assert reason in str(description.refused)


def test_callback_that_declares_itself_shareable_is_accepted(composed):
    notes = "+callbacks.notes._target_=sharing_lab.Notes"
    assert job(composed, *WSD, notes, trust=("sharing_lab",)).refused is None


@pytest.mark.parametrize("field", ["scheduler", "schedules.momentum"])
def test_first_difference_is_the_first_step_where_any_schedule_differs(composed, field):
    """Two jobs differ from the first step at which one of their schedules differs: here from step 80."""
    fields = ("scheduler", "schedules.momentum")
    multistep = ("scheduler=multistep", "max_duration=400ba", "+scheduler@schedules.momentum=multistep")
    one, other = (
        job(composed, *multistep, *(f"{each}.milestones=[{step if each == field else 120}ba]" for each in fields))
        for step in (80, 120)
    )
    assert one.group == other.group
    assert one.sequences is not None
    assert other.sequences is not None
    assert first_difference(one.sequences, other.sequences, 0, 399) == 80


def test_steps_are_counted_exactly_with_an_uneven_last_batch(composed):
    """The digits have 1,198 samples: 75 batches of 16, the last of 14."""
    steps = {}
    for length in ("2ep", "1199sp", "151ba"):
        description = job(composed, "scheduler=constant", f"max_duration={length}")
        assert description.sequences is not None
        steps[length] = description.sequences.steps
    assert steps == {"2ep": 150, "1199sp": 76, "151ba": 151}


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (
            "scheduler.t_warmup=0.1dur",
            "; scheduler.t_warmup=0.1dur is a fraction of the run; a warmup in ba can be shared",
        ),
        ("scheduler.t_warmup=0.1dur max_duration=4ep", "a warmup in ep can be shared"),
        ("scheduler.scale_warmup=true", "scales the warmup with ssr; an unscaled warmup can be shared"),
        ("", ""),
    ],
)
def test_hint_names_the_field_that_prevents_sharing_the_warmup(composed, change, hint):
    own = job(composed, *WSD, *change.split()).hint
    assert own.endswith(hint)
    assert (own == "") == (hint == "")


def test_times_in_dur_inside_a_list_differ_between_runs_of_different_lengths(composed):
    groups = set()
    for ssr in ("ssr=1", "ssr=0.5"):
        values = check(composed(*WSD, ssr), ())
        values["data"]["train"]["at"] = ["0.5dur", {"until": "1dur"}]
        groups.add(candidate(values).group)
    assert len(groups) == 2


def kept(composed, folder, *overrides):
    """Return the steps of the checkpoints that a job of a sweep keeps for later jobs."""
    values = check(composed(*WSD, *overrides), ())
    entry = PlannedJob("a" * 20, overrides, values, candidate(values))
    SharingPlan(folder, [entry], "ends", candidate, None, CODE).write_orders({entry.identity: folder / "0"})
    orders = Orders.read(folder, entry.identity)
    return [] if orders is None else orders.publish


def test_checkpoint_is_kept_only_if_a_longer_run_could_use_that_checkpoint(composed, tmp_path):
    linear = ("scheduler.decay=linear", "scheduler.t_decay=0.2dur")
    assert kept(composed, tmp_path, *linear) == [321]  # of 400 steps; the first step of the decay is at the peak
    # In a longer run, these fractions are different steps, so the job keeps no checkpoint.
    assert kept(composed, tmp_path, *linear, "trainer.eval_interval=0.25dur") == []
    assert kept(composed, tmp_path, *linear, "callbacks=[ema]", "callbacks.ema.half_life=0.1dur") == []


def test_plan_ignores_checkpoints_of_different_software_versions(composed, tmp_path):
    checkpoint = tmp_path / "0" / "checkpoints" / "ba300"
    checkpoint.mkdir(parents=True)
    values = check(composed(*WSD), ())
    publish(tmp_path, checkpoint, "a" * 20, 300, values, {**CODE, "ssr_hydra": "0.1.0 abc"})
    longer = check(composed(*WSD, "ssr=2"), ())
    entry = PlannedJob("b" * 20, ("ssr=2",), longer, candidate(longer))
    begins = [
        SharingPlan(tmp_path, [entry], "ends", candidate, None, {**CODE, "ssr_hydra": version}).stages.branches[0].begin
        for version in ("0.1.0 abc", "0.1.0 abd", "0.2.0 abc")
    ]
    assert begins == [300, 0, 0]


def test_plan_counts_the_steps_of_all_unfinished_jobs(composed, tmp_path):
    """A stopped job has 100 of 400 steps left, and another job cannot share its 400 steps."""
    save(CheckpointStore(tmp_path / "0/checkpoints"), 300)
    entries = []
    for change in ((), ("callbacks=[throughput]",), ("scheduler.t_warmup=0ba", "max_duration=10m")):
        values, number = check(composed(*WSD, *change), ()), len(entries)
        entries.append(PlannedJob(f"{number:016}", change, values, candidate(values), tmp_path / str(number)))
    plan = SharingPlan(tmp_path, entries, "ends", candidate, None, CODE)
    assert [*plan.hint()] == ["steps: 500", "  1 job has an unknown number of steps"]
    assert "\n".join(plan.lines(1)).splitlines()[:2] == [
        "steps: 500 with shared prefixes, 500 without: 0.0% saved",
        "the longest path has 400 steps; 1 worker needs the time of about 500 steps",
    ]


def lines_of(composed, folder, *axes):
    """Return the lines of the plan of a sweep over all combinations of overrides."""
    entries = []
    base = check(composed(*WSD), ())
    for number, overrides in enumerate(itertools.product(*axes)):
        values = base | {key: json.loads(value) for key, _, value in (each.partition("=") for each in overrides)}
        entries.append(PlannedJob(f"{number:016}", overrides, values, candidate(values)))
    return "\n".join(SharingPlan(folder, entries, "ends", candidate, None, CODE).lines(2)).splitlines()


def test_plan_prints_the_shared_steps_of_equal_jobs_with_different_seeds_once(composed, tmp_path):
    lines = lines_of(composed, tmp_path, ("ssr=0.5", "ssr=1"), ("seed=0", "seed=1", "seed=2"))
    # The last tenth of 200 or 400 steps decays, and its first step is at the peak. So each seed has 400 + 19 steps.
    assert lines == [
        "steps: 1,257 with shared prefixes, 1,800 without: 30.2% saved",
        "the longest path has 400 steps; 2 workers need the time of about 800 steps",
        "  steps   0 to 400  ssr=1 seed=0",
        "    steps 181 to 200  ssr=0.5 seed=0",
        "  2 more trees have the same steps: ssr=1 seed=1 ...",
        "  jobs with different values of seed share no steps",
    ]


def test_plan_shows_at_most_sixty_jobs_and_fits_eighty_columns(composed, tmp_path):
    ssrs = tuple(f"ssr={k / 100}" for k in range(10, 72))
    lines = lines_of(composed, tmp_path, ssrs)
    tree = [line for line in lines if line.startswith("  ")]
    assert tree[59].lstrip().startswith("steps")
    assert tree[60] == "  and 2 more lines"  # of 62 jobs
    assert max(map(len, lines)) <= 80
