"""The function form of each class, with its arguments as keywords."""

import inspect
import re
import runpy
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from refusals import refused
from schedule_helpers import EXAMPLES, run

from ssr_hydra import schedulers
from ssr_hydra.errors import FormatError, MissingValueError, RangeError
from ssr_hydra.schedulers import functions, step_scheduler
from ssr_hydra.time import Time


def snake(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def test_every_class_has_exactly_one_function():
    assert sorted(map(snake, EXAMPLES)) == sorted(functions.__all__)
    assert set(functions.__all__) <= set(schedulers.__all__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_function_has_the_arguments_and_values_of_its_class(name):
    function, scheduler = getattr(functions, snake(name)), EXAMPLES[name]
    state, ssr, *keywords = inspect.signature(function).parameters.values()
    assert (state.name, ssr.name, ssr.default) == ("state", "ssr", 1.0)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in keywords)
    own = fields(scheduler)
    defaults = [(f.name, inspect.Parameter.empty if f.default is MISSING else f.default) for f in own]
    assert [(parameter.name, parameter.default) for parameter in keywords] == defaults
    arguments = {f.name: getattr(scheduler, f.name) for f in own}
    for batch in range(14):
        now = run(batch, 0.7, max_duration="12ba")
        assert function(now, 0.7, **arguments) == function(now, ssr=0.7, **arguments) == scheduler(now, 0.7)


def test_stub_for_type_checkers_is_up_to_date():
    script = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "stubs.py"))
    assert script["STUB"].read_text() == script["stub"](), "run: python scripts/stubs.py"


def test_step_size_may_be_a_duration_or_a_list_of_milestones():
    state = run(4, max_duration="12ba")
    for size, expected in (("2ba", 0.25), (Time("2ba"), 0.25), (("2ba",), 0.5)):
        assert step_scheduler(state, step_size=size, gamma=0.5) == expected
    bad = [
        (2, "step_size", FormatError), ([], "step_size", MissingValueError), (["2ba", "5"], "step_size[1]", FormatError)
    ]  # fmt: skip
    for size, field, kind in bad:
        with refused(field, kind):
            step_scheduler(state, step_size=size)
    with refused("ssr", RangeError):
        step_scheduler(state, 0, step_size="2ba")
