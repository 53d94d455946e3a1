"""torch's schedulers that combine other schedulers: SequentialLR and ChainedScheduler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ssr_hydra.errors import ConflictError, MismatchError, MissingValueError, RangeError, WrongTypeError, within
from ssr_hydra.schedulers.arguments import put
from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, Timestamp
from ssr_hydra.torch_schedulers.base import BATCH, EPOCH, Course, Duration, Steps, TorchScheduler, listed, steps
from ssr_hydra.torch_schedulers.chains import Link, UnchainableError, all_courses, chain, is_factor
from ssr_hydra.torch_schedulers.functions import Products
from ssr_hydra.torch_schedulers.moments import moment

Parts = Sequence[TorchScheduler] | Mapping[str, TorchScheduler]


def _named(parts: Any) -> list[tuple[str, Any]]:
    if isinstance(parts, Mapping):
        return [(f"schedulers.{name}", part) for name, part in parts.items()]
    return [(f"schedulers[{i}]", part) for i, part in enumerate(parts)]


def _check_parts(value: Any) -> Any:
    example = "[LinearLR(), StepLR(30)]"
    parts = dict(value) if isinstance(value, Mapping) else tuple(listed(value, "schedulers", "schedulers", example))
    if not parts:
        fix = "write e.g. {warmup: ..., decay: ...}"
        raise MissingValueError("schedulers", value, "must have at least one scheduler", fix)
    for place, part in _named(parts):
        name = type(part).__name__
        if name == "ReduceLROnPlateau":
            rule = "cannot be part of a sequence or chain, because it needs a metric"
            raise WrongTypeError(place, name, rule, "write a list in a YAML file: scheduler: [{...}, {...}]")
        if not isinstance(part, TorchScheduler):
            rule = "must be a class of ssr_hydra.torch_schedulers"
            fix = "choose a torch_* scheduler; to multiply schedulers, write scheduler: [{...}, {...}] in a YAML file"
            raise WrongTypeError(place, name, rule, fix)
        if part.pace is not None:
            rule = "cannot be set for an inner scheduler, because all inner schedulers step together"
            raise ConflictError(f"{place}.pace", part.pace, rule, "set the pace of the outer scheduler")
    return parts


def _pace_of(parts: Any) -> str:
    paces = [part.natural_pace for _, part in _named(parts)]
    return BATCH if BATCH in paces else paces[0]


class _Continued(Course):
    """A phase with a MultiplicativeLR. It starts from the rate of the previous phase at the timestamp ``last``."""

    chains = True

    def __init__(self, before: Course, last: Timestamp, own: Products) -> None:
        self._before, self._last, self._own = before, last, own

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        last_rates = self._before.rates(self._last, bases)
        return [rate * factor for rate, factor in zip(last_rates, self.since_start(timestamp, len(bases)), strict=True)]

    def growth(self, before: Any, after: Any, count: int) -> list[float]:
        return self._own.growth(before, after, count)

    def since_start(self, timestamp: Any, count: int) -> list[float]:
        """Return each group's rate divided by its rate at the last step of the previous phase."""
        return self._own.rates(timestamp, self._own.at_zero(count))


class Phases(Course):
    """The course of a sequence of phases.

    Args:
        courses: The course of each phase.
        ends: A tuple (read, factor, stop) for each phase except the last: the phase ends when ``read(timestamp) *
            factor`` reaches ``stop``.
        lasts: The timestamp of the last step of each phase except the last.
        start: The timestamp of the start of the sequence.
    """

    def __init__(
        self, courses: list[Course], ends: list[tuple[Any, int, int]], lasts: list[Timestamp], start: Timestamp
    ) -> None:
        self.courses, self._ends, self._lasts, self._start = courses, ends, lasts, start
        self.chains = all(course.chains for course in courses)
        self._driving = [i for i, course in enumerate(courses) if course.has_momenta]
        self.has_momenta = bool(self._driving)

    def index(self, timestamp: Any) -> int:
        """Return the index of the phase that contains a timestamp. The index of the last phase is -1."""
        return next((i for i, (read, factor, stop) in enumerate(self._ends) if read(timestamp) * factor < stop), -1)

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        return self.courses[self.index(timestamp)].rates(timestamp, bases)

    def growth(self, before: Any, after: Any, count: int) -> list[float]:
        index = self.index(after) % len(self.courses)
        course = self.courses[index]
        if index == self.index(before) % len(self.courses):
            return course.growth(before, after, count)
        if isinstance(course, _Continued):
            factors = self.growth(before, self._lasts[index - 1], count)
            return [rate * factor for rate, factor in zip(factors, course.since_start(after, count), strict=True)]
        return super().growth(before, after, count)  # this phase starts from the initial rate

    def momenta(self, timestamp: Any, count: int) -> list[float]:
        # A phase without momentum keeps the momentum of the previous phase. Before the first phase with momentum, the
        # scheduler that torch constructed last sets the momentum.
        index = self.index(timestamp) % len(self.courses)
        driven = [i for i in self._driving if i <= index]
        if not driven:
            return self.courses[self._driving[-1]].momenta(self._start, count)
        last = driven[-1]
        return self.courses[last].momenta(timestamp if last == index else self._lasts[last], count)


