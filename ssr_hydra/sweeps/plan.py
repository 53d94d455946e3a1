"""The plan of a sweep: which jobs are missing, which steps each job trains, and how many steps sharing saves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ssr_hydra.checkpoints.store import CHECKPOINTS, CheckpointStore
from ssr_hydra.configs.experiment import KEEPS
from ssr_hydra.errors import InputError
from ssr_hydra.sweeps.combinations import PlannedSweep
from ssr_hydra.sweeps.folder import StudyFolder
from ssr_hydra.sweeps.job_status import JobState, columns_of, owners_of, read_state
from ssr_hydra.sweeps.jobs_table import of_experiment
from ssr_hydra.sweeps.sharing.orders import Cost, Orders, Point, point_name, points_of
from ssr_hydra.sweeps.sharing.sequences import Candidate, first_difference
from ssr_hydra.sweeps.sharing.stages import Planned, StagePlan, is_worth, plan_stages
from ssr_hydra.time import check_ssr
from ssr_hydra.versions import code_version, software

ALL, ENDS, NONE = KEEPS
"""The values of ``share_keep``."""

_MOST_SHOWN = 60
_LONGER = 2  # a job also publishes a checkpoint for a later job with this many times its ssr
_STATUSES = {
    JobState.COMPLETED: "done",
    JobState.DIVERGED: "diverged",
    JobState.FAILED: "failed",
    JobState.STOPPED: "stopped",
    JobState.DIED: "failed",
    JobState.RUNNING: "running",
    JobState.WAITING: "missing",
}


class PlannedJob(NamedTuple):
    """A job of the sweep, with its checked config and its folder."""

    identity: str
    overrides: tuple[str, ...]
    values: dict[str, Any]  # the checked config
    candidate: Candidate
    folder: Path | None = None  # None if the job has no folder yet


class SharingPlan:
    """Decide which steps each unfinished job of a sweep trains, so that every shared step is trained only once.

    ``entries`` are all jobs of the sweep. ``mine`` are the identities of the jobs that this sweep runs; None for all
    jobs. ``describe`` computes the :class:`~ssr_hydra.sweeps.sharing.sequences.Candidate` of a job from its config.
    ``code`` is the software of the jobs; see :func:`~ssr_hydra.versions.software`.
    """

    def __init__(
        self,
        study: Path,
        entries: Sequence[PlannedJob],
        keep: str,
        describe: Callable[[Mapping[str, Any]], Candidate],
        mine: Collection[str] | None,
        code: Mapping[str, str],
    ) -> None:
        self._study, self._keep, self._all, self._describe = study, keep, entries, describe
        unique: dict[str, PlannedJob] = {}
        for each in entries:
            if mine is None or each.identity in mine:
                unique.setdefault(each.identity, each)
        self.entries = [each for each in unique.values() if _is_unfinished(each)]
        origins = _origins(study, describe, code)
        # A tuple for each job with a known number of steps: the job, the first step that it still has to train, and the
        # published checkpoint of this step. None: the job starts at step 0 or from its own checkpoint.
        self._known: list[tuple[PlannedJob, int, Point | None]] = []
        planned = []
        for each in self.entries:
            if each.candidate.sequences is not None:
                own = _own_steps(each.folder)
                step, point = (max(own), None) if own else _latest_point(each.candidate, origins)
                self._known.append((each, step, point))
                planned.append(Planned(each.candidate.sequences, each.candidate.group, step, own))
        self.stages: StagePlan = plan_stages(planned)

    def order(self, workers: int) -> dict[str, int]:
        """Return a mapping from the identity of each job to the job's position in the start order."""
        planned = [self._known[index][0].identity for index in self.stages.order(workers)]
        others = [each.identity for each in self.entries if each.candidate.sequences is None]
        return {identity: place for place, identity in enumerate([*planned, *others])}

    def write_orders(self, folders: dict[str, Path]) -> None:
        """Write the instructions (orders) for each job: its first step, and the checkpoints that it publishes."""
        for each in self.entries:
            Orders.remove(self._study, each.identity)
        for index, (each, _, start) in enumerate(self._known):
            branch = self.stages.branches[index]
            point, source = None if start is None else start.folder.name, None
            if branch.source is not None:
                identity = self._known[branch.source][0].identity
                point = point_name(identity, branch.begin)
                source = folders[identity].relative_to(self._study).as_posix()
            steps = [*self.stages.published(index), *self._end(each, branch.begin)]
            orders = Orders(branch.begin, point, source, sorted(set(steps)), self._keep == ALL)
            if orders != Orders():
                orders.write(self._study, each.identity)

    def _end(self, each: PlannedJob, begin: int) -> Iterator[int]:
        """Yield the last step that a job with twice the ssr could share with this job, if it is after ``begin``."""
        sequences = each.candidate.sequences
        if self._keep == NONE or sequences is None or each.candidate.group is None:
            return
        longer = {**each.values, "control": None, "ssr": float(check_ssr(each.values["ssr"]) * _LONGER)}
        with suppress(InputError):
            other = self._describe(longer)
            if other.sequences is not None and other.group == each.candidate.group:
                step = first_difference(sequences, other.sequences, 0, sequences.steps - 1)
                if step > begin and is_worth(step, sequences.steps):
                    yield step

    # ---- text

    def lines(self, workers: int) -> Iterator[str]:
        """Yield the lines of text that describe the plan."""
        stages = self.stages
        if self._known:
            saved = Fraction(stages.alone - stages.shared, max(1, stages.alone))
            need = "1 worker needs" if workers == 1 else f"{workers} workers need"
            yield (
                f"steps: {stages.shared:,} with shared prefixes, {stages.alone:,} without: {float(saved):.1%} saved\n"
                f"the longest path has {stages.longest:,} steps; {need} the time of about "
                f"{stages.took(workers):,} steps"
            )
            yield from self._tree()
        yield from self._uncounted()
        yield from self._reasons()

    def _lonely(self) -> Iterator[str]:
        """Yield lines that count the jobs that share no steps, and say at which step they differ from other jobs."""
        candidates, branches = [each.candidate for each, _, _ in self._known], self.stages.branches
        groups: dict[Hashable, list[int]] = {}
        for index in sorted(range(len(candidates)), key=lambda index: -branches[index].steps):
            if candidates[index].group is not None:
                groups.setdefault(candidates[index].group, []).append(index)
        steps: dict[tuple[int, str], int] = Counter()
        for group in groups.values():
            for index in group:
                branch, own = branches[index], candidates[index].sequences
                rest = candidates[group[0] if index != group[0] else group[-1]].sequences
                is_alone = branch.source is None and not branch.children and not branch.begin
                if len(group) > 1 and is_alone and own and rest:
                    step = first_difference(own, rest, 0, min(own.steps, rest.steps) - 1)
                    steps[step, candidates[index].hint] += 1
        for (step, hint), count in steps.items():
            jobs = "job differs" if count == 1 else "jobs differ"
            yield f"  {count} {jobs} from the other jobs at step {step:,}{hint}"

    def hint(self) -> Iterator[str]:
        """Yield a line with the number of steps that the sweep trains, and the smaller number with ``share=true``."""
        if self._known:
            less = f"; {self.stages.shared:,} with share=true" if self.stages.shared < self.stages.alone else ""
            yield f"steps: {self.stages.alone:,}{less}"
        yield from self._uncounted()

    def _uncounted(self) -> Iterator[str]:
        count = len(self.entries) - len(self._known)
        if count:
            yield f"  {count} {'job has' if count == 1 else 'jobs have'} an unknown number of steps"

    def _tree(self) -> Iterator[str]:
        columns = columns_of([each.overrides for each in self._all])
        rows = {each.identity: row for row, each in reversed(list(enumerate(self._all)))}
        branches = self.stages.branches
        width = max(len(f"{branch.steps:,}") for branch in branches)

        def words(index: int) -> str:
            return columns.words(rows[self._known[index][0].identity])

        def below(index: int, depth: int) -> Iterator[str]:
            begin, steps = (f"{step:>{width},}" for step in (branches[index].begin, branches[index].steps))
            yield f"  {'  ' * depth}steps {begin} to {steps}  {words(index)}"
            for child in branches[index].children:
                yield from below(child, depth + 1)

        def shape(index: int) -> tuple[Any, ...]:
            return branches[index].begin, branches[index].steps, *map(shape, branches[index].children)

        # Print one of several trees with equal steps, such as the trees of several seeds.
        alike: dict[tuple[Any, ...], list[int]] = {}
        for index in self.stages.order(1):
            if branches[index].source is None:
                alike.setdefault(shape(index), []).append(index)
        lines = list[str]()
        for first, *others in alike.values():
            lines += below(first, 0)
            if others:
                trees = "1 more tree has" if len(others) == 1 else f"{len(others)} more trees have"
                lines.append(f"  {trees} the same steps: {words(others[0])}{' ...' if len(others) > 1 else ''}")
        yield from lines[:_MOST_SHOWN]
        if len(lines) > _MOST_SHOWN:
            yield f"  and {len(lines) - _MOST_SHOWN} more lines"

    def _reasons(self) -> Iterator[str]:
        refused = Counter(each.candidate.refused for each in self.entries if each.candidate.refused is not None)
        for reason, count in refused.items():
            yield f"  {count} {'job shares' if count == 1 else 'jobs share'} no steps: {reason}"
        yield from self._lonely()
        for field in differing([each.candidate for each in self.entries]):
            yield f"  jobs with different values of {field} share no steps{_note(field, self.entries)}"


