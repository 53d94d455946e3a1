"""Chains: several torch schedulers that change the same learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ssr_hydra.errors import ConflictError
from ssr_hydra.time import Time
from ssr_hydra.torch_schedulers.base import Course, Steps
from ssr_hydra.torch_schedulers.cosines import Cosine
from ssr_hydra.torch_schedulers.moments import moment


class UnchainableError(ConflictError):
    """The combination of schedulers is not a function of time. Only torch itself can run these schedulers."""


class Link(NamedTuple):
    """One scheduler of a chain.

    Attributes:
        place: Path of the scheduler in the config or arguments, for errors.
        name: Name of the scheduler's class.
        course: The course that the scheduler has in the run without the other schedulers.
        resets: The times at which the scheduler replaces the current rate.
    """

    place: str
    name: str
    course: Course
    resets: Sequence[Time] = ()


def chain(links: list[Link], steps: Steps) -> Course:
    """Return the course of a chain.

    Raises:
        UnchainableError: The schedulers cannot be in one chain, e.g. because one overwrites the others' rates.
    """
    if len(links) == 1:
        return links[0].course
    fix = "use scheduler=product with schedulers of this package"
    for link in links:
        if not link.course.chains:
            rule = "cannot be in a chain, because it overwrites the rate of the other schedulers at every step"
            raise UnchainableError(link.place, link.name, rule, fix)
    cosines = [link for link in links if isinstance(link.course, Cosine)]
    resetting = [link for link in links if link.resets]
    if cosines and resetting:
        first = resetting[0]
        rule = f"cannot be in a chain with {cosines[0].name}, because {first.name} replaces the rate at its milestones"
        raise UnchainableError(first.place, first.name, rule, f"move {cosines[0].name} into {first.name}")
    for link in links:
        if getattr(link.course, "courses", None) and any(isinstance(c, Cosine) for c in all_courses(link.course)):
            rule = "cannot be in a chain, because it contains a CosineAnnealingLR"
            raise UnchainableError(link.place, link.name, rule, fix)
    courses = [link.course for link in links]
    if cosines:
        return _Recursion(courses, steps)
    return _Resetting(links, steps) if resetting else Product(courses)


def is_factor(link: Link) -> bool:
    """Return whether a scheduler multiplies the rate by a factor that does not depend on other schedulers."""
    return link.course.chains and not link.resets and not any(isinstance(c, Cosine) for c in all_courses(link.course))


def all_courses(course: Course) -> list[Course]:
    """Return a course and all courses inside it."""
    inner = getattr(course, "courses", [])
    return [course, *(deeper for part in inner for deeper in all_courses(part))]


class Product(Course):
    """A course that is the product of several factors."""

    chains = True

    def __init__(self, courses: Sequence[Course]) -> None:
        self.courses = courses

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        rates = list(bases)
        for course in self.courses:
            rates = course.rates(timestamp, rates)
        return rates

    def growth(self, before: Any, after: Any, count: int) -> list[float]:
        factors = [1.0] * count
        for course in self.courses:
            factors = _times(factors, course.growth(before, after, count))
        return factors


class _Recursion(Course):
    """A chain of factors and cosines. As in torch, each step computes the rate from the rate before the step."""

    chains = True

    def __init__(self, courses: Sequence[Course], steps: Steps) -> None:
        self.courses = courses
        self._steps, self._count = steps, steps.count()
        self._known: tuple[int, list[float], list[float]] | None = None  # cache: step, initial rates, rates
        cosines = [course for course in courses if isinstance(course, Cosine)]
        self._falls = [cosine.tau for cosine in cosines] if not any(cosine.eta_min for cosine in cosines) else None
        self._product = Product(courses)

    def _at(self, step: int) -> Any:
        return moment(self._steps.run, self._steps.one * step)

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        if self._falls is not None and all(tau(timestamp) <= 1.0 for tau in self._falls):
            return self._product.rates(timestamp, bases)  # this product equals the recursion below
        count = self._count(timestamp)
        whole = math.floor(count)
        rates = self._rates_at(whole, list(bases))
        return rates if count == whole else self._advance(rates, bases, self._at(whole), timestamp)

    def _rates_at(self, step: int, bases: list[float]) -> list[float]:
        if self._known is not None and self._known[0] <= step and self._known[1] == bases:
            first, _, rates = self._known
        else:
            first, rates = 0, bases
            for course in self.courses:
                rates = course.rates(self._at(0), rates)
        before = self._at(first)
        for number in range(first + 1, step + 1):
            after = self._at(number)
            rates = self._advance(rates, bases, before, after)
            before = after
        self._known = (step, bases, rates)
        return rates

    def _advance(self, rates: Sequence[float], bases: Sequence[float], before: Any, after: Any) -> list[float]:
        new_rates = list(rates)
        for course in self.courses:
            if isinstance(course, Cosine):
                new_rates = course.stepped(new_rates, bases, before, after)
            else:
                new_rates = _times(new_rates, course.growth(before, after, len(bases)))
        return new_rates


class _Resetting(Course):
    """A chain of factors and sequences. A sequence sets a rate at each milestone. The factors multiply this rate."""

    chains = True

    def __init__(self, links: Sequence[Link], steps: Steps) -> None:
        self.courses = [link.course for link in links]
        run, one = steps.run, steps.one
        events = []
        for number, link in enumerate(links):
            for time in link.resets:
                clock = run.clock(time.unit, "milestones", time)
                # At a milestone, the sequence sets the rate before the later schedulers of the chain step. So they
                # multiply the new rate.
                before = moment(run, time - run.convert(one, time.unit, "milestones"))
                sinces = [moment(run, time) if i < number else before for i in range(len(links))]
                key = run.convert(time, one.unit, "milestones").value
                events.append((key, number, (clock.read, clock.factor, clock.points[1], number, sinces)))
        self._events = [event for _, _, event in sorted(events, key=lambda item: item[:2], reverse=True)]

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        last = next((event for event in self._events if event[0](timestamp) * event[1] >= event[2]), None)
        if last is None:
            return Product(self.courses).rates(timestamp, bases)
        number, sinces = last[3:]
        rates = self.courses[number].rates(timestamp, bases)
        for i, course in enumerate(self.courses):
            if i != number:
                rates = _times(rates, course.growth(sinces[i], timestamp, len(bases)))
        return rates


def _times(rates: Sequence[float], factors: Sequence[float]) -> list[float]:
    return [rate * factor for rate, factor in zip(rates, factors, strict=True)]
