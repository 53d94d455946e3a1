"""Errors of composition in one line; what Hydra itself raises is met in test_cli.py, this is the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssr_hydra.build.explain import explain
from ssr_hydra.errors import InputError


def raised(make: Any) -> BaseException:
    with pytest.raises(OmegaConfBaseException) as caught:
        make()
    return caught.value


def test_an_input_error_is_found_under_what_was_raised_over_it() -> None:
    inner = InputError("a", 1, "b", "c")
    outer = ConfigCompositionException("outside")
    outer.__cause__ = ValueError("between")
    outer.__cause__.__context__ = inner
    assert explain(outer) is inner


def test_a_circle_is_told_as_one() -> None:
    assert "cycle" in explain(RecursionError()).fix


def test_a_key_that_is_nearly_right() -> None:
    node = OmegaConf.create({"warmup": 1, "decay": 2})
    OmegaConf.set_struct(node, True)
    error = explain(raised(lambda: node.warmpu))
    assert (error.field, error.fix) == ("warmpu", "did you mean warmup?")


def test_the_value_behind_an_interpolation_is_shown() -> None:
    error = explain(raised(lambda: OmegaConf.create({"a": "${nowhere}"}).a))
    assert (error.field, error.value) == ("a", "${nowhere}")


def test_a_value_that_must_be_given() -> None:
    error = explain(raised(lambda: OmegaConf.create({"a": {"b": "???"}}).a.b))
    assert (error.field, error.fix) == ("a.b", "say a.b=...")


@pytest.mark.parametrize("message", ["", "\n\n", "several\nlines\n"])
def test_whatever_else_it_is_one_line(message: str) -> None:
    assert "\n" not in str(explain(HydraException(message)))
