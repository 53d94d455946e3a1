"""Figures of a report: deterministic bytes, and names that are drawn unchanged."""

import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise

import pytest
from matplotlib.colors import to_hex
from report_study import write_run
from study_runs import study_of

from ssr_hydra.drawing import render
from ssr_hydra.report import Options, build
from ssr_hydra.report.figure_axes import printable
from ssr_hydra.report.figures import draw, drawable, figures
from ssr_hydra.report.page_data import payload
from ssr_hydra.report.tables import steps_table
from ssr_hydra.studies import from_csv, load
from ssr_hydra.studies.study import CONTROLS


@pytest.fixture(scope="module")
def all_figures(content):
    return figures(content)


def test_same_records_give_bitwise_equal_figures(content, all_figures, study_folder):
    again = build(load(study_folder), Options(tolerance=0.005, target=0.95, price_per_hour=2.0))
    assert list(all_figures) == ["frontier", "doublings", "tolerances", "learning_curves", "learning_rates"]
    for kind in ("svg", "png"):
        assert render(all_figures["frontier"], kind) == render(draw(again, "frontier"), kind)
    assert ET.fromstring(render(all_figures["frontier"], "svg")).tag.endswith("svg")


def test_figure_draws_recipe_names_with_any_characters():
    names = ["$x$", "$\\nothing$", "$", "日本語", "a" * 300, "\x1b[0m", "\ud800", "x\ny", "_{^", "\\frac"]
    study = study_of({name: {1.0: [0.5], 2.0: [0.6]} for name in names})
    content = build(replace(study, objective=" ".join(names[:3])))
    # Drawing neither fails nor warns about a glyph.
    assert render(draw(content, "frontier"), "png").startswith(b"\x89PNG")
    assert all(len(printable(name).replace("\\$", "$")) <= 40 for name in names)


CELLS = {0.5: [0.8, 0.81, 0.83], 1.0: [0.9, 0.91, 0.93], 2.0: [0.94, 0.95, 0.96]}


def test_each_control_of_a_recipe_has_its_own_line():
    content = build(study_of({("wsd", control): CELLS for control in CONTROLS}))
    lines = [line for line in draw(content, "frontier").axes[0].lines if line.get_linestyle() != "None"]
    assert len({str(line._dash_pattern) for line in lines}) == 4
    assert len({arm["control"] for arm in payload(content)["arms"]}) == 4


def test_first_chart_of_the_page_uses_the_axis_of_the_answer():
    content = build(study_of({"a": CELLS, "b": CELLS}))
    assert (content.equal, content.axis) == ("steps", "seconds")  # a step of a takes as long as one of b
    assert payload(content)["axis"] == "steps"
    assert payload(build(content.study, Options(equal="seconds")))["axis"] == "seconds"


def test_each_gain_is_drawn_at_its_ssr_with_a_tick():
    ssrs = [0.5 * 2 ** (place / 4) for place in range(9)]
    recipes = {name: {ssr: [0.8 + 0.01 * ssr, 0.81 + 0.01 * ssr] for ssr in ssrs} for name in "abcd"}
    content = build(study_of(recipes))
    axes = draw(content, "doublings").axes[0]
    measured = sorted(content.doublings["ssr"].unique())
    places = {ssr: set() for ssr in measured}
    for line in axes.lines:
        if line.get_marker() in ("o", "s", "D", "^", "v", "P", "h"):
            for place in line.get_xdata():
                near = min(measured, key=lambda ssr: abs(math.log2(place / ssr)))
                assert abs(math.log2(place / near)) < 0.05 * 0.25  # below 5% of the distance to the next SSR
                places[near].add(float(place))
    assert {len(positions) for positions in places.values()} == {4}  # no mark covers another
    assert set(measured) <= {*axes.xaxis.get_majorticklocs(), *axes.xaxis.get_minorticklocs()}


