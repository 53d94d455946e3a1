"""docs/reference/tables.md has every choice and key of the configs, and is up to date."""

import runpy
from pathlib import Path

import pytest

from ssr_hydra.configs import GROUPS


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "tables.py"))


@pytest.fixture(scope="module")
def page(script):
    return str(script["page"]())


def test_tables_of_the_reference_are_up_to_date(script, page):
    assert script["PAGE"].read_text(encoding="utf-8") == page, "run: python scripts/tables.py"


def test_table_has_a_row_for_each_choice(page):
    rows = {}
    for block in page.split("\n## ")[1:]:
        group, _, text = block.partition("\n")
        rows[group] = [line.split(" | ")[0][3:-1] for line in text.split("\n| key ")[0].splitlines() if "| `" in line]
    for group, choices in GROUPS.items():
        assert rows[group][: len(choices)] == list(choices)
    assert {"sgd_nesterov", "muon_adamw"} < set(rows["optimizer"])  # files in conf/optimizer
    assert "digits_wsd" in rows["experiment"]


def test_table_rows_of_rex_have_the_type_and_the_default_and_the_meaning(page):
    lines = page.splitlines()
    (rex,) = (line for line in lines if line.startswith("| `rex` "))
    assert rex.startswith(
        "| `rex` | `schedulers.RexScheduler` | `t_max=1dur alpha_f=0.0` | REX, reflected exponential:"
    )
    (alpha_f,) = (line for line in lines if line.startswith("| `alpha_f` |") and "`rex`" in line)
    assert alpha_f.split(" | ")[1:3] == ["`float`", "Multiplier from `t_max` on, at least 0."]


def test_meaning_of_an_argument_may_span_lines(script):
    class Documented:
        """Summary.

        Args:
            one: First line
                and second | line of :class:`~package.Name`.
            two: Another.

        Raises:
            three: Not an argument.
        """

    cells = {name: script["cell"](text) for name, text in script["meanings"](Documented).items()}
    assert cells == {"one": "First line and second \\| line of `Name`.", "two": "Another."}
