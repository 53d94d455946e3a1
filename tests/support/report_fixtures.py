"""Fixtures for tests of reports: studies that are written and read once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # pandas and scipy, which most tests do not need
    from ssr_hydra.report import Content


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a study: three recipes, five SSRs, four seeds, a control, and four runs with problems."""
    from report_study import spoil, write_study

    folder = write_study(tmp_path_factory.mktemp("studies") / "digits")
    spoil(folder)
    return folder


@pytest.fixture(scope="session")
def content(study_folder: Path) -> Content:
    from ssr_hydra.report import Options, build
    from ssr_hydra.studies import load

    return build(load(study_folder), Options(tolerance=0.005, target=0.95, price_per_hour=2.0))


RESNET50 = """ssr,top1,seconds
.1,64.99,2459
.25,73.02,6147
.5,75.66,12294
1,76.82,24588
1.25,77.07,30735
1.5,77.08,36882
2,77.07,49176
4,76.67,98352
5.69,76.32,139906
"""


@pytest.fixture
def resnet50(tmp_path: Path) -> Path:
    """ResNet-50 on ImageNet as published: one run at each SSR."""
    path = tmp_path / "resnet50.csv"
    path.write_text(RESNET50, encoding="utf-8")
    return path