def test_very_large_intervals_are_clipped_at_the_plot():
    # With two seeds, half an interval is 12.7 standard errors: here 0.87 +- 0.38.
    study = study_of({"a": {0.5: [0.80, 0.82], 1.0: [0.84, 0.90], 2.0: [0.90, 0.92]}})
    content = build(replace(study, objective="eval/score"), Options(noise="cell"))
    assert content.summary["high"].max() > 1.2
    low, high = draw(content, "frontier").axes[0].get_ylim()
    assert 0.75 < low < 0.8  # the axis extends 0.80 .. 0.92 by a quarter of this range and a margin
    assert 0.92 < high < 0.97
    content = build(study_of({"a": {0.5: [0.80, 0.801], 1.0: [0.84, 0.841], 2.0: [0.90, 0.901]}}))
    low, high = draw(content, "frontier").axes[0].get_ylim()
    assert low < content.summary["low"].min()  # these intervals are completely visible
    assert high > content.summary["high"].max()


def slower(study, by):
    """Return the study with a slower clock for the recipe b."""
    factors = study.frame["recipe"].map(lambda name: by if name == "b" else 1.0)
    return replace(study, frame=study.frame.assign(seconds=study.frame["seconds"] * factors))


def marks(axes):
    """Return position, quality, colour and face of each mark of a mean."""
    return [
        (float(x), float(y), to_hex(line.get_color()), to_hex(line.get_markerfacecolor()))
        for line in axes.lines
        if line.get_marker() in ("o", "s", "D", "^", "v", "P", "h")
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]


def test_frontier_marks_are_hollow_if_a_better_recipe_is_equally_fast():
    # b takes 5% longer, which counts as equal time. By seconds, every point of a would take less time.
    cells = {1.0: [0.80, 0.81, 0.82], 2.0: [0.85, 0.86, 0.87], 4.0: [0.90, 0.91, 0.92]}
    better = {1.0: [0.849, 0.86, 0.871], 2.0: [0.899, 0.91, 0.921], 4.0: [0.949, 0.96, 0.971]}
    content = build(slower(study_of({"a": cells, "b": better}), 1.05))
    assert (content.equal, content.axis) == ("steps", "seconds")
    axes = draw(content, "frontier").axes[0]
    assert axes.get_xlabel() == "Optimizer steps"
    points = marks(axes)
    hollow = [mark for mark in points if mark[3] == "#ffffff"]
    assert len(hollow) == 3
    for x, y, *_ in hollow:
        # A mark is moved by at most an eighth of the distance to the next SSR.
        assert any(other[0] < x * 2**0.25 and other[1] > y for other in points)


def test_marks_of_the_frontier_have_three_styles_and_a_legend(all_figures):
    figure = all_figures["frontier"]
    faces = {(colour == face, face == "#ffffff") for _, _, colour, face in marks(figure.axes[0])}
    assert faces == {(True, False), (False, True), (False, False)}
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"on the frontier", "no better within noise", "dominated"} <= labels


def test_marks_of_recipes_at_the_same_steps_do_not_overlap_on_the_frontier():
    axes = draw(build(study_of({"a": CELLS, "b": CELLS, "c": CELLS})), "frontier").axes[0]
    for steps in (50, 100, 200):
        places = sorted(x for x, *_ in marks(axes) if abs(math.log2(x / steps)) < 0.25)
        assert len(set(places)) == 3
        assert all(0.03 < b / a - 1 < 0.06 for a, b in pairwise(places))  # a few per cent
    # On an axis of seconds, no mark is moved.
    content = build(slower(study_of({"a": CELLS, "b": CELLS}), 2.0))
    assert {round(x, 6) for x, *_ in marks(draw(content, "frontier").axes[0])} == {5.0, 10.0, 20.0, 40.0}


def test_numbers_on_the_ssr_axis_do_not_overlap(resnet50):
    content = build(from_csv(resnet50, ssr="ssr", quality="top1", seconds="seconds"), Options(equal="ssr"))
    for name in ("frontier", "doublings"):
        figure = draw(content, name)
        figure.canvas.draw()
        boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels() if label.get_text()]
        assert len(boxes) >= 6
        assert all(b.x0 - a.x1 > 0.03 * figure.dpi for a, b in pairwise(boxes))  # a third of a digit


