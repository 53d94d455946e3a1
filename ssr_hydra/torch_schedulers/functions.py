"""torch's schedulers that compute the learning rate with the user's functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ssr_hydra.errors import MismatchError, RangeError, UnsupportedError, WrongTypeError
from ssr_hydra.schedulers.arguments import put
from ssr_hydra.torch_schedulers.base import Course, Steps, TorchScheduler, per_group

Function = Callable[[int], float]
Functions = Function | Sequence[Function]


def check_function(value: Any, name: str) -> Any:
    """Check that a value is a function and not a class. Return the function."""
    if not callable(value) or isinstance(value, type):
        rule = "must be a function of the step"
        raise WrongTypeError(name, value, rule, "use a function of a trusted module, with _partial_: true")
    return value


def _check_functions(value: Any, name: str) -> Any:
    if isinstance(value, (list, tuple)):
        if not value:
            rule = "a list must have one function per param group"
            raise MismatchError(name, list(value), rule, "pass one function without a list")
        return tuple(check_function(part, f"{name}[{i}]") for i, part in enumerate(value))
    return check_function(value, name)


def asked(function: Callable[[Any], Any], step: float, name: str) -> float:
    """Call a user's function with a step: an int, or a float for a time between two steps. Return a float.

    Raises:
        InputError: The function does not accept a fraction of a step, or does not return a finite number.
    """
    if isinstance(step, int):
        value = function(step)
    else:
        try:
            value = function(step)
        except (TypeError, ValueError, LookupError) as error:
            rule = f"does not accept a fraction of a step ({step:g}), but this ssr needs fractions ({error})"
            fix = "write lambda step: f(int(step)), which keeps each value until the next whole step"
            raise UnsupportedError(name, getattr(function, "__name__", function), rule, fix) from error
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        rule = f"must return a finite number (got this value at step {step})"
        raise RangeError(name, value, rule, "check its formula")
    return number


class _Lambda(Course):
    def __init__(self, functions: Any, count: Callable[[Any], int | float]) -> None:
        self._functions, self._count = functions, count

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        step, functions = self._count(timestamp), self._functions
        if callable(functions):
            factor = asked(functions, step, "lr_lambda")
            return [base * factor for base in bases]
        own = per_group(functions, len(bases), "lr_lambda")
        return [base * asked(function, step, "lr_lambda") for function, base in zip(own, bases, strict=True)]


@dataclass(frozen=True)
class LambdaLR(TorchScheduler):
    """Multiply the initial learning rate by a function of the step.

    ::

        lr(t) = lr_0 * lr_lambda(t)

    SSR stretches the time of the function. The argument of the function is ``t / ssr``: an int if this number is whole,
    else a float. Some functions need whole steps, because they compare steps (``step == 5``) or read a table. Wrap such
    a function: ``lambda step: f(int(step))`` keeps each value until the next whole step.

    Args:
        lr_lambda: A function of the step, or a list with one function for each param group.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Raises:
        InputError: ``lr_lambda`` is not a function, does not return a finite number, or does not accept the fractions
            of steps at this ssr.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = LambdaLR(lambda step: 1 / (1 + step), pace="batch").bind(State(max_duration="4ba"), ssr=2)
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in (0, 2, 6)]
        [[1.0], [0.5], [0.25]]
    """

    lr_lambda: Functions

    def __post_init__(self) -> None:
        super().__post_init__()
        put(self, lr_lambda=_check_functions(self.lr_lambda, "lr_lambda"))

    def course(self, steps: Steps, again: int = 0) -> Course:  # noqa: ARG002 # the rate is set at every step
        first = 1 / steps.run.ssr
        if first.denominator != 1:  # check before training that the function accepts a fraction of a step
            for function in self.lr_lambda if isinstance(self.lr_lambda, tuple) else (self.lr_lambda,):
                asked(function, float(first), "lr_lambda")
        return _Lambda(self.lr_lambda, steps.count())


class Products(Course):
    """The factor of MultiplicativeLR after k steps: the product of the function's values at steps 1 to k."""

    chains = True

    def __init__(self, functions: Any, count: Callable[[Any], int | float], again: int) -> None:
        self._functions, self._count, self._again = functions, count, again
        self._known: dict[int, list[float]] = {}  # cache: by id of a function, its product at each step
        self._spans: dict[int, tuple[int, int, float]] = {}  # cache: first and last step, and the product

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        step = math.floor(self._count(timestamp))
        own = per_group(self._functions, len(bases), "lr_lambda")
        rates = [base * self._product(function, step) for function, base in zip(own, bases, strict=True)]
        if self._again:
            rates = [rate * factor for rate, factor in zip(rates, self.at_zero(len(bases)), strict=True)]
        return rates

    def _product(self, function: Function, step: int) -> float:
        products = self._known.setdefault(id(function), [1.0])
        while len(products) <= step:
            products.append(products[-1] * asked(function, len(products), "lr_lambda"))
        return products[step]

    def growth(self, before: Any, after: Any, count: int) -> list[float]:
        first, last = math.floor(self._count(before)), math.floor(self._count(after))
        return [self._span(function, first, last) for function in per_group(self._functions, count, "lr_lambda")]

    def _span(self, function: Function, first: int, last: int) -> float:
        """Return the product of the function's values at steps ``first + 1`` to ``last``."""
        begin, end, product = self._spans.get(id(function), (first, first, 1.0))
        if begin != first or end > last:
            end, product = first, 1.0
        for step in range(end + 1, last + 1):
            product *= asked(function, step, "lr_lambda")
        self._spans[id(function)] = first, last, product
        return product

    def at_zero(self, count: int) -> list[float]:
        """Return the value of each group's function at step 0.

        torch multiplies the rate by this value at the start of a phase with a MultiplicativeLR.
        """
        return [asked(function, 0, "lr_lambda") for function in per_group(self._functions, count, "lr_lambda")]


@dataclass(frozen=True)
class MultiplicativeLR(TorchScheduler):
    """At every step, multiply the learning rate by a function of the step.

    ::

        lr(t) = lr_0 * lr_lambda(1) * lr_lambda(2) * ... * lr_lambda(floor(t))

    SSR stretches the steps: the k-th factor applies at ``k * ssr``. The argument of the function is always whole.

    Args:
        lr_lambda: A function of the step, or a list with one function for each param group.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Raises:
        InputError: ``lr_lambda`` is not a function, or does not return a finite number.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = MultiplicativeLR(lambda step: 1 / step, pace="batch").bind(State(max_duration="4ba"), ssr=2)
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in (2, 4, 5)]
        [[1.0], [0.5], [0.5]]
    """

    lr_lambda: Functions

    def __post_init__(self) -> None:
        super().__post_init__()
        put(self, lr_lambda=_check_functions(self.lr_lambda, "lr_lambda"))

    def course(self, steps: Steps, again: int = 0) -> Course:
        return Products(self.lr_lambda, steps.count(), again)
