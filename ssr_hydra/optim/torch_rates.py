"""The learning rates that torch's schedulers set for one optimizer, without this package's multiplier alpha."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ssr_hydra import torch_schedulers as ours
from ssr_hydra.errors import ConflictError, InputError, within
from ssr_hydra.optim.alpha import set_lr, wrong_state
from ssr_hydra.optim.initial_values import FieldPlace, InitialValues
from ssr_hydra.optim.torch_schedulers import Description
from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Timestamp
from ssr_hydra.torch_schedulers import Course
from ssr_hydra.torch_schedulers.chains import UnchainableError
from ssr_hydra.torch_schedulers.combined import holds_phases, together
from ssr_hydra.torch_schedulers.plateau import Plateau

_ROUNDING = 1e-6  # the tolerance for rates in float32 tensors


@dataclass(frozen=True)
class SchedulerEntry:
    """A torch scheduler of the user.

    Attributes:
        field: Path of the scheduler in the config or arguments, for errors.
        description: The scheduler as a function of time; None if torch's own scheduler runs instead.
        instance: The torch scheduler that the user created; None if the scheduler comes from a config.
        pace: The length of one step of the scheduler: ``"batch"`` or ``"epoch"``.
    """

    field: str
    description: Description | None
    instance: LRScheduler | None
    pace: str


@dataclass
class _Part:
    field: str
    course: Course
    pace: str
    rates: list[float]


class TorchRates:
    """The learning rates that torch's schedulers set for one optimizer.

    Most schedulers are converted to functions of time. Several schedulers form a chain: as in torch, each scheduler
    changes the rate that the previous scheduler has set. Three kinds of schedulers are not converted:
    ReduceLROnPlateau, because it reads a metric; a custom class; and a chain in which schedulers overwrite each other's
    rates. The last two kinds run unchanged, and only at ssr 1. Checkpoints save the state of all three kinds.

    Args:
        entries: The schedulers of the optimizer, in order.
        runs_as_it_is: Whether a chain that cannot be converted may run unchanged. If false, such a chain is an error.
        is_new: True if the run starts, False if it resumes.
    """

    def __init__(
        self, optimizer: Optimizer, entries: Sequence[SchedulerEntry], run: Run, *, runs_as_it_is: bool, is_new: bool
    ) -> None:
        self.optimizer = optimizer
        # If the user created a torch scheduler, its constructor has already set rates.
        is_driven = any(entry.instance is not None for entry in entries)
        self._initial = InitialValues((optimizer,), begins=is_new and not is_driven)
        self._written: dict[str | int, float] = {}
        self._parts: list[_Part] = []
        self._plateaus: list[Plateau] = []
        self._as_they_are: list[tuple[LRScheduler, str]] = []
        self._waiting: list[ReduceLROnPlateau] = []  # schedulers that the user created and that need a metric
        functions = self._sort(entries, run)
        stepped = [entry for entry in entries if not _waits(entry)]
        if len(functions) < len(stepped) or (functions and self._waiting):
            self._run_as_they_are(stepped)
        else:
            try:
                entries_of_time: Any = [(entry.field, entry.description, entry.pace) for entry in functions]
                self._parts = [_Part(*part, []) for part in together(entries_of_time, run)]
            except UnchainableError:
                if not runs_as_it_is or any(entry.instance is None for entry in functions):
                    raise
                self._run_as_they_are(functions)
        for part in self._parts:
            if part.course.has_momenta and not {"momentum", "betas"} & optimizer.defaults.keys():
                rule = f"must be False, because {type(optimizer).__name__} has no momentum"
                raise ConflictError(f"{part.field}.cycle_momentum", True, rule, "set cycle_momentum to False")
        # The rates that unchanged torch schedulers have set, without alpha.
        self._found = [_copy(group["lr"]) for group in optimizer.param_groups]
        self._follow()
        self._initial.settle()
        if is_driven and is_new:
            self._begin_where_torch_does()
        self._initial.remember(self._written)

    def _begin_where_torch_does(self) -> None:
        """Correct the initial rates if an earlier schedule used the optimizer, and the user has then set an ``lr``.

        Most torch schedulers multiply the current rate, so they start from the ``lr`` of the user. LambdaLR,
        CosineAnnealingWarmRestarts and SequentialLR compute the rate from ``initial_lr``, so they ignore this ``lr``.
        """
        courses = [part.course for part in self._parts]
        if self.runs_as_it_is or not all(course.chains and not holds_phases(course) for course in courses):
            return
        expected = list(self._bases)
        for course in courses:
            expected = course.rates(Timestamp(), expected)
        actual = [float(group["lr"]) for group in self.optimizer.param_groups]
        factors = [lr / first if first else 1.0 for lr, first in zip(actual, expected, strict=True)]
        if any(abs(factor - 1.0) > _ROUNDING for factor in factors):
            self._initial.correct([base * factor for base, factor in zip(self._bases, factors, strict=True)])

    @property
    def _bases(self) -> list[float]:
        return self._initial.values

    def _sort(self, entries: Sequence[SchedulerEntry], run: Run) -> list[SchedulerEntry]:
        """Store the schedulers that need a metric. Of the others, return those that are functions of time."""
        for entry in entries:
            if isinstance(entry.description, ours.ReduceLROnPlateau):
                with within(entry.field):
                    self._plateaus.append(entry.description.bind(run))
            elif isinstance(entry.instance, ReduceLROnPlateau):
                self._waiting.append(entry.instance)
        return [entry for entry in entries if entry.description is not None and not _waits(entry)]

    def _run_as_they_are(self, entries: Sequence[SchedulerEntry]) -> None:
        for entry in entries:
            if entry.instance is None:
                rule = (
                    "cannot be combined with a torch scheduler that only torch itself can run, such as a custom class"
                )
                raise ConflictError(
                    entry.field, type(entry.description).__name__, rule, "remove one of the two schedulers"
                )
            self._as_they_are.append((entry.instance, entry.pace))

    @property
    def needs_evaluation(self) -> bool:
        """True if a scheduler is a ReduceLROnPlateau, which needs a metric."""
        return bool(self._plateaus or self._waiting)

    @property
    def runs_as_it_is(self) -> bool:
        """True if a torch scheduler runs unchanged because it is not a function of time."""
        return bool(self._as_they_are or self._waiting)

    @property
    def drives_momentum(self) -> bool:
        """True if a scheduler also sets the momentum or the first beta."""
        return any(part.course.has_momenta for part in self._parts)

    def moves_by(self, pace: str) -> bool:
        """Return whether a scheduler steps once per ``pace``: ``"batch"`` or ``"epoch"``."""
        return any(part.pace == pace for part in self._parts) or any(own == pace for _, own in self._as_they_are)

    def refresh(self, pace: str, timestamp: Any) -> None:
        """Compute the rates of the schedulers that step once per ``pace``, at the end of this batch or epoch."""
        if self._initial.is_stale():
            self._follow()
        for part in self._parts:
            if part.pace == pace:
                try:
                    self._compute(part, timestamp)
                except InputError as error:
                    raise error.within(part.field) from None

    def _compute(self, part: _Part, timestamp: Any) -> None:
        # A single scheduler starts from the initial rates. Several schedulers start from 1, and `rates()` multiplies
        # the initial rates by all their results.
        bases = self._bases if len(self._parts) == 1 else [1.0] * len(self._bases)
        part.rates = part.course.rates(timestamp, bases)
        if part.course.has_momenta:
            momenta = part.course.momenta(timestamp, len(bases))
            for group, momentum in zip(self.optimizer.param_groups, momenta, strict=True):
                _set_momentum(group, momentum)

    def _follow(self) -> None:
        """After groups were added or loaded, read their initial rates, and extend the lists of rates."""
        self._initial.follow()
        groups = self.optimizer.param_groups
        self._found = [*self._found[: len(groups)], *(_copy(group["lr"]) for group in groups[len(self._found) :])]
        for part in self._parts:
            part.rates = [*part.rates, *([1.0] * (len(groups) - len(part.rates)))]

    def step(self, pace: str) -> None:
        """Step those unchanged torch schedulers that step once per ``pace`` (``"batch"`` or ``"epoch"``).

        First set the rates of their previous step, without alpha, because the schedulers multiply the current rate.
        """
        steps: list[Callable[[], object]] = [item.step for item, own in self._as_they_are if own == pace]
        if steps:
            self._on_own_rates(steps)

    def _on_own_rates(self, steps: Sequence[Callable[[], object]]) -> None:
        if self._initial.is_stale():
            self._follow()
        for group, rate in zip(self.optimizer.param_groups, self._found, strict=True):
            _put(group, rate)
        for step in steps:
            step()
        self._found = [_copy(group["lr"]) for group in self.optimizer.param_groups]

    def evaluated(self, metric: float, timestamp: Any) -> None:
        """Pass the value of the metric to the schedulers that need a metric."""
        if self._waiting:
            self._on_own_rates([lambda item=item: item.step(metric) for item in self._waiting])  # type: ignore[misc]
        for plateau in self._plateaus:
            plateau.evaluated(metric, timestamp, self.rates())

    def rates(self) -> list[float]:
        """Return the learning rate that torch's schedulers set for each group, without alpha."""
        if self._initial.is_stale():
            self._follow()
        if self._as_they_are or self._waiting:
            rates = [float(rate) for rate in self._found]
        elif len(self._parts) == 1:
            rates = list(self._parts[0].rates)
        else:
            rates = list(self._bases)
            for part in self._parts:
                rates = [value * factor for value, factor in zip(rates, part.rates, strict=True)]
        for plateau in self._plateaus:
            factors = plateau.factors(len(rates))
            rates = [value * factor for value, factor in zip(rates, factors, strict=True)]
        return rates

    def write(self, alpha: float) -> None:
        """Set the learning rate of every group to the rate of torch's schedulers multiplied by alpha."""
        for i, (group, value) in enumerate(zip(self.optimizer.param_groups, self.rates(), strict=True)):
            set_lr(group, value, alpha)
            self._written[i] = float(group["lr"])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedulers. The state is empty if all schedulers are functions of time."""
        state: dict[str, Any] = {}
        if self._plateaus:
            state["plateaus"] = [plateau.state_dict() for plateau in self._plateaus]
        if self.runs_as_it_is:
            state["schedulers"] = [item.state_dict() for item in self._stateful()]
            state["rates"] = [float(rate) for rate in self._found]
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of :meth:`state_dict`. Load the optimizer's state before this call."""
        own = self.state_dict()
        sizes = {key: len(value) for key, value in state.items()} if isinstance(state, Mapping) else None
        if sizes is None or {**sizes, "rates": 0} != {**{key: len(value) for key, value in own.items()}, "rates": 0}:
            raise wrong_state(state)
        for plateau, memory in zip(self._plateaus, state.get("plateaus", []), strict=True):
            plateau.load_state_dict(memory)
        for item, memory in zip(self._stateful(), state.get("schedulers", []), strict=True):
            item.load_state_dict(dict(memory))
        self._follow()
        for i, (rate, value) in enumerate(zip(self._found, state.get("rates", []), strict=False)):
            self._found[i] = rate.fill_(value) if isinstance(rate, Tensor) else value

    def _stateful(self) -> list[LRScheduler]:
        return [*(item for item, _ in self._as_they_are), *self._waiting] if self.runs_as_it_is else []


def _waits(entry: SchedulerEntry) -> bool:
    """Return whether an entry is a ReduceLROnPlateau, which waits for a metric."""
    return isinstance(entry.description, ours.ReduceLROnPlateau) or isinstance(entry.instance, ReduceLROnPlateau)


def _set_momentum(group: dict[str, Any], value: float) -> None:
    place = FieldPlace("betas", 0) if "betas" in group else FieldPlace("momentum")
    place.fill(group, value)


def _copy(rate: Any) -> Any:
    return rate.clone() if isinstance(rate, Tensor) else rate


def _put(group: dict[str, Any], rate: Any) -> None:
    # CUDA graphs and compiled optimizer steps read this tensor, so change it in place.
    if isinstance(group["lr"], Tensor):
        group["lr"].copy_(rate)
    else:
        group["lr"] = rate
