"""The function ``ssr_hydra.preview`` and the class of its result."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssr_hydra.drawing import FORMATS, render
from ssr_hydra.errors import ConflictError, MissingValueError, PathError, RangeError, UnknownNameError, WrongTypeError
from ssr_hydra.files import check_path
from ssr_hydra.previews.figure import figure
from ssr_hydra.previews.schedule_curves import PreviewCurve, draw_out
from ssr_hydra.previews.table import table
from ssr_hydra.schedulers import SchedulerLike
from ssr_hydra.schedulers.arguments import multiplier
from ssr_hydra.schedulers.protocol import check_scheduler
from ssr_hydra.state import State
from ssr_hydra.time import Number, TimeLike, check_ssr

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DEFAULT_FORMATS = ("png", "svg")
_MOST_CURVES = 64


@dataclass(frozen=True)
class Preview:
    """The curves of schedules. Each curve covers one run.

    Attributes:
        curves: A :class:`PreviewCurve` for each schedule and scale schedule ratio.
    """

    curves: tuple[PreviewCurve, ...]

    def table(self) -> str:
        """Return a text table: time, fraction of the run, alpha and learning rate at each landmark of each curve."""
        return table(self.curves)

    def _repr_html_(self) -> str:
        picture = base64.b64encode(render(self.figure(), "svg")).decode()
        image = f'<img alt="schedules" src="data:image/svg+xml;base64,{picture}">'
        return f"{image}<pre>{escape(self.table())}</pre>"

    def figure(self, *, axis: str | None = None, normalize: bool = False, title: str | None = None) -> Figure:
        """Return the curves as a matplotlib figure with the text width of a paper.

        Args:
            axis: ``"lr"`` for the absolute learning rate or ``"alpha"`` for the multiplier. None means ``"lr"`` if all
                learning rates are known, otherwise ``"alpha"``.
            normalize: Whether the horizontal axis shows the fraction of the run, so all curves have the same width.
            title: A title above the curves; None for no title.

        Raises:
            InputError: The axis is unknown; its values are unknown or too large; or ``normalize`` is false and the
                lengths of the runs have different units.
        """
        if axis is None:
            axis = "alpha" if any(curve.lr is None for curve in self.curves) else "lr"
        return figure(self.curves, axis=axis, normalize=normalize, title=title)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        axis: str | None = None,
        normalize: bool = False,
        title: str | None = None,
    ) -> tuple[Path, ...]:
        """Write the figure to one or several files. If a file cannot be written, no file changes.

        Args:
            path: A file with the suffix ``.png``, ``.svg`` or ``.pdf``. Without a suffix, the method writes a PNG and
                an SVG. Missing folders are created.
            axis: See :meth:`figure`.
            normalize: See :meth:`figure`.
            title: See :meth:`figure`.

        Returns:
            The paths of the written files. Equal curves give equal files.

        Raises:
            InputError: The suffix is unknown, a file cannot be written, or :meth:`figure` refuses an argument.
        """
        targets = _targets(path)
        fig = self.figure(axis=axis, normalize=normalize, title=title)
        _write({target: render(fig, target.suffix[1:].lower()) for target in targets})
        return targets


def _targets(place: Any) -> tuple[Path, ...]:
    fix = "write e.g. figures/schedules.svg, or figures/schedules for a PNG and an SVG"
    name = os.fspath(place) if isinstance(place, os.PathLike) else place
    if not isinstance(name, str) or "\0" in name:
        raise PathError("path", place, "must be the name of a file", fix)
    path = check_path(name, "path")
    if not path.name or path.is_dir() or name.endswith(("/", os.sep)):
        raise PathError("path", name, "must be the name of a file, not of a folder", fix)
    if path.suffix[1:].lower() in FORMATS:
        return (path,)
    if re.fullmatch(r"\.[A-Za-z]\w{1,3}", path.suffix):
        raise UnknownNameError("path", str(path), f"must end in one of {', '.join(FORMATS)}", fix)
    return tuple(path.with_name(f"{path.name}.{suffix}") for suffix in _DEFAULT_FORMATS)


def _write(contents: Mapping[Path, bytes]) -> None:
    """Write temporary files, and rename all of them at the end, so that no file is ever incomplete."""
    temporary = {path: path.with_name(f".{secrets.token_hex(4)}.tmp") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary[path].write_bytes(content)
        for path in contents:
            temporary[path].replace(path)
    except OSError as error:
        rule = f"cannot be written: {error.strerror or error}"
        raise PathError("path", str(path), rule, "choose a different path") from None
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError):
                path.unlink()


def preview(
    schedulers: SchedulerLike | Mapping[str, SchedulerLike] | Sequence[SchedulerLike],
    *,
    max_duration: TimeLike,
    ssr: Number | Iterable[Number] = (1.0,),
    dataloader_len: int | None = None,
    samples_per_batch: Number | None = None,
    tokens_per_batch: Number | None = None,
    lr: float | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Preview:
    """Compute the curve of each schedule over its run, without training, data or torch.

    ::

        lr(t) = lr * alpha(t / ssr),    0 <= t < max_duration * ssr

    t is the time since the start of the scaled run. Landmarks, such as the end of a warmup, have exact times.

    Args:
        schedulers: One scheduler; a mapping from name to scheduler; or a sequence of schedulers, which get the names of
            their classes. The figure has a curve for each scheduler. To multiply schedulers, use ``ProductScheduler``.
        max_duration: Length of the run at SSR 1.
        ssr: One scale schedule ratio or several. Each schedule is drawn at each ratio.
        dataloader_len: Batches per epoch; needed only by schedules that mix epochs with other units.
        samples_per_batch: Samples per batch; needed only by schedules that mix samples with other units.
        tokens_per_batch: Tokens per batch; needed only by schedules that mix tokens with other units.
        lr: The optimizer's learning rate. If it is None, the table and the figure show only alpha.
        path: Path of the figure to write; see :meth:`Preview.save`. None writes no file.

    Raises:
        MissingRateError: A schedule needs ``dataloader_len``, ``samples_per_batch`` or ``tokens_per_batch``, but this
            argument is None.
        InputError: The times of a schedule are invalid for this run length, or an argument is out of range.

    Example:
        >>> from ssr_hydra.schedulers import LinearWithWarmupScheduler
        >>> shown = preview(LinearWithWarmupScheduler("0.1dur"), max_duration="20ep", ssr=[0.5, 1], lr=0.4)
        >>> [(landmark.label, str(landmark.time), landmark.alpha) for landmark in shown.curves[0].landmarks[1:4]]
        [('end of warmup', '1ep', 1.0), ('25 %', '2.5ep', 0.8333333333333334), ('50 %', '5ep', 0.5555555555555556)]
    """
    length = State(max_duration=max_duration).max_duration
    if length is None:
        raise WrongTypeError("max_duration", None, "must be the length of the run", "write e.g. '10ep'")
    rates = {
        "dataloader_len": dataloader_len,
        "samples_per_batch": samples_per_batch,
        "tokens_per_batch": tokens_per_batch,
    }
    named, ratios, lr = _schedulers_by_name(schedulers), _ratios(ssr), check_lr(lr)
    check_count(len(named) * len(ratios))
    curves = (
        draw_out(
            each, name=name, max_duration=length, ssr=ratio, rates=rates, lr=lr, path="" if len(named) == 1 else name
        )
        for name, each in named.items()
        for ratio in ratios
    )
    result = Preview(tuple(curves))
    if path is not None:
        result.save(path)
    return result


def check_lr(lr: Any) -> float | None:
    """Return a learning rate as a float; None stays None. Raise an InputError if the rate is invalid."""
    return None if lr is None else multiplier(lr, "lr")


def _ratios(ssr: Any) -> tuple[Fraction, ...]:
    try:
        ratios = (ssr,) if isinstance(ssr, str) else tuple(ssr)
    except TypeError:  # ssr is one number, or a 0-d array, whose __iter__ raises this error
        ratios = (ssr,)
    if not ratios:
        raise MissingValueError("ssr", [], "must name at least one ratio", "write e.g. (0.5, 1)")
    return tuple(dict.fromkeys(map(check_ssr, ratios)))


def check_count(count: int) -> None:
    """Raise an InputError if there are too many curves for one figure."""
    if count > _MOST_CURVES:
        rule = f"a figure shows at most {_MOST_CURVES} curves"
        raise RangeError("curves", count, rule, "draw fewer schedules or ratios")


def _schedulers_by_name(schedulers: Any) -> dict[str, Any]:
    if isinstance(schedulers, Mapping):
        named = {str(name): scheduler for name, scheduler in schedulers.items()}
    else:
        is_several = isinstance(schedulers, Sequence) and not isinstance(schedulers, str)
        sequence = schedulers if is_several else [schedulers]
        names = [_name_of(scheduler) for scheduler in sequence]
        named = dict(zip(names, sequence, strict=True))
        if len(named) < len(names):
            rule = "must have different names, but two schedulers have the same name"
            raise ConflictError("schedulers", names, rule, "pass a mapping from name to scheduler")
    if not named:
        rule = "must name at least one schedule"
        raise MissingValueError("schedulers", schedulers, rule, "pass e.g. LinearScheduler()")
    for name, scheduler in named.items():
        check_scheduler(scheduler, f"schedulers[{name!r}]")
    return named


def _name_of(scheduler: Any) -> str:
    """Return the name of a curve: ``cosine annealing`` for ``CosineAnnealingScheduler()``, or a function's own name."""
    if name := getattr(scheduler, "__name__", None):
        return str(name)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", type(scheduler).__name__.removesuffix("Scheduler")).lower()
