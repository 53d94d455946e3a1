"""Figures for a notebook."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from study_runs import study_of

from ssr_hydra.errors import InputError
from ssr_hydra.report import Content, plot


def test_each_figure_is_a_function_of_a_study(content: Content) -> None:
    for name in plot.__all__:
        made = getattr(plot, name)(content.study, tolerance=0.01)
        assert isinstance(made, Figure)
        assert made.axes


def test_options_are_those_of_a_report(content: Content) -> None:
    assert plot.frontier(content.study, equal="seconds").axes[0].get_xlabel().startswith("Training time")
    with pytest.raises(InputError, match=r"^tolerance="):
        plot.frontier(content.study, tolerance=-1)


def test_figure_of_what_a_study_has_not_is_refused() -> None:
    with pytest.raises(InputError, match=r"^study=.*must have evaluations to draw learning_curves"):
        plot.learning_curves(study_of({"a": {1.0: [0.5]}}))


def test_study_in_a_notebook_is_a_table(content: Content) -> None:
    html = study_of({"<b>": {1.0: [0.5, 0.7], 2.0: [0.8]}})._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<td>0.6</td>" in html
    assert "truncate" in content.study._repr_html_()
