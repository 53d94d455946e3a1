"""The function form of each class, with its arguments as keywords."""

from __future__ import annotations

import inspect
import re
import runpy
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from refusals import refused
from schedule_helpers import EXAMPLES, run

from ssr_hydra import schedulers
from ssr_hydra.errors import FormatError, MissingValueError, RangeError
from ssr_hydra.schedulers import functions, step_scheduler
from ssr_hydra.time import Time


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def test_every_class_has_exactly_one_function() -> None:
    assert sorted(map(snake, EXAMPLES)) == sorted(functions.__all__)
    assert set(functions.__all__) <= set(schedulers.__all__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_function_has_the_arguments_of_its_class(name: str) -> None:
    state, ssr, *keywords = inspect.signature(getattr(functions, snake(name))).parameters.values()
    assert (state.name, ssr.name, ssr.default) == ("state", "ssr", 1.0)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in keywords)
    arguments = [
        (f.name, inspect.Parameter.empty if f.default is MISSING else f.default) for f in fields(EXAMPLES[name])
    ]  # type: ignore[arg-type]
    assert [(parameter.name, parameter.default) for parameter in keywords] == arguments


def test_stub_for_type_checkers_is_up_to_date() -> None:
    script = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "stubs.py"))
    assert script["STUB"].read_text() == script["stub"](), "run: python scripts/stubs.py"


@pytest.mark.parametrize("name", EXAMPLES)
def test_function_and_its_class_return_equal_multipliers(name: str) -> None:
    scheduler: Any = EXAMPLES[name]
    arguments = {field.name: getattr(scheduler, field.name) for field in fields(scheduler)}
    function = getattr(functions, snake(name))
    for batch in range(14):
        state = run(batch, 0.7, max_duration="12ba")
        assert function(state, 0.7, **arguments) == scheduler(state, 0.7)
        assert function(state, ssr=0.7, **arguments) == scheduler(state, 0.7)


def test_step_size_may_be_a_duration_or_a_list_of_milestones() -> None:
    state = run(4, max_duration="12ba")
    assert (
        step_scheduler(state, step_size="2ba", gamma=0.5)
        == step_scheduler(state, step_size=Time("2ba"), gamma=0.5)
        == 0.25
    )
    assert step_scheduler(state, step_size=("2ba",), gamma=0.5) == 0.5
    with refused("step_size", FormatError):
        step_scheduler(state, step_size=2)  # type: ignore[arg-type]
    with refused("step_size", MissingValueError):
        step_scheduler(state, step_size=[])
    with refused("step_size[1]", FormatError):
        step_scheduler(state, step_size=["2ba", "5"])
    with refused("ssr", RangeError):
        step_scheduler(state, 0, step_size="2ba")
