"""Figures of a report: deterministic bytes, and names that are drawn as they are."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from study_runs import study_of

from ssr_hydra.drawing import render
from ssr_hydra.studies import from_csv, load
from ssr_hydra.studies.report import Content, Options, build
from ssr_hydra.studies.report.figures import figures, printable
from ssr_hydra.studies.report.payload import payload


def test_the_same_records_give_the_same_bytes(content: Content, study_folder: Path) -> None:
    again = build(load(study_folder), Options(tolerance=0.005, target=0.95, price_per_hour=2.0))
    first, second = figures(content), figures(again)
    assert list(first) == list(second) == ["frontier", "doublings", "learning_curves", "learning_rates"]
    for name in first:
        for kind in ("png", "svg"):
            assert render(first[name], kind) == render(second[name], kind), name
    assert ET.fromstring(render(first["frontier"], "svg")).tag.endswith("svg")


def test_one_run_at_each_ssr_has_a_frontier_and_gains(resnet50: Path) -> None:
    content = build(from_csv(resnet50, ssr="ssr", quality="top1", seconds="seconds"))
    assert list(figures(content)) == ["frontier", "doublings"]  # a table has no curves


@pytest.mark.parametrize(
    "name", ["$x$", "$\\nothing$", "$", "日本語", "a" * 300, "\x1b[0m", "\ud800", "x\ny", "_{^", "\\frac"]
)
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"ssr,q\n1,2\n2,3\n")
    study = from_csv(path, ssr="ssr", quality="q", direction="max")
    frame = study.frame.assign(recipe=[name, "other"])
    made = figures(build(type(study)(frame, study.curves, f"{name}", "max", sources=study.sources)))
    assert render(made["frontier"], "png").startswith(b"\x89PNG")  # neither an error nor a warning about a glyph
    assert len(printable(name).replace("\\$", "$")) <= 40


def test_each_control_of_a_recipe_has_a_line_of_its_own() -> None:
    cells = {0.5: [0.8, 0.81, 0.83], 1.0: [0.9, 0.91, 0.93]}
    controls = ("", "truncate", "scale_warmup", "truncate+scale_warmup")
    made = build(study_of({("wsd", control): cells for control in controls}))
    axes = figures(made)["frontier"].axes[0]
    dashes = {str(line._dash_pattern) for line in axes.lines if line.get_linestyle() != "None"}  # type: ignore[attr-defined]
    assert len(dashes) == 4
    assert len({arm["control"] for arm in payload(made)["arms"]}) == 4


def test_the_first_chart_of_the_page_is_at_what_the_answer_is_at() -> None:
    cells = {0.5: [0.8, 0.81, 0.83], 1.0: [0.9, 0.91, 0.93]}
    study = study_of({"a": cells, "b": cells})
    made = build(study)
    assert (made.equal, made.axis) == ("steps", "seconds")  # both take as long per step
    assert payload(made)["axis"] == "steps"
    assert payload(build(study, Options(equal="seconds")))["axis"] == "seconds"


def test_gains_stay_at_their_ssr_and_each_has_a_tick() -> None:
    ssrs = [0.5 * 2 ** (place / 4) for place in range(13)]
    recipes = {name: {ssr: [0.8 + 0.01 * ssr, 0.81 + 0.01 * ssr] for ssr in ssrs} for name in "abcdefgh"}
    made = build(study_of(recipes))
    axes = figures(made)["doublings"].axes[0]
    measured = sorted(made.doublings["ssr"].unique())
    assert len(measured) > 8
    places: dict[float, set[float]] = {ssr: set() for ssr in measured}
    for line in axes.lines:
        if line.get_marker() in ("o", "s", "D", "^", "v"):
            for place in line.get_xdata():  # type: ignore[union-attr]
                near = min(measured, key=lambda ssr: abs(math.log2(place / ssr)))
                assert abs(math.log2(place / near)) < 0.05 * 0.25  # of a quarter of an octave to the next
                places[near].add(float(place))
    assert {len(found) for found in places.values()} == {8}  # none hides another
    assert set(measured) <= {*axes.xaxis.get_majorticklocs(), *axes.xaxis.get_minorticklocs()}


def test_intervals_that_dwarf_the_points_run_out_of_the_plot() -> None:
    # Two seeds: half an interval is 12.7 standard errors, here 0.38 about 0.87, which is no accuracy.
    made = build(study_of({"a": {0.5: [0.80, 0.82], 1.0: [0.84, 0.90], 2.0: [0.90, 0.92]}}))
    assert made.summary["high"].max() > 1.2
    low, high = figures(made)["frontier"].axes[0].get_ylim()
    assert 0.75 < low < 0.8  # a quarter and a margin of what runs from 0.80 to 0.92
    assert 0.92 < high < 0.97
    made = build(study_of({"a": {0.5: [0.80, 0.801], 1.0: [0.84, 0.841], 2.0: [0.90, 0.901]}}))
    low, high = figures(made)["frontier"].axes[0].get_ylim()
    assert low < made.summary["low"].min()  # those that do not are seen whole
    assert high > made.summary["high"].max()