def test_target_and_tolerance_are_labelled_at_the_axes(all_figures):
    for name, text in (("frontier", "target\n0.95"), ("doublings", "tolerance")):
        figure = all_figures[name]
        figure.canvas.draw()
        (label,) = [each for each in figure.axes[0].texts if each.get_text() == text]
        assert label.get_window_extent().x0 > figure.axes[0].get_window_extent().x1  # no interval is there
        assert label.get_window_extent().x1 <= figure.get_window_extent().x1


def test_learning_curves_are_means_over_seeds_with_a_band(tmp_path):
    for seed, quality in enumerate((0.8, 0.9, 0.85)):
        write_run(tmp_path / f"s/{seed}", seed=seed, quality=quality, evaluations=3)
    study = load(tmp_path / "s")
    axes = draw(build(study), "learning_curves").axes[0]
    (line,) = axes.lines
    curves = study.curves.groupby("steps")["value"]
    assert line.get_ydata() == pytest.approx(curves.mean().tolist())
    (band,) = axes.collections
    ends = {round(float(y), 6) for y in band.get_paths()[0].vertices[:, 1]}
    half = 4.302653 * curves.std() / 3**0.5  # t with 2 degrees of freedom
    assert {round(float(y), 6) for y in [*(curves.mean() - half), *(curves.mean() + half)]} <= ends


def test_legend_shows_the_ssr_of_each_shade_and_the_axis_label_of_rates_has_the_log_interval(tmp_path, all_figures):
    for name in ("learning_curves", "learning_rates"):
        labels = [text.get_text() for text in all_figures[name].legends[0].get_texts()]
        assert labels[-5:] == ["SSR 0.125", "SSR 0.25", "SSR 0.5", "SSR 1", "SSR 2"]
    write_run(tmp_path / "s/0", ssr=0.5, evaluations=1)  # 60 rates in 600 steps, and a curve of one point
    figures_of_run = figures(build(load(tmp_path / "s")))
    axes = figures_of_run["learning_rates"].axes[0]
    assert axes.get_xlabel() == "Optimizer steps; dots: logged every 10 steps"
    assert {(line.get_marker(), line.get_linestyle()) for line in axes.lines} == {(".", "None")}
    assert [line.get_marker() for line in figures_of_run["learning_curves"].axes[0].lines] == ["o"]


def test_more_than_four_recipes_get_separate_axes(tmp_path):
    for recipe in range(5):
        for seed in range(2):
            write_run(tmp_path / f"s/{recipe}-{seed}", recipe=f"r{recipe}", seed=seed, quality=0.9 + 0.01 * seed)
    content = build(load(tmp_path / "s"))
    charts = {name: draw(content, name) for name in ("learning_curves", "learning_rates")}
    for name in charts:
        axes = [each for each in charts[name].axes if each.axison]
        assert [each.get_title(loc="left") for each in axes] == [f"r{place}" for place in range(5)]
        assert len({each.get_ylim() for each in axes}) == 1
        assert [bool(each.get_ylabel()) for each in axes] == [True, False, False, True, False]
    bands = [each.collections for each in charts["learning_curves"].axes if each.axison]
    assert all(len(shades) == 1 for shades in bands)


def test_tolerances_are_drawn_as_steps_in_descending_order():
    content = build(study_of({"a": {0.5: [0.6, 0.61, 0.6], 1.0: [0.8, 0.812, 0.801], 2.0: [0.85, 0.861, 0.852]}}))
    axes = draw(content, "tolerances").axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
    # The first doubling gains 0.201 and the second gains 0.05. So the line of SSR 0.5 is above a tolerance of 0.201,
    # that of SSR 1 is from 0.05 to 0.201, and that of SSR 2 is below 0.05.
    assert [float(line.get_ydata()[0]) for line in lines] == [0.5, 1.0, 2.0]
    assert tuple(lines[1].get_xdata()) == pytest.approx((0.05, 0.201))
    assert axes.get_xlim() == pytest.approx((0.025, 0.402))
    # The figure and the table agree about what is decided.
    verdicts = ["decided", "decided", "undecided: longer runs are missing"]
    assert [row.cells[-1].text for row in steps_table(content).rows] == verdicts
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--"]
    assert drawable(build(study_of({"a": {1.0: [0.8, 0.81]}}))) == ["frontier"]
