"""Errors of the parser that all commands share; tests/system/test_output.py has the tests of the streams."""

import pytest
from refusals import refused

from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    MissingValueError,
    UnknownNameError,
    WrongTypeError,
)
from ssr_hydra.output import Parser


def parser():
    parser = Parser(prog="command", unknown="write no dashes")
    parser.add_argument("--count", "-c", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--unit", choices=["ba", "ep"])
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--low", action="store_true")
    either.add_argument("--high", action="store_true")
    parser.add_argument("names", nargs="*")
    return parser


@pytest.mark.parametrize(
    ("typed", "field", "kind", "message"),
    [
        ("-c 1.5", "--count", WrongTypeError, "--count='1.5': must be a whole number; see --help"),
        ("--rate x", "--rate", WrongTypeError, "--rate='x': must be a number; see --help"),
        ("--unit km", "--unit", UnknownNameError, "--unit='km': must be one of ba, ep; see --help"),
        ("a --rate", "--rate", MissingValueError, "--rate='': needs a value; see --help"),
        ("--low=1", "--low", FormatError, "--low='1': must be without a value; write --low"),
        ("--low --high", "--high", ConflictError, "--high=True: cannot be used with --low; remove --high or --low"),
        ("a --cuont 3", "flags", FormatError, "flags='a --cuont 3': unrecognized arguments: --cuont"),
        ("--cuont 3", "flags", FormatError, "did you mean --count?"),
        ("--xyz", "flags", FormatError, "write no dashes"),
    ],
)
def test_error_for_a_flag_names_the_flag_and_the_fix(typed, field, kind, message, capsys):
    with refused(field, kind) as caught:
        parser().parse(typed.split())
    assert message in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_flags_may_stand_between_other_arguments():
    parsed = parser().parse("a --rate 0.5 b --low".split())
    assert (parsed.names, parsed.rate, parsed.low) == (["a", "b"], 0.5, True)