def holds_phases(course: Course) -> bool:
    """Return whether a course is a sequence or contains a sequence."""
    return any(isinstance(part, Phases) for part in all_courses(course))


@dataclass(frozen=True)
class SequentialLR(TorchScheduler):
    """Run one scheduler after another.

    ::

        lr(t) = lr_k(t - m_k)    for m_k <= t < m_{k+1},    m_0 = 0

    Each scheduler starts at its milestone, with step 0 and the initial learning rate. Only a MultiplicativeLR starts
    with the current rate instead. A time in ``dur`` is a fraction of the phase of its scheduler. SSR stretches the
    milestones and the schedulers.

    The first scheduler may itself be a sequence or a chain. As in torch, its inner schedulers then take their first
    step twice. For example, an inner ExponentialLR is one step ahead. Unlike in torch, a later scheduler may be a
    sequence or a chain too. Its inner schedulers take their first step once.

    Args:
        schedulers: A list of schedulers, or a mapping from name to scheduler, in order. All schedulers step at the
            ``pace`` of the sequence.
        milestones: The start of each scheduler except the first: numbers of steps, or times.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Raises:
        InputError: There are no schedulers, the number of milestones is not the number of schedulers minus 1, or the
            milestones are not in order.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> from ssr_hydra.torch_schedulers import CosineAnnealingLR, LinearLR
        >>> both = SequentialLR([LinearLR(0.5, total_iters="1dur"), CosineAnnealingLR("1dur")], ["0.5dur"])
        >>> course = both.bind(State(max_duration="4ba"), use_stepwise_scheduler=True)
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in range(4)]
        [[0.5], [0.75], [1.0], [0.5]]
    """

    schedulers: Parts
    milestones: Sequence[Duration]

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = _check_parts(self.schedulers)
        stated = listed(self.milestones, "milestones", "milestones", "[5] or ['0.05dur']")
        if len(stated) != len(parts) - 1:
            rule = f"must have one milestone for each scheduler except the first (there are {len(parts)} schedulers)"
            raise MismatchError("milestones", stated, rule, "write the start of each scheduler except the first")
        milestones = tuple(steps(value, f"milestones[{i}]", above_zero=False) for i, value in enumerate(stated))
        put(self, schedulers=parts, milestones=milestones)

    @property
    def natural_pace(self) -> str:
        return _pace_of(self.schedulers)

    def course(self, steps: Steps, again: int = 0) -> Course:
        run, parts = steps.run, _named(self.schedulers)
        ends: list[Time] = []
        for i, value in enumerate(self.milestones):
            name = f"milestones[{i}]"
            ends.append(steps.time(value, name))
            if i > 0 and run.is_before(ends[i], ends[i - 1]):
                rule = f"must not be before the previous milestone ({ends[i]} is before {ends[i - 1]})"
                raise RangeError(name, str(value), rule, "reorder the milestones")
        # torch counts the repeated first steps too, so a nested sequence reaches its milestones earlier.
        early = [end - run.convert(steps.one * again, end.unit, "milestones") if again else end for end in ends]
        courses: list[Course] = []
        readers: list[tuple[Any, int, int]] = []
        lasts: list[Timestamp] = []
        zero = start = Time(0, steps.one.unit)
        for i, (place, part) in enumerate(parts):
            end = early[i] if i < len(early) else None
            if end is not None and (end.value <= 0 or run.is_before(start, end) is False):
                continue  # this phase is empty
            with within(place):
                inner = steps if end is None and start is zero else steps.phase(start, end)
                is_whole = isinstance(part, (SequentialLR, ChainedScheduler))
                course = part.course(inner, again + is_whole if i == 0 else 0)
            if isinstance(course, Products) and courses:
                course = _Continued(courses[-1], lasts[-1], course)
            courses.append(course)
            if end is not None:
                clock = run.clock(end.unit, f"milestones[{i}]", end)
                readers.append((clock.read, clock.factor, clock.points[1]))
                lasts.append(moment(run, end - run.convert(steps.one, end.unit, "milestones")))
                start = end
        return courses[0] if len(courses) == 1 else Phases(courses, readers, lasts, moment(run, zero))

    def resets(self, steps: Steps) -> list[Time]:
        """Return the milestones at which torch replaces the rate: all except the starts of a MultiplicativeLR."""
        later = [part for _, part in _named(self.schedulers)][1:]
        return [
            steps.time(value, f"milestones[{i}]")
            for i, (value, part) in enumerate(zip(self.milestones, later, strict=True))
            if type(part).__name__ != "MultiplicativeLR"
        ]


