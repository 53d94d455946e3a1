"""Figures of a report: deterministic bytes, and names that are drawn as they are."""

from __future__ import annotations

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