def cost_text(cost: Cost) -> str:
    """Return a sentence with the steps and the time of a study, and the steps that sharing has saved.

    Example:
        >>> cost_text(Cost(6200, 40.0, 3796, 24.8))
        'cost of the study: 3,796 steps in 24.8 s instead of 6,200 steps in 40 s: 38.8% fewer steps'
    """
    saved = 1 - cost.trained_steps / cost.steps
    return (
        f"cost of the study: {cost.trained_steps:,} steps in {cost.trained_seconds:.3g} s instead of "
        f"{cost.steps:,} steps in {cost.seconds:.3g} s: {saved:.1%} fewer steps"
    )


def _is_unfinished(entry: PlannedJob) -> bool:
    state = JobState.WAITING if entry.folder is None else read_state(entry.folder)
    return not state.is_final and state is not JobState.RUNNING


def _note(field: str, entries: Sequence[PlannedJob]) -> str:
    """If all configs have the same text for a field, such as ``0.1dur``, explain why its value differs between jobs."""
    node: Any = [each.values for each in entries]
    for key in field.split("."):
        node = [each.get(key) if isinstance(each, dict) else None for each in node]
    stated = {repr(value) for value in node}
    if len(stated) == 1 and node[0] is not None:
        return f": {node[0]} is a fraction of the run, so runs of different lengths reach it at different steps"
    return ""


