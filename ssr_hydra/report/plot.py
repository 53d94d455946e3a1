"""Draw single figures of a report, for example in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssr_hydra.errors import MissingValueError
from ssr_hydra.report.content import Options, build
from ssr_hydra.report.figures import draw, drawable
from ssr_hydra.studies.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["doublings", "frontier", "learning_curves", "learning_rates", "tolerances"]


def frontier(study: Study, **options: Any) -> Figure:
    """Draw quality against time. The ``options`` are the arguments of :class:`~ssr_hydra.report.Options`.

    Example:
        >>> from ssr_hydra.studies import load
        >>> frontier(load("studies/digits"), equal="steps").savefig("frontier.pdf")  # doctest: +SKIP
    """
    return _figure("frontier", study, options)


def doublings(study: Study, **options: Any) -> Figure:
    """Draw the gain of each doubling of the training; see :func:`frontier` for the arguments."""
    return _figure("doublings", study, options)


def tolerances(study: Study, **options: Any) -> Figure:
    """Draw the recommended SSR against the tolerance; see :func:`frontier` for the arguments."""
    return _figure("tolerances", study, options)


def learning_curves(study: Study, **options: Any) -> Figure:
    """Draw the metric over training; see :func:`frontier` for the arguments."""
    return _figure("learning_curves", study, options)


def learning_rates(study: Study, **options: Any) -> Figure:
    """Draw the learning rates of the schedules; see :func:`frontier` for the arguments."""
    return _figure("learning_rates", study, options)


def _figure(name: str, study: Study, options: dict[str, Any]) -> Figure:
    content = build(study, Options(**options))
    if name not in (names := drawable(content)):
        source = ", ".join(map(str, study.sources)) or None
        rule = f"has no data for the figure {name}"
        raise MissingValueError("study", source, rule, f"draw {' or '.join(names)} instead")
    return draw(content, name)
