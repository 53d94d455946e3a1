"""The curve of one schedule over one run: vertices for the figure, and landmarks for the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from ssr_hydra.errors import InputError, MissingRateError
from ssr_hydra.previews.landmarks import find, holds_functions, needs_only_epochs
from ssr_hydra.previews.sampling import sampled
from ssr_hydra.schedulers.protocol import bind_to
from ssr_hydra.schedulers.run import Run
from ssr_hydra.schedulers.timeline import Timeline
from ssr_hydra.state import State
from ssr_hydra.time import Number, Time, TimeUnit, check_ssr

_FRACS = {"start": Fraction(0), "25 %": Fraction(1, 4), "50 %": Fraction(1, 2), "75 %": Fraction(3, 4)}


class Landmark(NamedTuple):
    """A named time of a run, such as the end of the warmup.

    Attributes:
        label: Name of the event at this time. The names of several events are separated by commas.
        time: Exact time since the start of the scaled run.
        alpha: The multiplier at this time; at the end of the run, the last multiplier before the end.
    """

    label: str
    time: Time
    alpha: float


@dataclass(frozen=True)
class PreviewCurve:
    """The curve of a schedule over a run.

    Attributes:
        name: Name in the legend and the table.
        ssr: The scale schedule ratio.
        max_duration: Length of the scaled run.
        lr: The learning rate that alpha multiplies; None if it is unknown.
        times: Times of the vertices, in the unit of ``max_duration``. The time of a jump at a landmark appears
            twice.
        alphas: alpha at each of these times.
        landmarks: Landmarks in order of time, from the start to the end.
    """

    name: str
    ssr: float
    max_duration: Time
    lr: float | None
    times: tuple[float, ...]
    alphas: tuple[float, ...]
    landmarks: tuple[Landmark, ...]

    @property
    def unit(self) -> TimeUnit:
        """The unit of ``times``."""
        return self.max_duration.unit


def draw_out(
    scheduler: Any,
    *,
    name: str,
    max_duration: Time,
    ssr: Number | str,
    rates: Mapping[str, Number | None],
    lr: float | None,
    path: str = "",
) -> PreviewCurve:
    """Compute the curve of one schedule over one run whose length at SSR 1 is ``max_duration``.

    ``rates`` has the keys ``dataloader_len``, ``samples_per_batch`` and ``tokens_per_batch``. An unknown rate is None.
    ``path`` is the name of the schedule in error messages.
    """
    sigma = check_ssr(ssr)
    length = max_duration * sigma
    run_rates = dict(rates)
    if length.unit is TimeUnit.EPOCH and run_rates["dataloader_len"] is None:
        if holds_functions(scheduler):
            rule = "must be set, because the run is measured in epochs and a custom function may read timestamp.batch"
            raise MissingRateError("dataloader_len", None, rule, "give dataloader_len")
        if needs_only_epochs(scheduler):
            run_rates["dataloader_len"] = 1  # any number gives the same curve
    state = State(max_duration=length, **run_rates)  # type: ignore[arg-type]
    try:
        return _follow(scheduler, name, Run.of(state, sigma), lr)
    except InputError as error:
        raise (error if not path or error.field in (*rates, "ssr") else error.within(path)) from None


def _follow(scheduler: Any, name: str, run: Run, lr: float | None) -> PreviewCurve:
    length = run.max_duration
    assert length is not None
    unit, end = length.unit, Fraction(length.value)
    timeline = Timeline(unit, run.dataloader_len, run.samples_per_batch, run.tokens_per_batch)
    run.state.timestamp = timeline.at(Fraction(0))
    curve = bind_to(scheduler, run)

    def alpha(x: Fraction) -> float:
        return curve(timeline.at(x))

    labels: dict[Fraction, list[str]] = {}
    for label, time in find(scheduler, run, unit, end):
        labels.setdefault(time, []).append(label)
    breaks = sorted({Fraction(0), end, *labels})
    times, alphas = zip(*sampled(alpha, breaks, is_exact=not holds_functions(scheduler)), strict=True)
    for label, frac in _FRACS.items():
        labels.setdefault(end * frac, []).insert(0, label)
    landmarks = [
        Landmark(", ".join(dict.fromkeys(names)), Time(time, unit), alpha(time))
        for time, names in sorted(labels.items())
    ]
    return PreviewCurve(
        name=name,
        ssr=float(run.ssr),
        max_duration=length,
        lr=lr,
        times=times,
        alphas=alphas,
        landmarks=(*landmarks, Landmark("end", length, alphas[-1])),
    )