def _origins(
    study: Path, describe: Callable[[Mapping[str, Any]], Candidate], code: Mapping[str, str]
) -> list[tuple[Point, Candidate]]:
    """Return each published checkpoint with the candidate of its job. Omit jobs with other software than ``code``."""
    jobs: dict[str, Candidate] = {}
    origins = []
    for point in points_of(study):
        with suppress(InputError, AttributeError, LookupError, TypeError, ValueError):  # may be from another release
            if not point.is_by(code):
                continue
            if point.identity not in jobs:
                jobs[point.identity] = describe(point.values)
            origins.append((point, jobs[point.identity]))
    return origins


def _latest_point(candidate: Candidate, origins: Sequence[tuple[Point, Candidate]]) -> tuple[int, Point | None]:
    """Return (step, checkpoint) of the latest published checkpoint from which a job can begin, or (0, None)."""
    sequences, best, latest = candidate.sequences, 0, None
    for point, origin in origins:
        if sequences is None or origin.sequences is None or candidate.group is None or origin.group != candidate.group:
            continue
        is_later = best < point.step < sequences.steps
        if is_later and first_difference(origin.sequences, sequences, 0, point.step) == point.step:
            best, latest = point.step, point
    return best, latest


def _own_steps(folder: Path | None) -> list[int]:
    return [] if folder is None else [batch for batch, _ in CheckpointStore(folder / CHECKPOINTS).all()]


def differing(candidates: Sequence[Candidate]) -> list[str]:
    """Return the fields that prevent jobs from sharing steps, because their values differ between the jobs."""
    able = [each.fields for each in candidates if each.refused is None]
    names = dict.fromkeys(name for fields in able for name in fields)
    return [name for name in names if len({fields.get(name) for fields in able}) > 1]


def show_plan(folder: Path, sweep: PlannedSweep, stream: TextIO) -> None:
    """Print the status, the folder and the swept values of each job of a sweep. Then print the steps to train."""
    code = software(code_version(sweep.trust))
    StudyFolder(folder).check(sweep.base, sweep.swept, code, any_code=sweep.any_code)
    owners = {identity: path for identity, (path, _) in owners_of(folder).items()}
    jobs: dict[str, tuple[str, ...]] = {}
    for overrides, description in sweep.jobs:
        jobs.setdefault(description.identity, of_experiment(overrides))
    columns = columns_of([*jobs.values()])
    lines, counts = [], Counter[str]()
    for row, identity in enumerate(jobs):
        place = owners.get(identity)
        word = "missing" if place is None else _STATUSES[read_state(place)]
        counts[word] += 1
        where = "-" if place is None else place.relative_to(folder).as_posix()
        lines.append(f"  {word:<9} {where:<5} {columns.words(row)}")
    head = ", ".join(f"{count} {word}" for word, count in counts.items())
    total, combined = len(jobs), len(sweep.jobs)
    heads = [f"{total} {'job' if total == 1 else 'jobs'} in {folder}: {head}"]
    if " x " in sweep.product:
        heads.append(f"{combined} = {sweep.product}")
    if combined > total:
        heads.append(f"{combined - total} of {combined} combinations repeat a listed job")
    lines = [*heads, *lines]
    plan = plan_of(folder, sweep, owners)
    lines += plan.lines(sweep.workers) if sweep.keep is not None else plan.hint()
    print(*lines, sep="\n", file=stream, flush=True)


def plan_of(
    study: Path, sweep: PlannedSweep, folders: Mapping[str, Path], mine: Collection[str] | None = None
) -> SharingPlan:
    """Return the plan of a sweep. ``folders`` maps the identity of a job to its folder, if the job already has one."""
    entries = [
        PlannedJob(description.identity, of_experiment(overrides), values, candidate, folders.get(description.identity))
        for (overrides, description), (values, candidate) in zip(sweep.jobs, sweep.candidates, strict=True)
    ]
    assert sweep.describe is not None
    code = software(code_version(sweep.trust))
    return SharingPlan(study, entries, sweep.keep or NONE, sweep.describe, mine, code)
