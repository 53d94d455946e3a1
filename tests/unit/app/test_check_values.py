"""Names, types and ranges of single values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from refusals import refused

from ssr_hydra.app.check_values import check_against_choices, check_fields, check_node
from ssr_hydra.errors import MissingValueError, UnknownNameError, WrongTypeError


@dataclass
class Config:
    """One field of each kind."""

    rate: float = 0.1
    size: int = 1
    flag: bool = False
    word: str | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    sizes: list[int] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)
    anything: Any = None


GOOD: dict[str, Any] = {
    "rate": 1,
    "size": 2,
    "flag": True,
    "word": None,
    "pair": [0.5, 1],
    "sizes": [1, 2],
    "parts": {"a": None},
    "anything": object(),
}


def test_values_that_fit_their_config_are_accepted() -> None:
    check_fields(GOOD, Config, "x")
    check_fields({**GOOD, "word": "w", "anything": None, "_target_": "a.b"}, Config, "x")


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("rate", "1", "x.rate"),
        ("rate", None, "x.rate"),
        ("rate", True, "x.rate"),
        ("size", 1.0, "x.size"),
        ("size", True, "x.size"),
        ("flag", 1, "x.flag"),
        ("word", 3, "x.word"),
        ("pair", [1.0], "x.pair"),
        ("pair", [1.0, "b"], "x.pair[1]"),
        ("sizes", 3, "x.sizes"),
        ("sizes", [1, 2.5], "x.sizes[1]"),
        ("parts", [1], "x.parts"),
        ("ratee", 1, "x.ratee"),
    ],
)
def test_values_that_do_not_fit_their_config_are_refused(key: str, value: Any, place: str) -> None:
    with refused(place):
        check_fields({**GOOD, key: value}, Config, "x")


def test_error_names_the_missing_value() -> None:
    with refused("x.size", MissingValueError):
        check_fields({key: value for key, value in GOOD.items() if key != "size"}, Config, "x")


def test_node_must_be_a_mapping_with_a_target() -> None:
    check_node({"_target_": "a.b"}, "model", "model=conv")
    for bad in (None, "conv", []):
        with refused("model", WrongTypeError):
            check_node(bad, "model", "model=conv")
    with refused(
        "model",
        MissingValueError,
        match=r"must have a _target_; begin the YAML file of the group model with defaults: \[conv, _self_\]",
    ):
        check_node({"widths": [8]}, "model", "model=conv")
    with refused("data.train", WrongTypeError):
        check_node({}, "data.train", "data=digits")
    with refused(
        "model.widht",
        UnknownNameError,
        match=r"^model\.widht=3: unknown argument of this target; did you mean widths\?",
    ):
        check_against_choices({"_target_": "ssr_hydra.models.ConvNet", "widht": 3}, "model")
    check_against_choices({"_target_": "my_package.Model", "widht": 3}, "model")  # its arguments are unknown
