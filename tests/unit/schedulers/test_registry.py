"""The registry: one row declares a scheduler."""

import ast
import copy
import pickle
from pathlib import Path

import pytest
from schedule_helpers import EXAMPLES

import ssr_hydra
from ssr_hydra import configs, schedulers
from ssr_hydra.configs import GROUPS
from ssr_hydra.schedulers.registry import ROWS


def test_table_of_schedulers_has_one_row_for_each_class():
    assert sorted(row.scheduler.__name__ for row in ROWS) == sorted(EXAMPLES)
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_scheduler_in_the_table_is_exported_with_its_function_and_config(row):
    name = row.scheduler.__name__
    assert getattr(ssr_hydra, name) is getattr(schedulers, name) is row.scheduler
    assert {name, row.function_name} <= set(schedulers.__all__)
    assert name in ssr_hydra.__all__
    config = GROUPS["scheduler"][row.name]
    assert config is getattr(configs, f"{name}Config")
    assert pickle.loads(pickle.dumps(config())) == config()
    assert config() == copy.deepcopy(config())


def test_changing_one_config_does_not_change_other_configs():
    one, two = (GROUPS["scheduler"]["multistep"]() for _ in range(2))
    one.milestones.append("0.9dur")
    assert two.milestones == ["0.5dur", "0.75dur"]


def _names(path):
    """Count how often a module's code contains RexScheduler or rex_scheduler, without docstrings."""
    words, text = ("RexScheduler", "rex_scheduler"), path.read_text()
    nodes = ast.walk(ast.parse(text)) if any(word in text for word in words) else ()
    identifiers = (getattr(node, key, None) for node in nodes for key in ("id", "attr", "name", "value"))
    return sum(isinstance(word, str) and word in words for word in identifiers)


def test_new_scheduler_needs_only_its_class_and_one_row_of_the_table():
    package = Path(ssr_hydra.__file__).parent
    places = {path.relative_to(package).as_posix(): _names(path) for path in package.rglob("*.py")}
    # The class, its name in the module's __all__, and the row: nothing else.
    assert {name: count for name, count in places.items() if count} == {
        "schedulers/annealing.py": 2,
        "schedulers/registry.py": 1,
    }