@dataclass(frozen=True)
class ChainedScheduler(TorchScheduler):
    """Apply several schedulers at the same time. Each one changes the rate that the schedulers before it have set.

    ::

        lr(t) = lr_0 * factor_1(t) * factor_2(t) * ...

    The formula above holds if all schedulers multiply the rate by a factor. As in torch, a CosineAnnealingLR multiplies
    ``lr - eta_min`` by a factor, not ``lr``. A SequentialLR in the chain sets a new rate at each milestone. After a
    milestone, the other schedulers multiply the new rate. SSR stretches all schedulers.

    LambdaLR, CosineAnnealingWarmRestarts, CyclicLR and OneCycleLR set the rate at every step, so they cannot be in a
    chain. To multiply one of these four with other schedulers of this package, write a list of schedulers instead of a
    chain.

    Args:
        schedulers: A list of schedulers, or a mapping from name to scheduler, in order. All schedulers step at the
            ``pace`` of the chain.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Raises:
        InputError: There are no schedulers, or a scheduler cannot be in a chain.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> from ssr_hydra.torch_schedulers import ConstantLR, ExponentialLR
        >>> both = ChainedScheduler([ConstantLR(0.5, 2), ExponentialLR(0.5)], pace="batch")
        >>> course = both.bind(State(max_duration="4ba"), ssr=2)
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in (0, 2, 4)]
        [[0.5], [0.25], [0.25]]
    """

    schedulers: Parts

    def __post_init__(self) -> None:
        super().__post_init__()
        put(self, schedulers=_check_parts(self.schedulers))

    @property
    def natural_pace(self) -> str:
        return _pace_of(self.schedulers)

    def course(self, steps: Steps, again: int = 0) -> Course:
        return chain(links(_named(self.schedulers), steps, again), steps)


def links(named: list[tuple[str, TorchScheduler]], steps: Steps, again: int = 0) -> list[Link]:
    """Convert pairs (path, scheduler) to the links of a chain."""
    all_links = []
    for place, part in named:
        with within(place):
            course = part.course(steps, again)
        resets: list[Time] = []
        if isinstance(part, SequentialLR) and isinstance(course, Phases):
            one = steps.one * Fraction(again)
            resets = [time - steps.run.convert(one, time.unit, "milestones") for time in part.resets(steps)]
        all_links.append(Link(place, type(part).__name__, course, resets))
    return all_links


def together(entries: Sequence[tuple[str, TorchScheduler, str]], run: Run) -> list[tuple[str, Course, str]]:
    """Combine the schedulers of one optimizer. As in torch, each one changes the rate set by those before it.

    Args:
        entries: A tuple (path, scheduler, pace) for each scheduler.
        run: The run.

    Returns:
        A list of tuples (path, course, pace). If there are several courses, the caller multiplies them.

    Raises:
        UnchainableError: The schedulers cannot be in one chain, or some of them cannot be combined with schedulers that
            have a different pace.
        InputError: A time cannot be converted.
    """
    pairs = [(links([(place, part)], Steps.at(run, pace))[0], pace) for place, part, pace in entries]
    if len(pairs) < 2 or all(is_factor(link) for link, _ in pairs):
        return [(link.place, link.course, pace) for link, pace in pairs]
    paces = {pace for _, pace in pairs}
    for link, _ in pairs:
        if not link.course.chains:
            chain([other for other, _ in pairs], Steps.at(run, EPOCH))  # raises the error
        if len(paces) > 1 and not is_factor(link):
            rule = "must have the same pace as the other schedulers, because they use the rate that this one sets"
            raise UnchainableError(link.place, link.name, rule, f"set pace={BATCH} or pace={EPOCH} for all schedulers")
    pace = paces.pop()
    return [(pairs[0][0].place, chain([link for link, _ in pairs], Steps.at(run, pace)), pace)]
