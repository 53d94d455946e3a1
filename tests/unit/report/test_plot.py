"""Figures for a notebook."""

from matplotlib.figure import Figure
from refusals import refused
from report_study import write_study
from study_runs import study_of

from ssr_hydra.errors import MissingValueError, RangeError
from ssr_hydra.report import plot
from ssr_hydra.studies import load


def test_each_plot_function_accepts_a_study_and_report_options(tmp_path):
    study = load(write_study(tmp_path / "s", ("wsd",), (0.5, 1.0, 2.0), (0, 1), ("",)))
    for name in plot.__all__:
        figure = getattr(plot, name)(study, equal="seconds")
        assert isinstance(figure, Figure)
        if name == "frontier":
            assert figure.axes[0].get_xlabel().startswith("Training time")
    with refused("tolerance", RangeError):
        plot.frontier(study, tolerance=-1)


def test_figure_that_needs_missing_data_is_refused():
    with refused("study", MissingValueError):
        plot.learning_curves(study_of({"a": {1.0: [0.5]}}))


def test_notebook_shows_a_study_as_a_table(content):
    html = study_of({"<b>": {1.0: [0.5, 0.7], 2.0: [0.8]}})._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<td>0.6</td>" in html
    assert "truncate" in content.study._repr_html_()
