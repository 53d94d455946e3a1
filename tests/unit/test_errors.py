"""Errors have four facts in one line, and stay equal when they are sent to another process."""

import ast
import copy
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from cases import each

import ssr_hydra.errors
from ssr_hydra.errors import InputError, MissingRateError, visible

KINDS = {
    name: value for name, value in vars(ssr_hydra.errors).items()
    if isinstance(value, type) and issubclass(value, InputError)
}  # fmt: skip


def test_error_message_is_one_line_of_field_and_value_and_rule_and_fix():
    error = InputError("t_max", "10", "a duration needs a unit", "did you mean '10ba'?")
    assert str(error) == "t_max='10': a duration needs a unit; did you mean '10ba'?"
    assert (error.field, error.value, error.rule, error.fix) == (
        "t_max", "10", "a duration needs a unit", "did you mean '10ba'?"
    )  # fmt: skip
    assert str(InputError("batch", Fraction(-5, 2), "rule", "fix")) == "batch=-5/2: rule; fix"


def test_errors_can_be_caught_as_built_in_exceptions():
    # ValueError is Python's usual type for bad values; Composer raises RuntimeError for an unknown rate.
    assert issubclass(InputError, ValueError)
    assert issubclass(MissingRateError, InputError)
    assert issubclass(MissingRateError, RuntimeError)


def test_package_raises_each_kind_of_error_and_never_the_base_class():
    package = Path(ssr_hydra.errors.__file__).parent
    trees = (ast.parse(path.read_text()) for path in package.rglob("*.py"))
    calls = (node.func for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = {function.id for function in calls if isinstance(function, ast.Name)}
    assert KINDS.keys() - names == {"InputError"}


@each("kind", KINDS.values())
def test_error_with_a_new_field_keeps_its_class_and_value_and_rule(kind):
    error = kind("t_0", 1, "rule", "fix")
    for other, message in (
        (error.renamed("t_1"), "t_1=1: rule; fix"),
        (error.renamed("t_1", "new fix"), "t_1=1: rule; new fix"),
        (error.within("b").within("factors"), "factors.b.t_0=1: rule; fix"),
        *((again(error), "t_0=1: rule; fix") for again in (_pickled, copy.copy, copy.deepcopy)),
    ):
        assert (type(other), other.value, other.rule, str(other)) == (kind, 1, "rule", message)


def _pickled(error):
    return pickle.loads(pickle.dumps(error))


def test_error_with_an_unpicklable_value_is_picklable():
    error = InputError("scheduler", lambda state: 1.0, "rule", "fix")
    assert str(_pickled(error)) == str(error)


class _Unprintable:
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [np.zeros((4, 4)), "two\nlines", "a\u2028b", {"text": "x\ry"}, "x" * 10_000, 10**5000, _Unprintable(), b"\n"],
    ids=["array", "newline", "separator", "return", "long", "no-repr", "raising", "bytes"],
)
def test_error_for_any_value_is_one_short_line(value):
    # 10**5000 has no repr in Python >= 3.11 (the digit limit raises ValueError).
    message = str(InputError("field", value, "rule", "fix"))
    assert len(message.splitlines()) == 1
    assert message.startswith("field=")
    assert message.endswith(": rule; fix")
    assert len(message) < 110


def test_a_long_value_is_cut_at_eighty_characters():
    assert str(InputError("f", "x" * 78, "r", "f")) == f"f='{'x' * 78}': r; f"  # 80 with its quotes
    assert str(InputError("f", "x" * 79, "r", "f")) == f"f='{'x' * 76}...: r; f"


def test_a_field_with_a_line_break_stays_on_one_line():
    assert str(InputError("phases.a\nb", 1, "rule", "fix")) == "phases.a b=1: rule; fix"


def test_control_characters_are_shown_as_escapes():
    assert visible("plain é 日本") == "plain é 日本"
    assert visible("\x1b[31ma\nb\u202e\u2028\ud800\x00") == r"\x1b[31ma\nb\u202e\u2028\ud800\x00"
